# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests for L{amp_stream._transport}: options of real sockets."""

from __future__ import annotations

import socket
import sys
from struct import Struct

from twisted.internet.testing import StringTransport
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.trial.unittest import SynchronousTestCase

from amp_stream import StreamAMP
from amp_stream import _transport as tcp
from amp_stream._sansio.congestion import Sample
from amp_stream._sansio.pacer import SHORTEST
from amp_stream._transport import (
    NOT_SENT_LOWAT,
    KernelQueue,
    SendGate,
    drainingTransport,
    tuneForLatency,
)
from tests.commands import Ping, Server
from tests.loopback import LoopbackTestCase, Plain, Watched

LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", None)


class Client(Watched, StreamAMP):
    """The client, which records when its connection is lost."""


class WatchedServer(Watched, Server):
    """The server, which records when its connection is lost."""


def socketOf(protocol):
    """Find the socket below a protocol."""
    transport = protocol.transport
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    return transport.socket


class TuningTests(LoopbackTestCase):
    """The socket options that L{StreamAMP} sets."""

    def assertTuned(self, protocol):
        """Check that the kernel has the options."""
        handle = socketOf(protocol)
        self.assertNotEqual(
            handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), 0
        )
        if LOWAT is not None:
            self.assertEqual(
                handle.getsockopt(socket.IPPROTO_TCP, LOWAT), NOT_SENT_LOWAT
            )

    def assertNotTuned(self, protocol):
        """Check that the kernel does not have the options."""
        handle = socketOf(protocol)
        self.assertEqual(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), 0)

    async def test_tcp(self):
        """
        Both ends of a TCP connection have C{TCP_NODELAY} and a short
        kernel queue.
        """
        client, server = Client(), WatchedServer()
        await self.tcp(client, server)
        self.assertTuned(client)
        self.assertTuned(server)

    async def test_tls(self):
        """
        Both ends of a TLS connection have C{TCP_NODELAY} and a short
        kernel queue.
        """
        client, server = Client(), WatchedServer()
        await self.tls(client, server)
        self.assertTuned(client)
        self.assertTuned(server)
        await client.callRemote(Ping)

    async def test_otherProtocols(self):
        """The sockets of other protocols are not changed."""
        client, server = Plain(), Plain()
        await self.tcp(client, server)
        self.assertNotTuned(client)

    async def test_wrapped(self):
        """The socket is found below any number of wrapping policies."""
        client, server = Plain(), Plain()
        await self.tcp(client, server)
        wrapper = client.transport
        for _ in range(2):
            outer = ProtocolWrapper(WrappingFactory(None), client)
            outer.transport = wrapper
            wrapper = outer
        tuneForLatency(wrapper)
        self.assertTuned(client)

    async def test_unix(self):
        """A UNIX socket, which has no TCP options, works."""
        client, server = Client(), WatchedServer()
        await self.unix(client, server)
        self.assertEqual(await client.callRemote(Ping, number=3), {"number": 3})


class DrainingTests(LoopbackTestCase):
    """L{drainingTransport}."""

    async def test_tcp(self):
        """A TCP transport itself knows when it has drained."""
        client, server = Plain(), Plain()
        await self.tcp(client, server)
        self.assertIs(drainingTransport(client.transport), client.transport)

    async def test_tls(self):
        """Under TLS, the transport below knows when it has drained."""
        client, server = Plain(), Plain()
        await self.tls(client, server)
        below = drainingTransport(client.transport)
        self.assertIs(below, client.transport.transport)
        self.assertIs(below.socket, socketOf(client))

    async def test_wrapped(self):
        """
        A wrapping policy, above or below TLS, is asked itself, as it may hold
        bytes back.
        """
        client, server = Plain(), Plain()
        await self.tls(client, server)
        transport = client.transport
        above = ProtocolWrapper(WrappingFactory(None), client)
        above.transport = transport
        self.assertIs(drainingTransport(above), above)
        below = ProtocolWrapper(WrappingFactory(None), client)
        below.transport, transport.transport = transport.transport, below
        self.addCleanup(setattr, transport, "transport", below.transport)
        self.assertIs(drainingTransport(transport), transport)

    def test_memory(self):
        """A transport that is not a socket's is asked itself."""
        transport = StringTransport()
        self.assertIs(drainingTransport(transport), transport)


class SampleTests(LoopbackTestCase):
    """L{KernelQueue}, of real sockets."""

    if sys.platform != "linux":
        skip = "only Linux says what is in flight"

    async def test_tcp(self):
        """The kernel reports the delivered and in-flight bytes of a TCP connection."""
        client, server = Client(), WatchedServer()
        await self.tcp(client, server)
        kernel = KernelQueue(client.transport)
        before = kernel.sample()
        await client.callRemote(Ping, number=3)
        after = kernel.sample()
        self.assertGreater(after.delivered, before.delivered)
        self.assertLess(after.inFlight, 1000)
        self.assertGreater(after.rtt, 0)
        self.assertGreater(after.segment, 500)
        self.assertGreater(after.window, 1)

    async def test_pace(self):
        """
        The kernel is told a new pacing rate, unless it is zero or
        nearly the same.
        """
        client, server = Plain(), Plain()
        await self.tcp(client, server)
        kernel = KernelQueue(client.transport)

        def rate():
            return socketOf(client).getsockopt(socket.SOL_SOCKET, 47)

        for told, expected in (
            (1_000_000.0, 1_000_000),
            (1_020_000.0, 1_000_000),
            (0.0, 1_000_000),
            (2_000_000.0, 2_000_000),
        ):
            kernel.pace(told)
            self.assertEqual(rate(), expected)

    async def test_oldKernel(self):
        """A kernel with a shorter C{tcp_info} gives no sample."""
        client, server = Plain(), Plain()
        await self.tcp(client, server)
        self.patch(tcp, "_info", Struct("=10000x"))
        self.assertIsNone(KernelQueue(client.transport).sample())

    def test_closed(self):
        """A closed connection gives no sample, and may be told a pacing rate."""
        handle = socket.socket()

        class Closed:
            def getHandle(self):
                return handle

        kernel = KernelQueue(Closed())
        handle.close()
        self.assertIsNone(kernel.sample())
        self.assertIsNone(kernel.sample())
        kernel.pace(1000.0)

    async def test_unix(self):
        """A UNIX socket gives no sample."""
        client, server = Plain(), Plain()
        await self.unix(client, server)
        self.assertIsNone(KernelQueue(client.transport).sample())


class Kernel:
    """A kernel whose answers a test sets."""

    isTCP = True

    def __init__(self):
        self.answer = Sample(0, 0, 0.04, 0.0, 1448, 100)
        self.asked = 0
        self.rates = []

    def sample(self):
        self.asked += 1
        return self.answer

    def pace(self, rate):
        self.rates.append(rate)


class GateTests(SynchronousTestCase):
    """L{SendGate}."""

    def setUp(self):
        self.kernel = Kernel()
        self.gate = SendGate(None, 0.005, self.kernel)

    def test_room(self):
        """
        With room in the window, a turn is full, and the kernel is asked
        only when due.
        """
        self.assertEqual(self.gate.turn(1.0, 5000), 5000)
        self.assertEqual(self.gate.delay, 0.0)
        self.gate.wrote(5000)
        self.assertEqual(self.gate.turn(1.001, 5000), 5000)
        self.assertEqual(self.kernel.asked, 1)
        self.assertEqual(self.kernel.rates, [2.5 * 8 * 1448 / 0.04])
        self.assertEqual(self.gate.turn(2.0, 5000), 5000)
        self.assertEqual(self.kernel.asked, 2)

    def test_noRoom(self):
        """Without room in the window, a turn is short and delayed."""
        self.kernel.answer = self.kernel.answer._replace(inFlight=8 * 1448)
        self.assertTrue(self.gate.isShort(1.0, 65536))
        self.assertEqual(self.gate.turn(1.0, 65536), SHORTEST)
        self.assertEqual(self.gate.delay, 0.01)
        self.kernel.answer = self.kernel.answer._replace(inFlight=0, delivered=8 * 1448)
        self.assertEqual(self.gate.turn(1.01, SHORTEST), SHORTEST)
        self.assertEqual(self.gate.delay, 0.0)

    def test_unbounded(self):
        """
        Without C{maxBulkDelay}, or without a sample, a turn of any length may
        be written.
        """
        for gate in (SendGate(None, None), SendGate(StringTransport(), 0.005)):
            for now in (1.0, 2.0):
                self.assertEqual(gate.turn(now, 10**9), 10**9)
                gate.wrote(10**9)
                self.assertEqual(gate.delay, 0.0)


class OtherTransportTests(SynchronousTestCase):
    """Transports without a socket."""

    def test_noSocket(self):
        """A transport without a socket is left unchanged."""
        for transport in (StringTransport(), object()):
            before = dict(getattr(transport, "__dict__", {}))
            tuneForLatency(transport)
            self.assertEqual(getattr(transport, "__dict__", {}), before)

    def test_closed(self):
        """A closed connection is not an error."""
        handle = socket.socket()
        handle.close()

        class Closed:
            def getHandle(self):
                return handle

        tuneForLatency(Closed())

    def test_oldSystem(self):
        """A system without C{TCP_NOTSENT_LOWAT} still gets C{TCP_NODELAY}."""
        self.patch(tcp, "_OPTION", None)
        with socket.socket() as handle:

            class Open:
                def getHandle(self):
                    return handle

            tuneForLatency(Open())
            noDelay = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            self.assertNotEqual(noDelay, 0)

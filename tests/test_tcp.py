# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests for L{amp_stream._transport}: what is set on real sockets."""

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
    """One end."""


class WatchedServer(Watched, Server):
    """The other."""


def socketOf(protocol):
    """Find the socket below a protocol."""
    transport = protocol.transport
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    return transport.socket


class TuningTests(LoopbackTestCase):
    """What L{StreamAMP} does to its connections."""

    def assertTuned(self, protocol):
        """Ask the kernel."""
        handle = socketOf(protocol)
        self.assertNotEqual(
            handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), 0
        )
        if LOWAT is not None:
            self.assertEqual(
                handle.getsockopt(socket.IPPROTO_TCP, LOWAT), NOT_SENT_LOWAT
            )

    def assertNotTuned(self, protocol):
        """Ask the kernel."""
        handle = socketOf(protocol)
        self.assertEqual(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), 0)

    async def test_tcp(self):
        """
        Both ends of a TCP connection send at once, and queue little in the
        kernel.
        """
        client, server = Client(), WatchedServer()
        await self.tcp(client, server)
        self.assertTuned(client)
        self.assertTuned(server)

    async def test_tls(self):
        """So do both ends of one with TLS, whichever way TLS was put there."""
        client, server = Client(), WatchedServer()
        await self.tls(client, server)
        self.assertTuned(client)
        self.assertTuned(server)
        await client.callRemote(Ping)

    async def test_otherProtocols(self):
        """No other connection is touched."""
        client, server = Plain(), Plain()
        await self.tcp(client, server)
        self.assertNotTuned(client)

    async def test_wrapped(self):
        """A TCP connection is found below any number of policies."""
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
        """A UNIX socket, which knows none of this, works."""
        client, server = Client(), WatchedServer()
        await self.unix(client, server)
        self.assertEqual(await client.callRemote(Ping, number=3), {"number": 3})


class DrainingTests(LoopbackTestCase):
    """L{drainingTransport}."""

    async def test_tcp(self):
        """A TCP connection knows itself when it has drained."""
        client, server = Plain(), Plain()
        await self.tcp(client, server)
        self.assertIs(drainingTransport(client.transport), client.transport)

    async def test_tls(self):
        """With TLS, what is below does."""
        client, server = Plain(), Plain()
        await self.tls(client, server)
        below = drainingTransport(client.transport)
        self.assertIs(below, client.transport.transport)
        self.assertIs(below.socket, socketOf(client))

    async def test_wrapped(self):
        """
        A policy is not passed over: it may want to hold bytes back, above TLS or
        below.
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
        """Any other transport speaks for itself."""
        transport = StringTransport()
        self.assertIs(drainingTransport(transport), transport)


class SampleTests(LoopbackTestCase):
    """L{KernelQueue}, of real sockets."""

    if sys.platform != "linux":
        skip = "only Linux says what is in flight"

    async def test_tcp(self):
        """The kernel says what a TCP connection has delivered and has in flight."""
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
        The kernel is told the rate to pace at, unless it is nearly the same or
        none.
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
        """A kernel whose C{tcp_info} is shorter says nothing."""
        client, server = Plain(), Plain()
        await self.tcp(client, server)
        self.patch(tcp, "_info", Struct("=10000x"))
        self.assertIsNone(KernelQueue(client.transport).sample())

    def test_closed(self):
        """Of a connection that is gone, nothing is known."""
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
        """Of a UNIX socket, nothing is known."""
        client, server = Plain(), Plain()
        await self.unix(client, server)
        self.assertIsNone(KernelQueue(client.transport).sample())


class Kernel:
    """A kernel that says what a test wants."""

    def __init__(self):
        self.answer = Sample(0, 0, 0.04, 0.0, 1448, 100)
        self.asked = 0
        self.rates = []

    def sample(self):
        """Answer."""
        self.asked += 1
        return self.answer

    def pace(self, rate):
        """Note the rate."""
        self.rates.append(rate)


class GateTests(SynchronousTestCase):
    """L{SendGate}."""

    def setUp(self):
        self.gate = SendGate(None, 0.005)
        self.gate.kernel = self.kernel = Kernel()

    def test_room(self):
        """
        With room, a turn is as long as it may be, and the kernel is asked only when it
        is due.
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
        """Without room, the turn is short, and has to wait."""
        self.kernel.answer = self.kernel.answer._replace(inFlight=8 * 1448)
        self.assertTrue(self.gate.isShort(1.0, 65536))
        self.assertEqual(self.gate.turn(1.0, 65536), SHORTEST)
        self.assertEqual(self.gate.delay, 0.01)
        self.kernel.answer = self.kernel.answer._replace(inFlight=0, delivered=8 * 1448)
        self.assertEqual(self.gate.turn(1.01, SHORTEST), SHORTEST)
        self.assertEqual(self.gate.delay, 0.0)

    def test_unbounded(self):
        """
        Without a bound, or without a kernel that answers, any turn may be
        written.
        """
        for gate in (SendGate(None, None), SendGate(StringTransport(), 0.005)):
            for now in (1.0, 2.0):
                self.assertEqual(gate.turn(now, 10**9), 10**9)
                gate.wrote(10**9)
                self.assertEqual(gate.delay, 0.0)


class OtherTransportTests(SynchronousTestCase):
    """Transports without a socket."""

    def test_noSocket(self):
        """A transport without a socket, or without anything, is left as it is."""
        for transport in (StringTransport(), object()):
            before = dict(getattr(transport, "__dict__", {}))
            tuneForLatency(transport)
            self.assertEqual(getattr(transport, "__dict__", {}), before)

    def test_closed(self):
        """A connection that is gone already is no error."""
        handle = socket.socket()
        handle.close()

        class Closed:
            def getHandle(self):
                return handle

        tuneForLatency(Closed())

    def test_oldSystem(self):
        """A system without C{TCP_NOTSENT_LOWAT} gets what it knows."""
        self.patch(tcp, "_OPTION", None)
        with socket.socket() as handle:

            class Open:
                def getHandle(self):
                    return handle

            tuneForLatency(Open())
            noDelay = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            self.assertNotEqual(noDelay, 0)

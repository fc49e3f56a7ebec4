# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Tests for L{amp_stream.tcp}: what is set on real sockets.
"""

from __future__ import annotations

import socket

from twisted.internet.testing import StringTransport
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.trial.unittest import SynchronousTestCase

from amp_stream import StreamAMP, tcp
from amp_stream.tcp import NOT_SENT_LOWAT, drainingTransport, tuneForLatency
from tests.commands import Ping, Server
from tests.loopback import LoopbackTestCase, Plain, Watched

LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", None)


class Client(Watched, StreamAMP):
    """
    One end.
    """


class WatchedServer(Watched, Server):
    """
    The other.
    """


def socketOf(protocol):
    """
    Find the socket below a protocol.
    """
    transport = protocol.transport
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    return transport.socket


class TuningTests(LoopbackTestCase):
    """
    What L{StreamAMP} does to its connections.
    """

    def assertTuned(self, protocol):
        """
        Ask the kernel.
        """
        handle = socketOf(protocol)
        self.assertNotEqual(
            handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), 0
        )
        if LOWAT is not None:
            self.assertEqual(
                handle.getsockopt(socket.IPPROTO_TCP, LOWAT), NOT_SENT_LOWAT
            )

    def assertNotTuned(self, protocol):
        """
        Ask the kernel.
        """
        handle = socketOf(protocol)
        self.assertEqual(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), 0)

    async def test_tcp(self):
        """
        Both ends of a TCP connection send at once, and queue little in the kernel.
        """
        client, server = Client(), WatchedServer()
        await self.tcp(client, server)
        self.assertTuned(client)
        self.assertTuned(server)

    async def test_tls(self):
        """
        So do both ends of one with TLS, whichever way TLS was put there.
        """
        client, server = Client(), WatchedServer()
        await self.tls(client, server)
        self.assertTuned(client)
        self.assertTuned(server)
        await client.callRemote(Ping)

    async def test_otherProtocols(self):
        """
        No other connection is touched.
        """
        client, server = Plain(), Plain()
        await self.tcp(client, server)
        self.assertNotTuned(client)

    async def test_wrapped(self):
        """
        A TCP connection is found below any number of policies.
        """
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
        """
        A UNIX socket, which knows none of this, works.
        """
        client, server = Client(), WatchedServer()
        await self.unix(client, server)
        self.assertEqual(await client.callRemote(Ping, number=3), {"number": 3})


class DrainingTests(LoopbackTestCase):
    """
    L{drainingTransport}.
    """

    async def test_tcp(self):
        """
        A TCP connection knows itself when it has drained.
        """
        client, server = Plain(), Plain()
        await self.tcp(client, server)
        self.assertIs(drainingTransport(client.transport), client.transport)

    async def test_tls(self):
        """
        With TLS, what is below does.
        """
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
        """
        Any other transport speaks for itself.
        """
        transport = StringTransport()
        self.assertIs(drainingTransport(transport), transport)


class OtherTransportTests(SynchronousTestCase):
    """
    Transports without a socket.
    """

    def test_noSocket(self):
        """
        A transport without a socket, or without anything, is left as it is.
        """
        for transport in (StringTransport(), object()):
            before = dict(getattr(transport, "__dict__", {}))
            tuneForLatency(transport)
            self.assertEqual(getattr(transport, "__dict__", {}), before)

    def test_closed(self):
        """
        A connection that is gone already is no error.
        """
        handle = socket.socket()
        handle.close()

        class Closed:
            def getHandle(self):
                return handle

        tuneForLatency(Closed())

    def test_oldSystem(self):
        """
        A system without C{TCP_NOTSENT_LOWAT} gets what it knows.
        """
        self.patch(tcp, "_OPTION", None)
        with socket.socket() as handle:

            class Open:
                def getHandle(self):
                    return handle

            tuneForLatency(Open())
            noDelay = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            self.assertNotEqual(noDelay, 0)

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Real connections on this machine, for tests of behaviour that needs the kernel."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import reactor, ssl
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import (
    SSL4ServerEndpoint,
    clientFromString,
    connectProtocol,
    serverFromString,
    wrapClientTLS,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from tests.test_protocol_endpoints import makeCertificate

__all__ = ["LoopbackTestCase", "Plain", "Watched"]


class Watched:
    """A protocol with a Deferred that fires when its connection is lost."""

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        self.lost: Deferred[None] = Deferred()

    def connectionLost(self, reason: Any) -> None:
        super().connectionLost(reason)  # type: ignore[misc]
        self.lost.callback(None)


class Plain(Watched, Protocol):
    """A protocol that counts the bytes that it receives."""

    received = 0

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)


class LoopbackTestCase(TestCase):
    """Tests with two protocols that are connected by the kernel."""

    timeout = 60

    async def listen(self, endpoint: Any, server: Any) -> Any:
        """
        Wait for one connection.

        @return: The address to connect to.
        """
        factory = Factory.forProtocol(lambda: server)
        port = await endpoint.listen(factory)
        self.addCleanup(port.stopListening)
        return port.getHost()

    async def connected(self, endpoint: Any, client: Any, server: Any) -> None:
        """Connect two protocols, and close both ends when the test is over."""
        made: Deferred[None] = Deferred()
        connectionMade = server.connectionMade

        def note() -> None:
            connectionMade()
            made.callback(None)

        server.connectionMade = note
        await connectProtocol(endpoint, client)
        await made
        ends = [(end, end.transport) for end in (client, server)]

        def close() -> Deferred[Any]:
            for end, transport in ends:
                if not end.lost.called:
                    transport.abortConnection()
            return gatherResults([end.lost for end, _ in ends])

        self.addCleanup(close)

    async def tcp(self, client: Any, server: Any) -> None:
        """Connect two protocols over TCP."""
        endpoint = serverFromString(reactor, "tcp:0:interface=127.0.0.1")
        host = await self.listen(endpoint, server)
        there = clientFromString(reactor, f"tcp:127.0.0.1:{host.port}")
        await self.connected(there, client, server)

    async def tls(self, client: Any, server: Any) -> None:
        """Connect two protocols over TLS."""
        certificate = makeCertificate()
        endpoint = SSL4ServerEndpoint(
            reactor, 0, certificate.options(), interface="127.0.0.1"
        )
        host = await self.listen(endpoint, server)
        trusted = ssl.Certificate.loadPEM(certificate.dumpPEM())
        there = wrapClientTLS(
            ssl.optionsForClientTLS("localhost", trusted),
            clientFromString(reactor, f"tcp:127.0.0.1:{host.port}"),
        )
        await self.connected(there, client, server)

    async def unix(self, client: Any, server: Any) -> None:
        """Connect two protocols over a UNIX socket."""
        # The path of a UNIX socket must be short.
        path = os.path.relpath(self.mktemp())
        await self.listen(serverFromString(reactor, f"unix:{path}"), server)
        await self.connected(clientFromString(reactor, f"unix:{path}"), client, server)

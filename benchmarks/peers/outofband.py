# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""amp_stream's C{OutOfBand}."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.protocols import amp

from amp_stream import OutOfBand as OutOfBandArgument
from benchmarks.material import blocks
from benchmarks.peers.base import Peer, Session
from benchmarks.peers.configured import bulkClient, bulkServer, configured
from benchmarks.peers.streams import StreamServer, StreamSession

__all__ = ["OutOfBand"]


class Take(amp.Command):
    """Take a stream."""

    commandName = b"TakeOutOfBand"
    arguments = [(b"body", OutOfBandArgument())]


class Give(amp.Command):
    """Give a stream."""

    commandName = b"GiveOutOfBand"
    arguments = [(b"size", amp.Integer())]
    response = [(b"body", OutOfBandArgument())]


class _Server(StreamServer):
    """Takes and gives."""

    @Take.responder
    def takeOutOfBand(self, body: Any) -> Deferred[dict[str, object]]:
        """Count it."""
        return self.take(body)

    @Give.responder
    def giveOutOfBand(self, size: int) -> dict[str, object]:
        """Send as much as is asked for."""
        return self.give(size)


class _Session(StreamSession):
    """Transfers, and the calls beside them."""

    taking = Take
    giving = Give


class OutOfBand(Peer):
    """
    C{StreamAMP} on both sides, and a C{OutOfBandServer} at the server's: the bulk has a
    connection of its own.
    """

    async def serve(self) -> int:
        plain = not self.job.certificate
        endpoint = TCP4ServerEndpoint(self.reactor, 0, 4096, self.job.host)
        server = await bulkServer(endpoint, plain, self.reactor)
        client = bulkClient(plain)
        options = configured({}, outOfBandServer=server, outOfBandClient=client)
        make = Factory.forProtocol(lambda: _Server(self.meter, blocks, **options))
        return await self.listen(make)

    async def connect(self) -> Session:
        client = bulkClient(not self.job.certificate)
        options = configured({}, outOfBandClient=client)
        protocol = await self.reach(_Server(self.meter, blocks, **options))
        return _Session(protocol, self.meter, blocks)

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""How trial sends large values to its workers: C{twisted.trial._dist.stream}."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.protocols import amp
from twisted.trial._dist.stream import StreamOpen, StreamReceiver, StreamWrite, stream

from benchmarks.material import blocks
from benchmarks.measuring import Count, Meter
from benchmarks.peers.base import Peer, Session
from benchmarks.peers.stock import AmpSession, Pingable

__all__ = ["Trial"]

PIECE = 65535


class _Finish(amp.Command):
    """The stream is complete."""

    arguments = [(b"streamId", amp.Integer())]


class _Want(amp.Command):
    """Ask the other side to send."""

    arguments = [(b"size", amp.Integer())]


async def _send(protocol: amp.AMP, size: int) -> None:
    number = await stream(protocol, blocks(size, PIECE))
    await protocol.callRemote(_Finish, streamId=number)


class _Both(Pingable):
    """Either side."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self._meter = meter
        self._receiver = StreamReceiver()
        self._counts: dict[int, Count] = {}

    @StreamOpen.responder
    def open(self) -> dict[str, object]:
        """Begin."""
        number = self._receiver.open()
        self._counts[number] = self._meter.count()
        return {"streamId": number}

    @StreamWrite.responder
    def write(self, streamId: int, data: bytes) -> dict[str, object]:
        """Keep what has come."""
        self._receiver.write(streamId, data)
        self._counts[streamId].add(len(data))
        return {}

    @_Finish.responder
    def finish(self, streamId: int) -> dict[str, object]:
        """Let it go."""
        self._receiver.finish(streamId)
        return {}

    @_Want.responder
    def want(self, size: int) -> Deferred[dict[str, object]]:
        """Send."""
        sent = Deferred.fromCoroutine(_send(self, size))
        return sent.addCallback(lambda ignored: {})


class _Session(AmpSession):
    """Streams and calls of one connection."""

    async def upload(self, size: int) -> None:
        await _send(self.protocol, size)

    async def download(self, size: int) -> None:
        await self.protocol.callRemote(_Want, size=size)


class Trial(Peer):
    """One chunk, one answer."""

    async def serve(self) -> int:
        return await self.listen(Factory.forProtocol(lambda: _Both(self.meter)))

    async def connect(self) -> Session:
        return _Session(await self.reach(_Both(self.meter)))

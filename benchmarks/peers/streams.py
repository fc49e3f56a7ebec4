# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
amp_stream's C{Stream}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure

from amp_stream import Limits, Stream, StreamAMP
from benchmarks.material import blocks
from benchmarks.meter import Count, Meter
from benchmarks.peers.base import Peer, Session

__all__ = ["StreamServer", "StreamSession", "Streams"]


class Take(amp.Command):
    """
    Take a stream.
    """

    arguments = [(b"body", Stream())]


class Give(amp.Command):
    """
    Give a stream.
    """

    arguments = [(b"size", amp.Integer())]
    response = [(b"body", Stream())]


class Ping(amp.Command):
    """
    A small call.
    """


class _Counting(Protocol):
    """
    Counts what is delivered, and tells of the end.
    """

    def __init__(self, count: Count) -> None:
        self.add = count.add
        self.done: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.add(len(data))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if reason.check(ConnectionDone):
            self.done.callback(None)
        else:
            self.done.errback(reason)


class StreamServer(StreamAMP):
    """
    Takes and gives.
    """

    def __init__(self, meter: Meter, piece: int, **options: Any) -> None:
        super().__init__(**options)
        self._meter = meter
        self._piece = piece

    def connectionMade(self) -> None:
        """
        Note how long chunks are, which the protocol tells nobody.
        """
        super().connectionMade()
        self._meter.watchChunks(lambda: self._link()._pace.chunk)

    @Take.responder
    def take(self, body: Any) -> Deferred[dict[str, object]]:
        """
        Count it.
        """
        counting = _Counting(self._meter.count())
        body.deliverTo(counting)
        return counting.done.addCallback(lambda ignored: {})

    @Give.responder
    def give(self, size: int) -> dict[str, object]:
        """
        Send as much as is asked for.
        """
        return {"body": blocks(size, self._piece)}

    @Ping.responder
    def ping(self) -> dict[str, object]:
        """
        Answer.
        """
        return {}


class StreamSession(Session):
    """
    Streams and calls of one connection.
    """

    taking: type[amp.Command] = Take
    giving: type[amp.Command] = Give

    def __init__(self, protocol: StreamAMP, meter: Meter, piece: int) -> None:
        self._protocol = protocol
        self._meter = meter
        self._piece = piece

    async def upload(self, size: int) -> None:
        await self._protocol.callRemote(self.taking, body=blocks(size, self._piece))

    async def download(self, size: int) -> None:
        counting = _Counting(self._meter.count())
        answer = await self._protocol.callRemote(self.giving, size=size)
        answer["body"].deliverTo(counting)
        await counting.done

    def call(self, answered: Callable[[], None]) -> None:
        self._protocol.callRemote(Ping).addCallback(lambda ignored: answered())


class Streams(Peer):
    """
    C{StreamAMP} on both sides.

    The options C{limits} (a mapping) and C{piece}, of how many bytes each the source's
    pieces are.
    """

    def _options(self) -> tuple[Limits, int]:
        options = self.job.options
        return Limits(**options.get("limits", {})), options.get("piece", 65535)

    async def serve(self) -> int:
        limits, piece = self._options()
        make = Factory.forProtocol(
            lambda: StreamServer(self.meter, piece, limits=limits)
        )
        return await self.listen(make)

    async def connect(self) -> Session:
        limits, piece = self._options()
        protocol = await self.reach(StreamAMP(limits=limits))
        self.meter.watchChunks(lambda: protocol._link()._pace.chunk)
        return StreamSession(protocol, self.meter, piece)

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""amp_stream's C{Stream}."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.protocols import amp
from twisted.python.failure import Failure

from amp_stream import Stream, StreamAMP
from benchmarks.material import BLOCK, blocks
from benchmarks.measuring import Count, Meter
from benchmarks.peers.base import Peer, Session
from benchmarks.peers.configured import configured

__all__ = ["StreamServer", "StreamSession", "Streams"]

Source = Callable[[int], Any]
"""
Makes an iterable of so many bytes, or an asynchronous one.
"""

_TICK = 0.01


class Take(amp.Command):
    """Take a stream."""

    arguments = [(b"body", Stream())]


class Give(amp.Command):
    """Give a stream."""

    arguments = [(b"size", amp.Integer())]
    response = [(b"body", Stream())]


class Ping(amp.Command):
    """A small call."""


class _Counting(Protocol):
    """Counts what is delivered, and tells of the end."""

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
    """Takes and gives."""

    def __init__(self, meter: Meter, source: Source, **options: Any) -> None:
        super().__init__(**options)
        self._meter = meter
        self._source = source

    @Take.responder
    def take(self, body: Any) -> Deferred[dict[str, object]]:
        """Count it."""
        counting = _Counting(self._meter.count())
        body.deliverTo(counting)
        return counting.done.addCallback(lambda ignored: {})

    @Give.responder
    def give(self, size: int) -> dict[str, object]:
        """Send as much as is asked for."""
        return {"body": self._source(size)}

    @Ping.responder
    def ping(self) -> dict[str, object]:
        """Answer."""
        return {}


class StreamSession(Session):
    """Streams and calls of one connection."""

    taking: type[amp.Command] = Take
    giving: type[amp.Command] = Give

    def __init__(self, protocol: StreamAMP, meter: Meter, source: Source) -> None:
        self._protocol = protocol
        self._meter = meter
        self._source = source

    async def upload(self, size: int) -> None:
        await self._protocol.callRemote(self.taking, body=self._source(size))

    async def download(self, size: int) -> None:
        counting = _Counting(self._meter.count())
        answer = await self._protocol.callRemote(self.giving, size=size)
        answer["body"].deliverTo(counting)
        await counting.done

    def call(self, answered: Callable[[], None]) -> None:
        self._protocol.callRemote(Ping).addCallback(lambda ignored: answered())


class Paced:
    """A source that takes its time, and counts what it has given."""

    def __init__(
        self,
        reactor: Any,
        meter: Meter,
        until: float,
        rate: float = 0.0,
        pause: Sequence[float] = (),
    ) -> None:
        """
        @param until: How long after the first piece it ends (seconds).

        @param rate: How many bytes it has a second, if there is a limit.

        @param pause: From when to when it has nothing.
        """
        self._reactor = reactor
        self._meter = meter
        self._until = until
        self._rate = rate
        self._pause = pause

    async def __call__(self, size: int) -> AsyncIterator[bytes]:
        """Make pieces."""
        begun = self._reactor.seconds()
        length = int(self._rate * _TICK) if self._rate else 65535
        given = 0
        while (now := self._reactor.seconds() - begun) < self._until:
            due = given / self._rate if self._rate else 0.0
            if self._pause and self._pause[0] <= now < self._pause[1]:
                due = self._pause[1]
            if due > now:
                await deferLater(self._reactor, due - now)
                continue
            given += length
            self._meter.given += length
            yield BLOCK[:length]


class Streams(Peer):
    """
    C{StreamAMP} on both sides.

    The options C{limits} (a mapping), C{piece}, of how many bytes each the source's
    pieces are, or C{source}, the arguments of a L{Paced} one.
    """

    def _options(self) -> tuple[dict[str, Any], Source]:
        options = self.job.options
        limits = configured(options.get("limits", {}))
        if "source" in options:
            return limits, Paced(self.reactor, self.meter, **options["source"])
        piece = options.get("piece", 65535)
        return limits, lambda size: blocks(size, piece)

    async def serve(self) -> int:
        limits, source = self._options()
        make = Factory.forProtocol(lambda: StreamServer(self.meter, source, **limits))
        return await self.listen(make)

    async def connect(self) -> Session:
        limits, source = self._options()
        protocol = await self.reach(StreamAMP(**limits))
        return StreamSession(protocol, self.meter, source)

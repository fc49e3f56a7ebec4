# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""What people write with stock AMP: calls of up to 65,535 bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory
from twisted.protocols import amp
from zope.interface import implementer

from benchmarks.material import blocks
from benchmarks.measuring import Meter
from benchmarks.peers.base import Peer, Session

__all__ = ["AmpSession", "Ping", "Pingable", "Push", "Window"]

PIECE = 65535


class Ping(amp.Command):
    """A small call."""


class Part(amp.Command):
    """Some bytes, with an answer."""

    arguments = [(b"data", amp.String())]


class Silent(amp.Command):
    """Some bytes, without an answer."""

    arguments = [(b"data", amp.String())]
    requiresAnswer = False


class Finished(amp.Command):
    """There are no more bytes."""


class Want(amp.Command):
    """Ask the other side to send."""

    arguments = [(b"size", amp.Integer())]


class Pingable(amp.AMP):
    """Answers small calls."""

    @Ping.responder
    def ping(self) -> dict[str, object]:
        """Answer."""
        return {}


class _Both(Pingable):
    """Either side: sends in its way, and counts."""

    def __init__(
        self, meter: Meter, send: Callable[[amp.AMP, int], Deferred[None]]
    ) -> None:
        super().__init__()
        self._meter = meter
        self._send = send
        self._count = meter.count()

    @Part.responder
    def part(self, data: bytes) -> dict[str, object]:
        """Count."""
        self._count.add(len(data))
        return {}

    @Silent.responder
    def silent(self, data: bytes) -> dict[str, object]:
        """Count."""
        self._count.add(len(data))
        return {}

    @Finished.responder
    def finished(self) -> dict[str, object]:
        """Start anew."""
        self._count = self._meter.count()
        return {}

    @Want.responder
    def want(self, size: int) -> Deferred[dict[str, object]]:
        """Send."""
        return self._send(self, size).addCallback(lambda ignored: {})


class AmpSession(Session):
    """The client of a peer that is AMP."""

    def __init__(self, protocol: amp.AMP) -> None:
        self.protocol = protocol

    def call(self, answered: Callable[[], None]) -> None:
        self.protocol.callRemote(Ping).addCallback(lambda ignored: answered())


class _Session(AmpSession):
    """Moves bytes in the way of the job."""

    def __init__(
        self, protocol: amp.AMP, send: Callable[[amp.AMP, int], Deferred[None]]
    ) -> None:
        super().__init__(protocol)
        self._send = send

    async def upload(self, size: int) -> None:
        await self._send(self.protocol, size)

    async def download(self, size: int) -> None:
        await self.protocol.callRemote(Want, size=size)


class _Stock(Peer):
    """The same class on both sides."""

    def send(self, protocol: amp.AMP, size: int) -> Deferred[None]:
        """Send so many bytes; fires when the other side has them."""
        raise NotImplementedError

    def _protocol(self) -> amp.AMP:
        return _Both(self.meter, self.send)

    async def serve(self) -> int:
        return await self.listen(Factory.forProtocol(self._protocol))

    async def connect(self) -> Session:
        return _Session(await self.reach(self._protocol()), self.send)


class Window(_Stock):
    """A number of calls that nobody has answered yet: the option C{window}."""

    def send(self, protocol: amp.AMP, size: int) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        pieces = blocks(size, PIECE)
        unanswered = 0

        def fill(ignored: object = None) -> None:
            nonlocal unanswered
            while unanswered < self.job.options["window"]:
                piece = next(pieces, None)
                if piece is None:
                    break
                unanswered += 1
                protocol.callRemote(Part, data=piece).addCallbacks(answered, failed)
            if not unanswered and not done.called:
                protocol.callRemote(Finished).chainDeferred(done)

        def answered(ignored: object) -> None:
            nonlocal unanswered
            unanswered -= 1
            fill()

        def failed(failure: Any) -> None:
            if not done.called:
                done.errback(failure)

        fill()
        return done


@implementer(IPushProducer)
class _Producer:
    """Makes calls that need no answer until the transport says stop."""

    def __init__(
        self, protocol: amp.AMP, pieces: Iterator[bytes], done: Deferred[None]
    ) -> None:
        self._protocol = protocol
        self._pieces = pieces
        self._done = done
        self._paused = False
        protocol.transport.registerProducer(self, True)
        self.resumeProducing()

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        while not self._paused:
            piece = next(self._pieces, None)
            if piece is None:
                self._protocol.transport.unregisterProducer()
                self._protocol.callRemote(Finished).chainDeferred(self._done)
                return
            self._protocol.callRemote(Silent, data=piece)

    def stopProducing(self) -> None:
        self._paused = True


class Push(_Stock):
    """A push producer that makes calls."""

    def send(self, protocol: amp.AMP, size: int) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        _Producer(protocol, blocks(size, PIECE), done)
        return done

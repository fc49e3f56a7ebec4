# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The incoming streams of one connection, between the rules and the application.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from amp_stream._sansio.chunk import Chunk
from amp_stream._sansio.frames import Frame
from amp_stream._sansio.inbound import Inbound
from amp_stream._sansio.limits import Limits
from amp_stream._sansio.receiving import ReceiveStream
from amp_stream.errors import StreamError, StreamRefused
from amp_stream.incoming import IncomingStream
from amp_stream.timer import IdleTimer

__all__ = ["Carrier", "IncomingSide"]


class Carrier(Protocol):
    """
    What brings the bytes of a stream by another connection.
    """

    def wanted(self, held: int) -> None:
        """
        Somebody takes the bytes.

        @param held: How many still wait for that (bytes).
        """

    def release(self, error: BaseException | None) -> None:
        """
        The stream has ended.

        @param error: Why there is no complete value, or L{None} if there is.
        """


class IncomingSide:
    """
    Drives an L{Inbound}: hands bytes to their streams, keeps back the answers to
    senders that wait for them, and passes control messages on.

    @ivar lost: Why the connection is gone, or L{None} while it is not.
    """

    def __init__(self, limits: Limits, send: Callable[[Frame], object]) -> None:
        """
        @param send: What sends a control message to the peer.
        """
        self._inbound = Inbound(limits)
        self._send = send
        self._handles: dict[int, IncomingStream] = {}
        self._carriers: dict[int, Carrier] = {}
        self._answers: dict[int, list[Deferred[dict[str, Any]]]] = {}
        self.lost: Failure | None = None
        self._timer = IdleTimer(self._inbound.interval, self._expire)
        self.collectSize = limits.maxCollectSize

    @property
    def isBusy(self) -> bool:
        """
        Whether bytes are expected, or kept.
        """
        return bool(self._inbound.streams)

    def useClock(self, clock: IReactorTime) -> None:
        """
        Measure from now on how long streams wait.
        """
        self._timer.useClock(clock)

    def receive(self, chunk: Chunk) -> None:
        """
        Take a chunk whose sender keeps within a window.

        @raise StreamError: If the stream fails with it.  The sender is told.
        """
        with self._failing(chunk.id):
            stream = self._inbound.receive(
                chunk.id,
                chunk.offset,
                chunk.data,
                chunk.fin,
                chunk.sha256,
                now=self._timer.now,
            )
        self._received(stream)

    def receivePlain(self, id: int, offset: int, data: bytes) -> None:
        """
        Take a chunk, or several in a row, of which none is the last or comes with a
        digest: most do nothing but go on where the stream was.

        @raise StreamError: See L{receive}.
        """
        stream = self._inbound.extend(id, offset, data, self._timer.now)
        if stream is None:
            with self._failing(id):
                stream = self._inbound.receive(id, offset, data, now=self._timer.now)
            self._received(stream)
            return
        self._deliver(id)
        self._flush()

    def receiveAsked(self, chunk: Chunk) -> Deferred[dict[str, Any]]:
        """
        Take a chunk whose sender waits for an answer.

        @return: A Deferred that fires with the response of C{StreamData}, once
            there is room for the next chunk.

        @raise StreamError: If the stream fails with it, or has failed before.
        """
        with self._failing(chunk.id):
            stream = self._inbound.receive(
                chunk.id, chunk.offset, chunk.data, chunk.fin, chunk.sha256, asked=True
            )
        if stream is None:
            return succeed({})
        self._received(stream)
        if stream.error is not None:
            # Its consumer gave up at the very bytes of this chunk.
            raise stream.error
        if stream.hasRoom:
            return succeed(self._response(stream))
        answer: Deferred[dict[str, Any]] = Deferred()
        self._answers.setdefault(chunk.id, []).append(answer)
        return answer

    def refuse(self, id: int, error: StreamError, tell: bool) -> None:
        """
        Give up the stream of a chunk that makes no sense.

        @param tell: Whether its sender has to be told.
        """
        self._inbound.refuse(id, error, tell)
        self._failed(id, error)

    def claim(
        self,
        id: int,
        size: int | None = None,
        maxSize: int | None = None,
        carrier: Carrier | None = None,
        digest: bool = False,
    ) -> IncomingStream:
        """
        Ask for a stream.

        @param size: How many bytes it was announced with, or L{None}.

        @param maxSize: How many bytes it may have, or L{None} for no bound other
            than that of the limits.

        @param carrier: What brings its bytes, if that is not the peer's chunks.

        @param digest: Whether the digest of a stream with a carrier will come.

        @raise StreamError: If it cannot be had.
        """
        if self.lost is not None:
            self.lost.raiseException()
        try:
            stream = self._inbound.claim(id, size, maxSize, carrier is not None, digest)
        except StreamError as error:
            if id not in self._inbound.streams:
                # The stream itself has failed; it is not somebody else's.
                self._failed(id, error)
            raise
        handle = self._handles[id] = IncomingStream(stream, self)
        if carrier is not None:
            self._carriers[id] = carrier
        self._timer.arm()
        return handle

    def feed(self, id: int, data: bytes, last: bool = False) -> int:
        """
        Take the next bytes of a stream from its carrier.

        @param last: Whether the carrier has no more.

        @return: How many bytes wait for somebody to take them (bytes).

        @raise StreamError: If the stream fails with them, or has ended.
        """
        stream = None if last else self._inbound.feedOn(id, data)
        if stream is not None:
            self._deliver(id)
            self._flush()
            return stream.held
        with self._failing(id):
            stream = self._inbound.feed(id, data, last)
        if stream is None:
            raise StreamRefused
        self._received(stream)
        return stream.held

    def reset(self, id: int, error: StreamError, finalSize: int) -> None:
        """
        The sender of a stream gave up.
        """
        stream = self._inbound.reset(id, error, finalSize)
        if stream is not None and stream.error is not None:
            self._failed(id, stream.error)

    def read(self, stream: ReceiveStream) -> bytes:
        """
        See L{ReadingSide.read}.
        """
        data = self._inbound.read(stream, self._timer.now)
        if stream.isEnded:
            self._drop(stream.id)
        elif self._carriers and stream.id in self._carriers:
            self._carriers[stream.id].wanted(stream.held)
        if stream.id in self._answers and stream.hasRoom:
            self._answer(stream)
        self._flush()
        return data

    def stop(self, stream: ReceiveStream, error: StreamError) -> None:
        """
        See L{ReadingSide.stop}.
        """
        self._inbound.stop(stream, error)
        self._failed(stream.id, error)

    def giveUp(self, id: int, error: StreamError) -> None:
        """
        Give a stream up, if it has not ended.
        """
        stream = self._inbound.streams.get(id)
        if stream is not None:
            self.stop(stream, error)

    def connectionLost(self, reason: Failure) -> None:
        """
        Fail everything that is not complete, and forget the rest.
        """
        self.lost = reason
        self._timer.stop()
        handles, self._handles = self._handles, {}
        answers, self._answers = self._answers, {}
        carriers, self._carriers = self._carriers, {}
        complete = {stream.id for stream in self._inbound.clear() if stream.isComplete}
        for id, handle in handles.items():
            handle.lost(reason, id in complete)
        for waiting in answers.values():
            for answer in waiting:
                answer.errback(reason)
        for id, carrier in carriers.items():
            carrier.release(None if id in complete else reason.value)

    @contextmanager
    def _failing(self, id: int) -> Iterator[None]:
        """
        What a stream fails with, all who wait for it fail with, too.
        """
        try:
            yield
        except StreamError as error:
            self._failed(id, error)
            raise

    def _deliver(self, id: int) -> None:
        handle = self._handles.get(id)
        if handle is not None:
            handle.deliver()

    def _received(self, stream: ReceiveStream | None) -> None:
        if stream is not None:
            self._deliver(stream.id)
            if stream.isComplete and stream.id in self._answers:
                self._answer(stream)
            if self._inbound.streams:
                self._timer.arm()
        self._flush()

    def _failed(self, id: int, error: StreamError) -> None:
        """
        A stream has failed: tell everybody who waits for it.
        """
        self._flush()
        handle = self._drop(id, error)
        for answer in self._answers.pop(id, ()):
            answer.errback(error)
        if handle is not None:
            handle.fail(Failure(error))

    def _drop(self, id: int, error: StreamError | None = None) -> IncomingStream | None:
        handle = self._handles.pop(id, None)
        if self._carriers and id in self._carriers:
            self._carriers.pop(id).release(error)
        if not self._inbound.streams:
            self._timer.stop()
        return handle

    def _answer(self, stream: ReceiveStream) -> None:
        for answer in self._answers.pop(stream.id):
            answer.callback(self._response(stream))

    def _response(self, stream: ReceiveStream) -> dict[str, Any]:
        return {"maximum": self._inbound.maximum(stream)}

    def _flush(self) -> None:
        frames = self._inbound.frames
        if frames:
            self._inbound.frames = []
            for frame in frames:
                self._send(frame)

    def _expire(self, now: float) -> bool:
        """
        Give up what has waited too long.

        @return: Whether there is anything left to wait for.
        """
        for stream in self._inbound.expire(now):
            if stream.error is not None:
                self._failed(stream.id, stream.error)
        return bool(self._inbound.streams)

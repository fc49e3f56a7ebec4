# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
All streams of one connection, in each direction.

The outgoing side gives each stream its id, its turn and its credit.  The incoming side
decides which streams the peer may open and how many bytes it may hold here.

Both sides end streams that have waited too long.  They note nothing when a byte moves,
because that would cost time with every chunk.  Instead each stream has a number that
changes with progress, and the connection compares it four times in the allowed time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import inf
from typing import Generic, Protocol, TypeVar

from amp_stream._sansio.frames import Frame, MaxStreamData, ResetStream, StopSending
from amp_stream._sansio.limits import INITIAL_MAXIMUM, MAX_CHUNK, Limits
from amp_stream._sansio.stream import InlineStream, ReceiveStream, SendStream
from amp_stream._sansio.window import WindowGrowth
from amp_stream.errors import (
    CapacityExceeded,
    InvalidValue,
    ProtocolViolation,
    StreamError,
    StreamTimedOut,
    ValueTooLong,
    errorForCode,
)


class Watched(Protocol):
    """
    A stream that can be watched.

    @ivar lastProgress: Its L{progress}, and the time (seconds) when it was first
        seen with that;
        L{None} while it does not wait.  Only this module changes it.
    """

    lastProgress: tuple[int, float] | None

    @property
    def isIdle(self) -> bool:
        """Whether it waits for something that the limit is for."""

    @property
    def progress(self) -> int:
        """A number that changes whenever a byte has moved."""


_T = TypeVar("_T", bound=Watched)


_HAIR = 0.999
"""
The sum of four intervals must not be a rounding error short of the timeout.
"""


class IdleWatch(Generic[_T]):
    """
    Looks for streams that have not moved.

    @ivar interval: How often to L{look} (seconds), or L{None} for never.
    """

    def __init__(self, timeout: float | None) -> None:
        """@param timeout: How long a stream may wait (seconds), or L{None} for ever."""
        self.interval = None if timeout is None else timeout / 4
        self._timeout = inf if timeout is None else timeout * _HAIR

    def look(self, now: float, streams: Iterable[_T]) -> list[_T]:
        """
        Compare every stream with what it was before.

        @param now: The time (seconds, from any start).

        @param streams: All that exist.

        @return: Those that have waited for longer than allowed.
        """
        expired = []
        for stream in streams:
            if not stream.isIdle:
                stream.lastProgress = None
                continue
            progress = stream.progress
            lastProgress = stream.lastProgress
            if lastProgress is None or lastProgress[0] != progress:
                stream.lastProgress = (progress, now)
            elif now - lastProgress[1] >= self._timeout:
                expired.append(stream)
        return expired


class SendStreams:
    """
    The sending side of a connection.

    A stream waits for its turn while it has credit and its source is L{offer}ed.
    The writer of the connection asks for the L{next} stream, and says afterwards
    whether there is more.

    @ivar streams: Those that have not ended, by id.

    @ivar frames: What has to be sent.  The caller takes them out.

    @ivar chunk: The most bytes to send in one chunk.  It may be changed.

    @ivar interval: How often to call L{expire} (seconds), or L{None} for never.
    """

    def __init__(self, chunk: int = MAX_CHUNK, timeout: float | None = None) -> None:
        self.streams: dict[int, SendStream] = {}
        self.frames: list[Frame] = []
        self.chunk = chunk
        # Round robin: each waits for one turn before any gets two.
        self._waiting: OrderedDict[int, None] = OrderedDict()
        self._nextId = 0
        self._idle: IdleWatch[SendStream] = IdleWatch(timeout)
        self.interval = self._idle.interval

    def open(self) -> SendStream:
        """Make a stream.  Nothing is sent before it is L{offer}ed."""
        stream = self.streams[self._nextId] = SendStream(self._nextId)
        self._nextId += 1
        return stream

    def offer(self, stream: SendStream) -> bool:
        """
        The source of a stream has bytes, or its end, or may have.

        @return: Whether any stream waits for its turn.
        """
        if stream.isSending:
            stream.offered = True
            if stream.window.maximum > stream.window.offset:
                self._waiting.setdefault(stream.id)
        return bool(self._waiting)

    def next(self) -> SendStream | None:
        """
        Find the stream whose turn it is.

        @return: A stream that may send L{allowance} bytes, at least one, and must
            then be L{offer}ed or L{withdraw}n again; or L{None}.
        """
        while self._waiting:
            id, _ = self._waiting.popitem(last=False)
            stream = self.streams.get(id)
            # One that was offered during its own turn may have ended in it, or
            # have used its credit up.
            if stream is not None and self._canSend(stream):
                return stream
        return None

    @property
    def hasTurn(self) -> bool:
        """Whether a stream waits for its turn."""
        return bool(self._waiting)

    def allowance(self, stream: SendStream) -> int:
        """How many bytes a stream may send in its turn."""
        window = stream.window
        return min(self.chunk, window.maximum - window.offset)

    def withdraw(self, stream: SendStream) -> None:
        """The source of a stream has nothing now; it will be offered again."""
        stream.offered = False
        self._waiting.pop(stream.id, None)

    def grant(self, id: int, maximum: int) -> bool:
        """
        The peer will take more of a stream.

        @return: Whether that lets it wait for a turn.
        """
        stream = self.streams.get(id)
        if stream is None or not stream.window.grant(maximum):
            return False
        if not stream.offered or not self._canSend(stream):
            return False
        self._waiting.setdefault(id)
        return True

    def acknowledge(self, id: int) -> SendStream | None:
        """
        The peer has every byte of a stream.

        @return: The stream, which has ended, or L{None} if that is no news.
        """
        stream = self.streams.get(id)
        if stream is None or not stream.acknowledge():
            return None
        del self.streams[id]
        return stream

    def reset(
        self, id: int, error: StreamError, tell: bool = True
    ) -> SendStream | None:
        """
        Give a stream up, because this side or the peer wants no more.

        @param tell: Whether to have the peer told.

        @return: The stream, which has ended, or L{None} if there is none.
        """
        stream = self.streams.pop(id, None)
        if stream is None:
            return None
        self.withdraw(stream)
        stream.reset(error)
        if tell:
            self.frames.append(ResetStream(id, error.code, stream.window.offset))
        return stream

    def expire(self, now: float) -> list[SendStream]:
        """
        Give the streams up whose peer has let them wait for too long.

        @param now: The time (seconds, from any start).

        @return: Those streams.
        """
        expired = self._idle.look(now, self.streams.values())
        for stream in expired:
            self.reset(stream.id, StreamTimedOut())
        return expired

    def clear(self) -> list[SendStream]:
        """
        The connection is gone: forget everything.

        @return: The streams that there were.
        """
        streams = list(self.streams.values())
        self.streams.clear()
        self.frames.clear()
        self._waiting.clear()
        return streams

    def _canSend(self, stream: SendStream) -> bool:
        return stream.isSending and stream.window.maximum > stream.window.offset


_REMEMBERED = 1024
"""
How many streams that have ended are remembered at least.
"""


class ReceiveStreams:
    """
    The receiving side of a connection.

    A stream begins with its first chunk, or when it is accepted, whichever is first.
    It is forgotten when it has ended; that it existed is remembered for a while, so
    that a late chunk does not open it again.

    @ivar streams: Those that have not ended, by id.

    @ivar inline: Those that have not ended and whose bytes came inside a box.

    @ivar frames: What has to be sent.  The caller takes them out.

    @ivar unaccepted: How many bytes are held of streams that were not accepted yet.

    @ivar reserved: How many bytes the peer may make this side hold, over all streams:
        at most C{maxBufferedBytes} and 262,144 for each stream.

    @ivar interval: How often to call L{expire} (seconds), or L{None} for never.
    """

    def __init__(self, limits: Limits, timeout: float | None = None) -> None:
        self.streams: dict[int, ReceiveStream] = {}
        self.frames: list[Frame] = []
        self.unaccepted = 0
        self.inline: set[InlineStream] = set()
        self._inlined = 0
        self.reserved = 0
        self._limits = limits
        self._growth = WindowGrowth(limits.initialWindow, limits.maxWindow)
        # By id: code and text of the error, or None for one that was read to its
        # end.  Not the error itself, whose traceback would keep chunks alive.
        self._ended: OrderedDict[int, tuple[bytes, str] | None] = OrderedDict()
        self._idle: IdleWatch[ReceiveStream] = IdleWatch(timeout)
        self.interval = self._idle.interval

    def receive(
        self,
        id: int,
        offset: int,
        data: bytes,
        fin: bool = False,
        sha256: bytes | None = None,
        asked: bool = False,
        now: float = 0.0,
    ) -> ReceiveStream | None:
        """
        Take a chunk.

        @param asked: Whether its sender waits for an answer; for the others see
            L{ReceiveStream.receive}.

        @param now: The time (seconds, from any start).

        @return: Its stream, or L{None} for one that ended before.

        @raise StreamError: If the stream fails with it.  If C{asked}, also if it
            failed before: the answer may be the only way to say so.
        """
        stream = self.streams.get(id)
        end = offset + len(data)
        if (
            stream is not None
            and stream.isNext(offset, end)
            and stream.accepted
            and not (fin or asked or stream.isOutOfBand)
            and sha256 is None
        ):
            # These bytes were reserved: nothing that is added up here changes.
            stream.append(data, end)
            self._measure(stream, end, now)
            return stream
        if stream is None:
            if id in self._ended:
                failure = self._failureOf(id)
                if asked and failure is not None:
                    raise failure
                return None
            stream = self._open(id, tell=not asked)
        try:
            with self._changing(stream):
                if asked:
                    # Its sender need not know about windows, and is held to what
                    # fits.
                    stream.grant(self._affordable(stream))
                if stream.isOutOfBand and data:
                    raise InvalidValue(
                        "the bytes of this stream travel out of band, not in chunks"
                    )
                stream.receive(offset, data, fin, sha256, asked)
                self._measure(stream, end, now)
            if (
                not stream.accepted
                and self.unaccepted > self._limits.maxUnacceptedBytes
            ):
                raise CapacityExceeded(code=b"STREAM_UNACCEPTED")
        except StreamError as error:
            self.stop(stream, error, tell=not asked)
            raise
        return stream

    def feed(self, id: int, data: bytes, last: bool = False) -> ReceiveStream | None:
        """
        Take the next bytes of a stream that travels out of band; see
        L{ReceiveStream.feed}.

        @return: Its stream, or L{None} for one that has ended.

        @raise StreamError: If the stream fails with them.
        """
        stream = self.streams.get(id)
        if stream is None:
            return None
        # Called for each record of TLS: no context manager.
        self._count(stream, -1)
        try:
            stream.feed(data, last)
        except StreamError as error:
            self._count(stream, 1)
            self.stop(stream, error)
            raise
        self._count(stream, 1)
        return stream

    def accept(
        self,
        id: int,
        size: int | None = None,
        maxSize: int | None = None,
        isOutOfBand: bool = False,
        digest: bool = False,
    ) -> ReceiveStream:
        """
        Accept a stream, before or after its first chunk.

        @param size: How many bytes it was announced with, or L{None}.

        @param maxSize: How many bytes it may have, or L{None} for no bound other
            than that of the limits.

        @param isOutOfBand: Whether its bytes come by another connection; then they are
            handed to L{feed}.

        @param digest: Whether the digest of a stream out of band will come.

        @return: The stream; it may be complete already.

        @raise ProtocolViolation: If it was accepted before.

        @raise CapacityExceeded: If it has not begun, and there are too many.

        @raise StreamError: If it has failed already, or does now.
        """
        stream = self.streams.get(id)
        if stream is None:
            if id in self._ended:
                raise self._failureOf(id) or ProtocolViolation(code=b"STREAM_REUSED")
            stream = self._open(id)
        elif stream.accepted:
            raise ProtocolViolation(code=b"STREAM_REUSED")
        try:
            with self._changing(stream):
                stream.accepted = True
                if isOutOfBand:
                    stream.setOutOfBand(digest)
                stream.expect(size, maxSize)
        except StreamError as error:
            self.stop(stream, error)
            raise
        return stream

    def takeInline(self, data: bytes, maxSize: int | None = None) -> InlineStream:
        """
        Take a stream whose bytes came inside the box that announced it.

        @param maxSize: How many bytes it may have, or L{None} for no bound other than
            that of the limits.

        @raise ValueTooLong: If it has more.

        @raise CapacityExceeded: If no more streams are allowed.
        """
        for bound in (maxSize, self._limits.maxStreamSize):
            if bound is not None and len(data) > bound:
                raise ValueTooLong(
                    f"the stream has {len(data)} bytes, and {bound} are allowed; raise "
                    "maxSize there"
                )
        self._checkCount()
        self._inlined -= 1
        stream = InlineStream(self._inlined, data)
        self.inline.add(stream)
        self.reserved += len(data)
        return stream

    def readInline(self, stream: InlineStream) -> bytes:
        """
        Take the bytes of a stream that came inside a box.

        @return: All of them, or C{b""} the next time, with which the stream ends.
        """
        data = stream.read()
        if not data:
            self.inline.discard(stream)
        elif stream in self.inline:
            self.reserved -= len(data)
        return data

    def stopInline(self, stream: InlineStream, error: StreamError) -> None:
        """Give a stream up that came inside a box."""
        if stream in self.inline:
            self.reserved -= stream.held
            self.inline.discard(stream)
        stream.stop(error)

    def read(self, stream: ReceiveStream, now: float = 0.0) -> bytes:
        """
        Take the next bytes of an accepted stream, and let its sender go on if
        that is due.

        @param now: The time (seconds, from any start).

        @return: At least one byte, or C{b""} if there is none now.
        """
        if self.streams.get(stream.id) is not stream:
            return stream.read()
        data = stream.read()
        if data:
            self.reserved -= len(data)
            if not stream.isOutOfBand and (
                stream.awaitsAnswer or stream.window.isDue()
            ):
                self._grant(stream, now)
        elif stream.isEnded:
            self._forget(stream)
        return data

    def tellMaximum(self, stream: ReceiveStream) -> int:
        """
        @return: The maximum to tell the sender of a stream that waits for an
            answer.
        """
        return stream.window.tell()

    def reset(
        self, id: int, error: StreamError, finalSize: int
    ) -> ReceiveStream | None:
        """
        The sender of a stream gave up.

        @return: The stream, or L{None} if there is none of that id.
        """
        stream = self.streams.get(id)
        if stream is None:
            if id not in self._ended:
                self._remember(id, error)
            return None
        with self._changing(stream):
            stream.reset(error, finalSize)
        self._forget(stream)
        return stream

    def stop(
        self, stream: ReceiveStream, error: StreamError, tell: bool = True
    ) -> None:
        """
        Give a stream up.

        @param tell: Whether to have its sender told, if it may still be sending.
        """
        if self.streams.get(stream.id) is not stream:
            return
        if tell and stream.isOpen:
            self.frames.append(StopSending(stream.id, error.code))
        with self._changing(stream):
            stream.stop(error)
        self._forget(stream)

    def refuse(self, id: int, error: StreamError, tell: bool = True) -> None:
        """Give up a stream that there need not be yet."""
        stream = self.streams.get(id)
        if stream is not None:
            self.stop(stream, error, tell)
        elif id not in self._ended:
            self._remember(id, error)
            if tell:
                self.frames.append(StopSending(id, error.code))

    def expire(self, now: float) -> list[ReceiveStream]:
        """
        Give the streams up that have waited for too long.

        @param now: The time (seconds, from any start).

        @return: Those streams.
        """
        expired = self._idle.look(now, self.streams.values())
        for stream in expired:
            self.stop(stream, stream.truncation() or StreamTimedOut())
        return expired

    def clear(self) -> list[ReceiveStream]:
        """
        The connection is gone: forget everything.

        @return: The streams that there were.
        """
        streams = list(self.streams.values())
        self.streams.clear()
        self.frames.clear()
        self._ended.clear()
        self.inline.clear()
        self.unaccepted = self.reserved = 0
        return streams

    def _open(self, id: int, tell: bool = True) -> ReceiveStream:
        """Make a stream, if one more is allowed."""
        try:
            self._checkCount()
        except CapacityExceeded as error:
            self.refuse(id, error, tell)
            raise
        stream = self.streams[id] = ReceiveStream(id, self._limits)
        self.reserved += stream.reserved
        return stream

    def _checkCount(self) -> None:
        """@raise CapacityExceeded: If no more streams are allowed."""
        if len(self.streams) + len(self.inline) >= self._limits.maxStreams:
            raise CapacityExceeded(
                f"{self._limits.maxStreams} streams are open and no more are allowed "
                "at once; wait for one to end"
            )

    def _forget(self, stream: ReceiveStream) -> None:
        """Let go of a stream that has ended, and so holds nothing."""
        del self.streams[stream.id]
        self._remember(stream.id, stream.error)

    def _remember(self, id: int, error: StreamError | None) -> None:
        self._ended[id] = None if error is None else (error.code, str(error))
        if len(self._ended) > max(_REMEMBERED, self._limits.maxStreams):
            self._ended.popitem(last=False)

    def _failureOf(self, id: int) -> StreamError | None:
        """@return: Why a stream that has ended has no complete value, or L{None}."""
        ended = self._ended[id]
        return None if ended is None else errorForCode(*ended)

    @contextmanager
    def _changing(self, stream: ReceiveStream) -> Iterator[None]:
        """Take a stream out of the sums while it is changed."""
        self._count(stream, -1)
        try:
            yield
        finally:
            self._count(stream, 1)

    def _count(self, stream: ReceiveStream, sign: int) -> None:
        self.reserved += sign * stream.reserved
        if not stream.accepted:
            self.unaccepted += sign * stream.held

    def _measure(self, stream: ReceiveStream, end: int, now: float) -> None:
        """Find out whether the window of a stream keeps its sender waiting."""
        waited = stream.window.arrived(end, now)
        if waited is not None:
            self._growth.waited(*waited)

    def _affordable(self, stream: ReceiveStream) -> int:
        """
        How large the window of a stream, which is out of the sums, may be.  A window
        that has grown is for those whose consumers are never late, and is no more than
        their share.
        """
        limits = self._limits
        size = limits.initialWindow
        if not stream.window.wasBlocked:
            share = limits.maxBufferedBytes // len(self.streams)
            size = max(size, min(self._growth.size, share))
        left = limits.maxBufferedBytes - self.reserved
        return min(size, max(INITIAL_MAXIMUM, left))

    def _grant(self, stream: ReceiveStream, now: float) -> None:
        """Give the sender of a stream the room that there is, if it needs it now."""
        if not stream.isOpen:
            return
        window = stream.window
        with self._changing(stream):
            size = self._affordable(stream)
            if stream.awaitsAnswer:
                # An answer may tell it.
                stream.grant(size)
            if stream.needsMore and window.isWorth(size):
                stream.grant(size)
                self.frames.append(MaxStreamData(stream.id, window.tell(now)))

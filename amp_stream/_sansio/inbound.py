# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
All incoming streams of one connection: who may open one, and who may hold what.
"""

from __future__ import annotations

from collections import OrderedDict

from amp_stream._sansio.frames import Frame, MaxStreamData, StopSending
from amp_stream._sansio.idle import IdleWatch
from amp_stream._sansio.limits import INITIAL_MAXIMUM, Limits
from amp_stream._sansio.receiving import ReceiveStream
from amp_stream.errors import (
    StreamError,
    StreamReused,
    StreamTimedOut,
    TooManyStreams,
    TooMuchUnclaimed,
)

__all__ = ["Inbound"]


class Inbound:
    """
    The receiving side of a connection.

    A stream comes to be with its first chunk, or when somebody here asks for it,
    whichever is first.  It is forgotten when it has ended; that it existed is
    remembered for a while, so that a late chunk does not open it again.

    @ivar streams: Those that have not ended, by id.

    @ivar frames: What has to be sent.  The caller takes them out.

    @ivar unclaimed: How many bytes are held that nobody has asked for.

    @ivar promised: How many bytes the peer may make us hold, over all streams.

    @ivar interval: How often to call L{expire} (seconds), or L{None} for never.
    """

    def __init__(self, limits: Limits) -> None:
        self.streams: dict[int, ReceiveStream] = {}
        self.frames: list[Frame] = []
        self.unclaimed = 0
        self.promised = 0
        self._limits = limits
        self._ended: OrderedDict[int, StreamError | None] = OrderedDict()
        self._idle: IdleWatch[ReceiveStream] = IdleWatch(limits.idleTimeout)
        self.interval = self._idle.interval

    def receive(
        self,
        id: int,
        offset: int,
        data: bytes,
        fin: bool = False,
        sha256: bytes | None = None,
        asked: bool = False,
    ) -> ReceiveStream | None:
        """
        Take a chunk.

        @param asked: Whether its sender waits for an answer; for the others see
            L{ReceiveStream.receive}.

        @return: Its stream, or L{None} for one that ended before.

        @raise StreamError: If the stream fails with it.  If C{asked}, also if it
            failed before: the answer may be the only way to say so.
        """
        stream = self.streams.get(id)
        if stream is None:
            if id in self._ended:
                _raiseIfAsked(asked, self._ended[id])
                return None
            stream = self._open(id)
        failed = stream.error
        self._leave(stream)
        try:
            if asked:
                stream.window.size = self._affordable()
            stream.receive(offset, data, fin, sha256, asked)
        except StreamError as error:
            self._enter(stream)
            self.stop(stream, error, tell=not asked)
            raise
        self._enter(stream)
        if not stream.claimed and self.unclaimed > self._limits.maxUnclaimedBytes:
            surplus = TooMuchUnclaimed()
            self.stop(stream, surplus, tell=not asked)
            raise surplus
        if stream.isEnded:
            self._forget(stream)
        _raiseIfAsked(asked, failed)
        return stream

    def claim(
        self, id: int, size: int | None = None, maxSize: int | None = None
    ) -> ReceiveStream:
        """
        Ask for a stream, before or after its first chunk.

        @param size: How many bytes it was announced with, or L{None}.

        @param maxSize: How many bytes it may have, or L{None} for no bound other
            than that of the limits.

        @return: The stream; it may be complete already.

        @raise StreamReused: If somebody asked for it before.

        @raise StreamError: If it has failed already, or does now.
        """
        stream = self.streams.get(id)
        if stream is None:
            if id in self._ended:
                raise self._ended[id] or StreamReused()
            stream = self._add(id)
        if stream.error is not None:
            raise stream.error
        if stream.claimed:
            raise StreamReused
        self._leave(stream)
        stream.claimed = True
        self._enter(stream)
        try:
            stream.expect(size, maxSize)
        except StreamError as error:
            self.stop(stream, error)
            raise
        return stream

    def read(self, stream: ReceiveStream) -> bytes:
        """
        Take the next bytes of a stream, and let its sender go on if that is due.

        @return: At least one byte, or C{b""} if there is none now.
        """
        if self.streams.get(stream.id) is not stream:
            return stream.read()
        self._leave(stream)
        data = stream.read()
        self._enter(stream)
        if stream.isOpen:
            self._grantIfDue(stream)
        elif stream.isEnded:
            self._forget(stream)
        return data

    def maximum(self, stream: ReceiveStream) -> int:
        """
        Grant the sender of a stream what can be granted now.

        @return: The maximum to tell it.
        """
        if self.streams.get(stream.id) is stream and stream.isOpen:
            self._leave(stream)
            stream.window.grant(self._affordable())
            self._enter(stream)
        return stream.window.granted

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
        self._leave(stream)
        stream.reset(error, finalSize)
        self._enter(stream)
        if stream.isEnded:
            self._forget(stream)
        return stream

    def stop(
        self, stream: ReceiveStream, error: StreamError, tell: bool = True
    ) -> None:
        """
        Give a stream up, and have its sender told if it may still be sending.
        """
        if self.streams.get(stream.id) is not stream:
            return
        wasOpen = stream.isOpen
        self._leave(stream)
        stream.stop(error)
        self._enter(stream)
        if wasOpen and tell:
            self.frames.append(StopSending(stream.id, error.code))
        if stream.isEnded:
            self._forget(stream)

    def refuse(self, id: int, error: StreamError, tell: bool = True) -> None:
        """
        Give up a stream that there need not be yet.
        """
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
            if stream.error is not None:
                # Its sender was told to stop, and never said that it has.
                self._forget(stream)
            else:
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
        self.unclaimed = self.promised = 0
        return streams

    def _open(self, id: int) -> ReceiveStream:
        """
        Make the stream that a chunk opens, if one more is allowed.
        """
        if len(self.streams) >= self._limits.maxStreams:
            error = TooManyStreams(
                f"{self._limits.maxStreams} streams are open and no more are "
                "allowed at once; wait for one to end"
            )
            self.refuse(id, error)
            raise error
        return self._add(id)

    def _add(self, id: int) -> ReceiveStream:
        stream = self.streams[id] = ReceiveStream(id, self._limits)
        self._enter(stream)
        return stream

    def _forget(self, stream: ReceiveStream) -> None:
        self._leave(stream)
        del self.streams[stream.id]
        self._remember(stream.id, stream.error)

    def _remember(self, id: int, error: StreamError | None) -> None:
        self._ended[id] = error
        if len(self._ended) > self._limits.maxStreams:
            self._ended.popitem(last=False)

    def _leave(self, stream: ReceiveStream) -> None:
        """
        Take a stream out of the sums, to change it.
        """
        self.promised -= stream.window.promised if stream.isOpen else stream.held
        if not stream.claimed:
            self.unclaimed -= stream.held

    def _enter(self, stream: ReceiveStream) -> None:
        """
        Put it back.
        """
        self.promised += stream.window.promised if stream.isOpen else stream.held
        if not stream.claimed:
            self.unclaimed += stream.held

    def _affordable(self) -> int:
        """
        How large the window of a stream, which is out of the sums, may be.
        """
        left = self._limits.maxBufferedBytes - self.promised
        return min(self._limits.window, max(INITIAL_MAXIMUM, left))

    def _grantIfDue(self, stream: ReceiveStream) -> None:
        if not stream.window.isDue():
            return
        self._leave(stream)
        size = self._affordable()
        before = stream.window.granted
        maximum = stream.window.grant(size)
        self._enter(stream)
        if maximum > before:
            self.frames.append(MaxStreamData(stream.id, maximum))


def _raiseIfAsked(asked: bool, error: StreamError | None) -> None:
    if asked and error is not None:
        raise error

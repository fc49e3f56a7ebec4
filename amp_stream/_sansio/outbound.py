# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
All outgoing streams of one connection: ids, turns, credit.
"""

from __future__ import annotations

from amp_stream._sansio.frames import Frame, ResetStream
from amp_stream._sansio.idle import IdleWatch
from amp_stream._sansio.limits import Limits
from amp_stream._sansio.sending import SendStream
from amp_stream._sansio.turns import Turns
from amp_stream.errors import StreamError, StreamTimedOut

__all__ = ["Outbound"]


class Outbound:
    """
    The sending side of a connection.

    A stream waits for its turn while it has credit and its source is L{offer}ed.
    Whoever writes to the connection asks for the L{next} stream, and says
    afterwards whether there is more.

    @ivar streams: Those that have not ended, by id.

    @ivar frames: What has to be sent.  The caller takes them out.

    @ivar chunk: The most bytes to send in one chunk.  It may be changed.

    @ivar interval: How often to call L{expire} (seconds), or L{None} for never.
    """

    def __init__(self, limits: Limits) -> None:
        self.streams: dict[int, SendStream] = {}
        self.frames: list[Frame] = []
        self.chunk = limits.chunk
        self._turns = Turns()
        self._nextId = 0
        self._idle: IdleWatch[SendStream] = IdleWatch(limits.idleTimeout)
        self.interval = self._idle.interval

    @property
    def hasTurn(self) -> bool:
        """
        Whether a stream waits for its turn.
        """
        return bool(self._turns)

    def open(self) -> SendStream:
        """
        Make a stream.  Nothing is sent before it is L{offer}ed.
        """
        stream = self.streams[self._nextId] = SendStream(self._nextId)
        self._nextId += 1
        return stream

    def offer(self, stream: SendStream) -> None:
        """
        The source of a stream has bytes, or its end, or may have.
        """
        if stream.isSending:
            stream.offered = True
        if self._canSend(stream):
            self._turns.add(stream.id)

    def next(self) -> SendStream | None:
        """
        Whose turn it is.

        @return: A stream that may send L{allowance} bytes, at least one, and must
            then be L{offer}ed or L{withdraw}n again; or L{None}.
        """
        while (id := self._turns.next()) is not None:
            stream = self.streams.get(id)
            # One that was offered during its own turn may have ended in it, or
            # have used its credit up.
            if stream is not None and self._canSend(stream):
                return stream
        return None

    def allowance(self, stream: SendStream) -> int:
        """
        How many bytes a stream may send in its turn.
        """
        return min(self.chunk, stream.window.available)

    def withdraw(self, stream: SendStream) -> None:
        """
        The source of a stream has nothing now; it will be offered again.
        """
        stream.offered = False
        self._turns.discard(stream.id)

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
        self._turns.add(id)
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
        self._turns = Turns()
        return streams

    def _canSend(self, stream: SendStream) -> bool:
        return stream.isSending and stream.window.available > 0

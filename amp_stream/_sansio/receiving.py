# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The receiving half of one stream (RFC 9000, section 3.2).
"""

from __future__ import annotations

from amp_stream._sansio.digest import DigestCheck
from amp_stream._sansio.limits import MAX_CHUNK, Limits
from amp_stream._sansio.reassembly import Reassembly
from amp_stream._sansio.states import RECEIVING, ReceiveInput, ReceiveState, advance
from amp_stream._sansio.window import ReceiveWindow
from amp_stream.errors import (
    FinalSizeError,
    StreamError,
    StreamTooLong,
    StreamTruncated,
)

__all__ = ["ReceiveStream"]

_ENDED = frozenset(
    {ReceiveState.DATA_READ, ReceiveState.RESET_RECVD, ReceiveState.DISCARDED}
)
_OPEN = frozenset({ReceiveState.RECV, ReceiveState.SIZE_KNOWN})
_COMPLETE = frozenset({ReceiveState.DATA_RECVD, ReceiveState.DATA_READ})


class ReceiveStream:
    """
    One stream of incoming bytes: their order, their end, their limits.

    @ivar id: The number that the sender chose.

    @ivar state: Where it is in L{RECEIVING}.

    @ivar size: How many bytes it has in all, or L{None} while nobody said.

    @ivar received: How many bytes have arrived, those after a gap included.

    @ivar claimed: Whether somebody on this side has asked for it.

    @ivar attended: Whether a consumer is taking its bytes, or pausing.

    @ivar error: Why there will be no complete value, once that is sure.
    """

    __slots__ = (
        "_digest",
        "_final",
        "_maxSize",
        "_reassembly",
        "attended",
        "claimed",
        "error",
        "id",
        "received",
        "size",
        "state",
        "window",
    )

    def __init__(self, id: int, limits: Limits) -> None:
        self.id = id
        self.state = ReceiveState.RECV
        self.size: int | None = None
        self.received = 0
        self.claimed = False
        self.attended = False
        self.error: StreamError | None = None
        self.window = ReceiveWindow(limits.window)
        self._reassembly = Reassembly(limits.maxGaps)
        self._digest = DigestCheck()
        self._final = False
        self._maxSize = limits.maxStreamSize

    @property
    def held(self) -> int:
        """
        How many bytes wait for their consumer.
        """
        return self._reassembly.held

    @property
    def isComplete(self) -> bool:
        """
        Whether every byte has arrived.
        """
        return self.state in _COMPLETE

    @property
    def isEnded(self) -> bool:
        """
        Whether nothing more can happen to it.
        """
        return self.state in _ENDED

    @property
    def isOpen(self) -> bool:
        """
        Whether bytes are still expected and wanted.
        """
        return self.state in _OPEN

    @property
    def hasRoom(self) -> bool:
        """
        Whether a sender that waits for each answer may send its next chunk.
        """
        return not self.isOpen or self._final or self.window.room >= MAX_CHUNK

    @property
    def isIdle(self) -> bool:
        """
        Whether it waits for the peer, or for somebody here to want it: the time
        that a consumer spends pausing is its own.
        """
        if self.isEnded:
            return False
        reassembly = self._reassembly
        return not self.attended or reassembly.start == reassembly.end

    @property
    def progress(self) -> int:
        """
        A number that changes whenever a byte has moved.
        """
        return self.received + self.window.consumed

    def expect(self, size: int | None, maxSize: int | None) -> None:
        """
        Take note of what the announcement says.

        @param size: How many bytes there will be, or L{None}.

        @param maxSize: How many there may be, or L{None} for no bound other than
            the limit of the connection.

        @raise StreamTooLong: If it has, or says that it will have, more bytes
            than it may.

        @raise FinalSizeError: If it has more bytes than it says.
        """
        if maxSize is not None and (self._maxSize is None or maxSize < self._maxSize):
            self._maxSize = maxSize
        if size is not None:
            if self.window.highest > size or self.size not in (None, size):
                raise FinalSizeError(
                    f"the stream was announced with {size} bytes and has others"
                )
            self.size = size
        self._checkLength(self.window.highest if self.size is None else self.size)

    def receive(
        self, offset: int, data: bytes, fin: bool, sha256: bytes | None, asked: bool
    ) -> None:
        """
        Take a chunk.

        @param offset: The offset of its first byte.

        @param data: Its bytes; none is allowed.

        @param fin: Whether the stream ends with it.

        @param sha256: The digest of the whole stream, with C{fin}; C{b""} before
            that says that there will be one.

        @param asked: Whether the sender waits for an answer.  It need not know
            about windows then, so it is held to what fits, not to what was
            granted.

        @raise StreamError: If the stream breaks a rule or a limit with it.
        """
        if not self.isOpen:
            late = ReceiveInput.FIN if fin else ReceiveInput.DATA
            self.state = advance(RECEIVING, self.state, late)
            return
        end = offset + len(data)
        self._checkEnd(end, fin)
        self._checkLength(end)
        window = self.window
        if asked:
            window.grant(window.size)
        window.admit(end)
        if sha256 is not None:
            self._digest.note(sha256)
        reassembly = self._reassembly
        self._digest.update(reassembly.write(offset, data), asked, window.highest)
        self.received = reassembly.start + reassembly.held
        if fin:
            self._final = True
            self.size = end
        event = ReceiveInput.DATA
        if self._final:
            event = ReceiveInput.FIN
            if reassembly.end == self.size:
                self._digest.verify()
                event = ReceiveInput.COMPLETE
        self.state = advance(RECEIVING, self.state, event)

    def read(self) -> bytes:
        """
        Take the next bytes, which makes room for others.

        @return: At least one byte, or C{b""} if there is none now.  Once every byte
            has been read, it takes one more call for the stream to end: whoever
            got the last bytes may still fail to put them anywhere.
        """
        data = self._reassembly.read()
        self.window.consumed += len(data)
        if not data and self.state is ReceiveState.DATA_RECVD:
            self.state = advance(RECEIVING, self.state, ReceiveInput.READ)
        return data

    def reset(self, error: StreamError, finalSize: int) -> None:
        """
        The sender gave up.

        @param error: Why.

        @param finalSize: How many bytes it had sent.  If more than that have
            arrived, that is the error (RFC 9000, section 4.5).
        """
        before = self.state
        self.state = advance(RECEIVING, before, ReceiveInput.RESET)
        if before in _OPEN:
            if finalSize < self.window.highest:
                error = FinalSizeError(
                    f"the stream was reset at {finalSize}, but has bytes beyond that"
                )
            self._fail(error)

    def stop(self, error: StreamError) -> None:
        """
        This side gives up: forget the bytes, and throw away those to come.

        @param error: Why.
        """
        before = self.state
        self.state = advance(RECEIVING, before, ReceiveInput.STOP)
        if self.state is not before:
            self._fail(error)

    def truncation(self) -> StreamError | None:
        """
        What is wrong if no more bytes are to come.

        @return: An error if the end is known, but not every byte before it.
        """
        if self.state is not ReceiveState.SIZE_KNOWN:
            return None
        return StreamTruncated(
            f"the stream ends at {self.size}, but bytes from "
            f"{self._reassembly.end} on are missing"
        )

    def _fail(self, error: StreamError) -> None:
        self._reassembly.clear()
        self.error = error

    def _checkEnd(self, end: int, fin: bool) -> None:
        size = self.size
        if size is None:
            if fin and end < self.window.highest:
                raise FinalSizeError(
                    f"the stream ends at {end}, but has bytes beyond that"
                )
        elif end > size or (fin and end != size):
            raise FinalSizeError(f"the stream has {size} bytes, and now {end}")

    def _checkLength(self, length: int) -> None:
        if self._maxSize is not None and length > self._maxSize:
            raise StreamTooLong(
                f"the stream has {length} bytes or more, and {self._maxSize} are "
                "allowed; raise maxSize at the receiver"
            )

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
One stream: its sending and its receiving half (RFC 9000, sections 3.1 and 3.2).

L{SendStream} counts bytes and never sees them: they go from their source to the
transport without a stop.  L{ReceiveStream} puts the bytes in order, and holds the
sender to its end, its digest and its limits.  L{InlineStream} arrived whole, inside a
box.

The states are tables.  Their names are those of the RFC, but:

 - The connection below is reliable and ordered, so a reset needs no acknowledgement,
   and no state waits for the application to hear of it.

 - A receiver that gives up is done at once (C{STOPPED}): the bytes still under way are
   thrown away, because the connection remembers which streams have ended.

 - A reset counts until the last byte has been read.  The RFC leaves it open
   whether a value that has arrived whole survives one; here it does not.

A state that no transition leaves is an end: nothing changes the stream afterwards.  The
diagrams in the documentation are made from these tables.

The digest comes with the last chunk, but has to be computed from the first one on, and
a large stream whose sender never gives one should not pay for it.  So a sender that
uses windows announces it with an empty C{sha256} in the first chunk.  A single chunk,
and the streams of senders that wait for each answer, are hashed in any case: their
digest may come without notice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from enum import Enum, auto
from hmac import compare_digest
from typing import ClassVar, TypeVar

from attrs import define, field

from amp_stream._sansio.limits import MAX_CHUNK, MAX_NUMBER, Limits
from amp_stream._sansio.reassembly import Reassembly
from amp_stream._sansio.window import ReceiveWindow, SendWindow
from amp_stream.errors import (
    DigestMismatch,
    InvalidValue,
    ProtocolViolation,
    StreamError,
    UsageError,
    ValueTooLong,
)


class _Name(Enum):
    """A name of a table, which is looked up for each chunk: C{Enum} hashes slowly."""

    __hash__ = object.__hash__


class SendState(_Name):
    """The states of the sending half."""

    READY = auto()
    SEND = auto()
    DATA_SENT = auto()
    DATA_RECVD = auto()
    RESET_SENT = auto()


class SendInput(_Name):
    """The events of the sending half."""

    DATA = auto()
    FIN = auto()
    ACKNOWLEDGED = auto()
    RESET = auto()


class ReceiveState(_Name):
    """The states of the receiving half."""

    RECV = auto()
    SIZE_KNOWN = auto()
    DATA_RECVD = auto()
    DATA_READ = auto()
    RESET_RECVD = auto()
    STOPPED = auto()


class ReceiveInput(_Name):
    """The events of the receiving half."""

    DATA = auto()
    FIN = auto()
    COMPLETE = auto()
    READ = auto()
    RESET = auto()
    STOP = auto()


SENDING: Mapping[tuple[SendState, SendInput], SendState] = {
    (SendState.READY, SendInput.DATA): SendState.SEND,
    (SendState.READY, SendInput.FIN): SendState.DATA_SENT,
    (SendState.READY, SendInput.RESET): SendState.RESET_SENT,
    (SendState.SEND, SendInput.DATA): SendState.SEND,
    (SendState.SEND, SendInput.FIN): SendState.DATA_SENT,
    (SendState.SEND, SendInput.RESET): SendState.RESET_SENT,
    (SendState.DATA_SENT, SendInput.ACKNOWLEDGED): SendState.DATA_RECVD,
    (SendState.DATA_SENT, SendInput.RESET): SendState.RESET_SENT,
}

RECEIVING: Mapping[tuple[ReceiveState, ReceiveInput], ReceiveState] = {
    (ReceiveState.RECV, ReceiveInput.DATA): ReceiveState.RECV,
    (ReceiveState.RECV, ReceiveInput.FIN): ReceiveState.SIZE_KNOWN,
    (ReceiveState.RECV, ReceiveInput.COMPLETE): ReceiveState.DATA_RECVD,
    (ReceiveState.RECV, ReceiveInput.RESET): ReceiveState.RESET_RECVD,
    (ReceiveState.RECV, ReceiveInput.STOP): ReceiveState.STOPPED,
    (ReceiveState.SIZE_KNOWN, ReceiveInput.DATA): ReceiveState.SIZE_KNOWN,
    (ReceiveState.SIZE_KNOWN, ReceiveInput.FIN): ReceiveState.SIZE_KNOWN,
    (ReceiveState.SIZE_KNOWN, ReceiveInput.COMPLETE): ReceiveState.DATA_RECVD,
    (ReceiveState.SIZE_KNOWN, ReceiveInput.RESET): ReceiveState.RESET_RECVD,
    (ReceiveState.SIZE_KNOWN, ReceiveInput.STOP): ReceiveState.STOPPED,
    (ReceiveState.DATA_RECVD, ReceiveInput.COMPLETE): ReceiveState.DATA_RECVD,
    (ReceiveState.DATA_RECVD, ReceiveInput.READ): ReceiveState.DATA_READ,
    (ReceiveState.DATA_RECVD, ReceiveInput.RESET): ReceiveState.RESET_RECVD,
    (ReceiveState.DATA_RECVD, ReceiveInput.STOP): ReceiveState.STOPPED,
}

_S = TypeVar("_S", bound=Enum)
_I = TypeVar("_I", bound=Enum)


def advance(table: Mapping[tuple[_S, _I], _S], state: _S, event: _I) -> _S:
    """
    Look a transition up.

    @return: The next state.

    @raise UsageError: If the table has no such transition: it takes a mistake
        in this program to get there, no peer can.
    """
    try:
        return table[state, event]
    except KeyError:
        raise UsageError(
            f"a stream that is {state.name} cannot take {event.name}"
        ) from None


class DigestCheck:
    """
    The SHA-256 of the bytes of one stream, as long as it may be needed.

    @ivar isAnnounced: Whether the sender has said that a digest comes.
    """

    __slots__ = ("_expected", "_hash", "isAnnounced")

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._expected = b""
        self.isAnnounced = False

    def note(self, sha256: bytes) -> None:
        """
        Take the sender's word.

        @param sha256: The digest, or C{b""} to say that it will come.

        @raise DigestMismatch: If the sender gave another one before.
        """
        if sha256 and self._expected not in (b"", sha256):
            raise DigestMismatch("the sender gave two different digests")
        self.isAnnounced = True
        self._expected = sha256 or self._expected

    def update(self, readable: Iterable[bytes]) -> None:
        """Hash the next bytes of the stream, in their order."""
        for data in readable:
            self._hash.update(data)

    def verify(self) -> None:
        """
        Compare, now that every byte has been hashed.

        @raise DigestMismatch: If a digest was announced, and did not come or is
            another one.
        """
        if not self.isAnnounced:
            return
        if not self._expected:
            raise DigestMismatch("a digest was announced, but did not come")
        if not compare_digest(self._hash.digest(), self._expected):
            raise DigestMismatch


_READY, _SEND = SendState.READY, SendState.SEND


@define(eq=False, repr=False)
class SendStream:
    """
    One stream of outgoing bytes.

    @ivar id: Its number, unique among the streams that this side sends.

    @ivar state: Where it is in L{SENDING}.

    @ivar window: What may be sent.

    @ivar offered: Whether its source may have something to send.

    @ivar error: Why it was reset, if it was.

    @ivar lastProgress: See L{Watched}.
    """

    id: int
    state: SendState = field(default=SendState.READY, init=False)
    window: SendWindow = field(factory=SendWindow, init=False)
    offered: bool = field(default=False, init=False)
    error: StreamError | None = field(default=None, init=False)
    lastProgress: tuple[int, float] | None = field(default=None, init=False)

    @property
    def isSending(self) -> bool:
        """Whether there may be more bytes to send."""
        state = self.state
        return state is _SEND or state is _READY

    @property
    def isEnded(self) -> bool:
        """Whether nothing more can happen to it."""
        return self.state in (SendState.DATA_RECVD, SendState.RESET_SENT)

    @property
    def isIdle(self) -> bool:
        """Whether it waits for the peer: the time that its source takes is its own."""
        if self.state is SendState.DATA_SENT:
            return True
        return self.isSending and self.offered

    @property
    def progress(self) -> int:
        """A number that changes whenever a byte, or the end, has moved."""
        return self.window.offset + self.window.maximum + (not self.isSending)

    def send(self, count: int, fin: bool) -> int:
        """
        The next bytes are about to be sent.

        @param count: How many, within what the window allows.

        @param fin: Whether they are the last.

        @return: The offset of the first of them.

        @raise UsageError: If there is not so much credit, or there has been an
            end.
        """
        state = self.state
        if fin or state is not _SEND:
            event = SendInput.FIN if fin else SendInput.DATA
            state = advance(SENDING, state, event)
        offset = self.window.spend(count)
        self.state = state
        return offset

    def acknowledge(self) -> bool:
        """
        The peer has every byte.

        @return: Whether that is news.
        """
        before = self.state
        if before is not SendState.DATA_SENT:
            return False
        self.state = advance(SENDING, before, SendInput.ACKNOWLEDGED)
        return True

    def reset(self, error: StreamError) -> bool:
        """
        Give up, because this side or the peer wants no more.

        @return: Whether that changed anything: it does not once it has ended.
        """
        if self.isEnded:
            return False
        self.state = advance(SENDING, self.state, SendInput.RESET)
        self.error = error
        return True


_OPEN = frozenset({ReceiveState.RECV, ReceiveState.SIZE_KNOWN})
_COMPLETE = frozenset({ReceiveState.DATA_RECVD, ReceiveState.DATA_READ})
_ENDED = frozenset(
    {ReceiveState.DATA_READ, ReceiveState.RESET_RECVD, ReceiveState.STOPPED}
)


@define(eq=False, repr=False)
class ReceiveStream:
    """
    One stream of incoming bytes: their order, their end, their limits.

    @ivar id: The number that the sender chose.

    @ivar state: Where it is in L{RECEIVING}.

    @ivar size: How many bytes it has in all, or L{None} while nobody said.

    @ivar received: How many bytes have arrived, those after a gap included.

    @ivar accepted: Whether a call, or the application, has asked for it.

    @ivar hasConsumer: Whether a consumer is taking its bytes, or pausing.

    @ivar awaitsAnswer: Whether its sender waited for an answer to its last chunk.

    @ivar isOutOfBand: Whether its bytes come by another connection: then they are held
        back there, and not by the window.

    @ivar error: Why there will be no complete value, once that is sure.

    @ivar lastProgress: See L{Watched}.
    """

    id: int
    _limits: Limits
    state: ReceiveState = field(default=ReceiveState.RECV, init=False)
    size: int | None = field(default=None, init=False)
    received: int = field(default=0, init=False)
    accepted: bool = field(default=False, init=False)
    hasConsumer: bool = field(default=False, init=False)
    awaitsAnswer: bool = field(default=False, init=False)
    isOutOfBand: bool = field(default=False, init=False)
    error: StreamError | None = field(default=None, init=False)
    lastProgress: tuple[int, float] | None = field(default=None, init=False)
    window: ReceiveWindow = field(factory=ReceiveWindow, init=False)
    _digest: DigestCheck | None = field(default=None, init=False)
    _fed: bool = field(default=False, init=False)
    _reassembly: Reassembly = field(init=False)
    _maxSize: int | None = field(init=False)
    _next: int = field(init=False)
    _most: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._reassembly = Reassembly(self._limits.maxGaps)
        self._maxSize = self._limits.maxStreamSize
        self._setBounds()

    @property
    def held(self) -> int:
        """How many bytes wait for their consumer."""
        return self._reassembly.held

    @property
    def reserved(self) -> int:
        """How many bytes this side may have to hold, those held now included."""
        if self.error is not None:
            return 0
        window = self.window
        most = window.maxData if self.size is None else min(window.maxData, self.size)
        return most - window.consumed

    @property
    def isComplete(self) -> bool:
        """Whether every byte has arrived."""
        return self.state in _COMPLETE

    @property
    def isEnded(self) -> bool:
        """Whether nothing more can happen to it."""
        return self.state in _ENDED

    @property
    def isOpen(self) -> bool:
        """Whether bytes are still expected and wanted."""
        return self.state in _OPEN

    @property
    def hasRoom(self) -> bool:
        """
        Whether to answer a sender that waits for each answer, so that it sends its
        next chunk.  There is always room for one that fills a gap, and without it
        nobody can make any other.
        """
        window = self.window
        if self.isOutOfBand:
            # Its last chunk, which has no bytes, can come before them.
            return not self.isOpen
        return (
            not self.isOpen
            or self._reassembly.end < window.highestOffset
            or window.room >= MAX_CHUNK
        )

    @property
    def needsMore(self) -> bool:
        """
        Whether its sender has a use for more credit than it knows of.  One that has
        used up all that it knows of may need it even to say that this was all.
        """
        if self.isOutOfBand:
            return False
        if self.size is None:
            return True
        return (
            self.window.advertisedMax < self.size
            or self.window.advertisedMax == self.window.highestOffset
        )

    @property
    def isIdle(self) -> bool:
        """
        Whether it waits for the peer, or for a consumer: the time that a consumer
        spends pausing does not count.
        """
        if self.isEnded:
            return False
        if not self.hasConsumer:
            return True
        return self.isOpen and self._reassembly.start == self._reassembly.end

    @property
    def progress(self) -> int:
        """A number that changes whenever a byte, or the end, has moved."""
        return self.received + self.window.consumed + self.isComplete

    def expect(self, size: int | None, maxSize: int | None) -> None:
        """
        Take note of what the announcement says.

        @param size: How many bytes there will be, or L{None}.

        @param maxSize: How many there may be, or L{None} for no bound other than
            the limit of the connection.

        @raise ValueTooLong: If it has, or says that it will have, more bytes
            than it may.

        @raise ProtocolViolation: If it has more bytes than it says.
        """
        if maxSize is not None and (self._maxSize is None or maxSize < self._maxSize):
            self._maxSize = maxSize
        if size is not None:
            if self.window.highestOffset > size or self.size not in (None, size):
                raise ProtocolViolation(
                    f"the stream was announced with {size} bytes and has others",
                    b"STREAM_FINAL_SIZE",
                )
            self.size = size
        self._checkLength(self.window.highestOffset if self.size is None else self.size)
        self._setBounds()

    def receive(
        self,
        offset: int,
        data: bytes,
        fin: bool = False,
        sha256: bytes | None = None,
        asked: bool = False,
    ) -> None:
        """
        Take bytes.

        @param offset: The offset of the first byte.

        @param data: The bytes; none is allowed.

        @param fin: Whether the stream ends with them.

        @param sha256: The digest of the whole stream, with C{fin}; C{b""} before
            that says that there will be one.

        @param asked: Whether the sender waits for an answer.

        @raise StreamError: If the stream breaks a rule or a limit with them.
        """
        end = offset + len(data)
        if self.isNext(offset, end) and not (fin or asked) and sha256 is None:
            self.append(data, end)
            return
        if self.isEnded:
            return
        self._checkEnd(end, fin)
        self._checkLength(end)
        if data or not self.isOutOfBand:
            self.window.admit(end)
        self.awaitsAnswer = asked
        if sha256 is not None or (asked and not self._next):
            self._noteDigest(sha256)
        reassembly = self._reassembly
        readable = reassembly.write(offset, data)
        if self._digest is not None:
            self._hash(self._digest, readable)
        self.received = reassembly.start + reassembly.held
        event = ReceiveInput.DATA
        if fin:
            event = ReceiveInput.FIN
            self.size = end
        if (fin or self._endIsKnown) and reassembly.end == self.size:
            event = ReceiveInput.COMPLETE
            if self._digest is not None:
                self._digest.verify()
        elif self._fed and self.size is not None and reassembly.end < self.size:
            raise ProtocolViolation(
                f"the transfer ended after {reassembly.end} of {self.size} bytes",
                b"STREAM_TRUNCATED",
            )
        self.state = advance(RECEIVING, self.state, event)
        self._setBounds()

    def isNext(self, offset: int, end: int) -> bool:
        """Whether bytes come in order, within every bound: as most do."""
        return offset == self._next and end <= self._most

    def append(self, data: bytes, end: int) -> None:
        """
        Take bytes for which L{isNext} is true, which come with nothing to note.

        @param end: The offset behind the last of them.
        """
        self._reassembly.append(data)
        self._next = self.received = end
        if end > self.window.highestOffset:
            # An empty chunk may have been further on.
            self.window.highestOffset = end
        self.awaitsAnswer = False
        if self._digest is not None:
            self._hash(self._digest, (data,))

    def grant(self, size: int) -> None:
        """
        Let the sender go on.

        @param size: How many bytes may wait for their consumer from now on (bytes).
        """
        self.window.grant(size)
        self._setBounds()

    def _setBounds(self) -> None:
        """
        Note up to where bytes that come in order break no rule, so that L{isNext} has
        one number to compare.
        """
        self._next = self._reassembly.end
        if self.state is not ReceiveState.RECV or self._reassembly.hasGaps:
            self._most = -1
            return
        most = MAX_NUMBER if self.isOutOfBand else self.window.maxData
        for bound in (self.size, self._maxSize):
            if bound is not None:
                most = min(most, bound)
        self._most = most

    def _noteDigest(self, sha256: bytes | None) -> None:
        """
        A digest has come or will come: it can be checked if it was announced before any
        byte came, or if the sender waits for answers.
        """
        if self._digest is None:
            if self._next:
                raise InvalidValue(
                    "the digest of a stream must be announced: send an empty sha256 "
                    "with the first chunk"
                )
            self._digest = DigestCheck()
        if sha256 is not None:
            self._digest.note(sha256)

    def _hash(self, digest: DigestCheck, readable: Iterable[bytes]) -> None:
        if not (digest.isAnnounced or self.awaitsAnswer):
            # A sender that waits for answers need not announce a digest; this one does
            # not wait any more.
            self._digest = None
            return
        digest.update(readable)

    @property
    def wouldBlock(self) -> bool:
        """Whether there is nothing to read, and more may come."""
        return self.state is ReceiveState.RECV and not self._reassembly.isReadable

    def setOutOfBand(self, digest: bool) -> None:
        """
        Expect its bytes by another connection.

        @param digest: Whether the sender is going to say what their SHA-256 is.

        @raise InvalidValue: If some have come in chunks.
        """
        if self.window.highestOffset or self._endIsKnown:
            raise InvalidValue("chunks of a stream whose bytes travel out of band")
        self.isOutOfBand = True
        if digest:
            self._noteDigest(b"")
        self._setBounds()

    def feed(self, data: bytes, last: bool) -> None:
        """
        Take the next bytes of a stream that travels out of band.

        @param data: The bytes; none is allowed.

        @param last: Whether the other connection has no more.

        @raise ProtocolViolation: If there ought to be more.

        @raise StreamError: If the stream breaks another rule or a limit with them.
        """
        window = self.window
        window.grant(window.highestOffset - window.consumed + len(data))
        if last:
            self._fed = True
            self._most = -1
        self.receive(window.highestOffset, data, asked=self.awaitsAnswer)

    def read(self) -> bytes:
        """
        Take the next bytes, which makes room for others.

        @return: At least one byte, or C{b""} if there is none now.  Once every byte
            has been read, it takes one more call for the stream to end: the consumer
            of the last bytes may still fail to write them.
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

        @param finalSize: How many bytes it had sent.  If that cannot be, that is
            the error (RFC 9000, section 4.5).
        """
        if self.isEnded:
            return
        most = MAX_NUMBER if self.size is None else self.size
        least = most if self._endIsKnown else self.window.highestOffset
        if not least <= finalSize <= most:
            error = ProtocolViolation(
                f"the stream was reset at {finalSize}, which cannot be its end",
                b"STREAM_FINAL_SIZE",
            )
        self._fail(ReceiveInput.RESET, error)

    def stop(self, error: StreamError) -> None:
        """
        This side gives up: forget the bytes.

        @param error: Why.
        """
        if not self.isEnded:
            self._fail(ReceiveInput.STOP, error)

    def truncation(self) -> StreamError | None:
        """
        Find the error if no more bytes are to come.

        @return: An error if the end is known, but not every byte before it.
        """
        if self.state is not ReceiveState.SIZE_KNOWN:
            return None
        return ProtocolViolation(
            f"the stream ends at {self.size}, but bytes from "
            f"{self._reassembly.end} on are missing",
            b"STREAM_TRUNCATED",
        )

    @property
    def _endIsKnown(self) -> bool:
        """Whether L{size} is the sender's last word, and not only its announcement."""
        return self.state is not ReceiveState.RECV

    def _fail(self, event: ReceiveInput, error: StreamError) -> None:
        self.state = advance(RECEIVING, self.state, event)
        self._reassembly.clear()
        self.error = error
        self._most = -1

    def _checkEnd(self, end: int, fin: bool) -> None:
        size = self.size
        if fin and end < self.window.highestOffset:
            raise ProtocolViolation(
                f"the stream ends at {end}, but has bytes beyond that",
                b"STREAM_FINAL_SIZE",
            )
        if size is not None and (end > size or (fin and end != size)):
            raise ProtocolViolation(
                f"the stream has {size} bytes, and now {end}", b"STREAM_FINAL_SIZE"
            )

    def _checkLength(self, length: int) -> None:
        if self._maxSize is not None and length > self._maxSize:
            raise ValueTooLong(
                f"the stream has {length} bytes or more, and {self._maxSize} are "
                "allowed; raise maxSize at the receiver"
            )


@define(eq=False, repr=False)
class InlineStream:
    """
    A stream whose bytes came inside the box that announced it: complete from the start.

    @ivar id: A negative number, which no peer can choose.

    @ivar hasConsumer: See L{ReceiveStream}.
    """

    id: int
    _data: bytes
    state: ReceiveState = field(default=ReceiveState.DATA_RECVD, init=False)
    size: int = field(init=False)
    received: int = field(init=False)
    hasConsumer: bool = field(default=False, init=False)
    error: StreamError | None = field(default=None, init=False)
    wouldBlock: ClassVar[bool] = False

    @size.default
    @received.default
    def _count(self) -> int:
        return len(self._data)

    @property
    def held(self) -> int:
        """How many bytes wait for their consumer (bytes)."""
        return len(self._data)

    @property
    def isEnded(self) -> bool:
        """Whether nothing more can happen to it."""
        return self.state in _ENDED

    def read(self) -> bytes:
        """
        Take the bytes.

        @return: All of them; C{b""} if they have been read, and then the stream ends.
        """
        data, self._data = self._data, b""
        if not data and self.state is ReceiveState.DATA_RECVD:
            self.state = advance(RECEIVING, self.state, ReceiveInput.READ)
        return data

    def stop(self, error: StreamError) -> None:
        """
        This side gives up: forget the bytes.

        @param error: Why.
        """
        if not self.isEnded:
            self.state = advance(RECEIVING, self.state, ReceiveInput.STOP)
            self._data = b""
            self.error = error

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
A stream as the application that sends it sees it.

L{OutgoingStream} sends the bytes of a source: C{bytes}, a file, an iterable or a
producer.  The connection reads from a source when it is the stream's turn, and never
before: so back-pressure reaches the code that makes the bytes.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import sys
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure
from twisted.python.filepath import FilePath
from zope.interface import implementer

from amp_stream._sansio.frames import BytesLike, errorToAbortWith
from amp_stream._sansio.reassembly import PieceQueue
from amp_stream._sansio.stream import SendStream
from amp_stream.errors import SourceFailed, StreamCancelled, StreamError, UsageError

if TYPE_CHECKING:
    from twisted.web.iweb import IBodyProducer

_log = Logger()

_Failed = Callable[[Failure], object]

_READ_AHEAD = 131_072
"""
How many bytes of a producer, which sends when it likes, to keep before it is
paused.
"""


class Source:
    """
    Something that bytes can be read from.

    @ivar size: How many bytes there will be, or L{None} if that is not known.
    """

    size: int | None = None

    def start(self, ready: Callable[[], object], failed: _Failed) -> None:
        """
        Begin.

        @param ready: Called when there may be bytes again, after L{read} has returned
            L{None}.

        @param failed: Called if there will be no more, because of an error.
        """
        self._ready = ready
        self._failed = failed

    def read(self, most: int) -> tuple[BytesLike, bool] | None:
        """
        Read.

        @param most: How many bytes to return at the most; at least 1.

        @return: Bytes, which are used before anything else is done with the source,
            and whether they are the last; L{None} if there are none now.
        """
        raise NotImplementedError

    def close(self) -> None:
        """
        Let go of everything.  Called once, after the last byte or before, and
        never while another method of the source is being called.
        """


class IterableSource(Source):
    """Pieces of any size, made on demand."""

    def __init__(self, pieces: Iterable[BytesLike]) -> None:
        self._pieces = iter(pieces)
        self._buffer = _Cutter()

    def read(self, most: int) -> tuple[bytes, bool] | None:
        """Gather pieces until there is enough."""
        while self._buffer.size < most:
            try:
                piece = next(self._pieces)
            except StopIteration:
                return self._buffer.take(most), True
            self._buffer.add(piece)
        return self._buffer.take(most), False

    def close(self) -> None:
        """Close a generator."""
        close = getattr(self._pieces, "close", None)
        if close is not None:
            close()


class AsyncIterableSource(Source):
    """Pieces of any size, each of which may take its time."""

    def __init__(self, pieces: AsyncIterable[bytes]) -> None:
        self._pieces: AsyncIterator[bytes] = aiter(pieces)
        self._buffer = _Cutter()
        self._pending: Deferred[None] | None = None
        self._ended = False
        self._closed = False
        self._failure: Failure | None = None

    def read(self, most: int) -> tuple[bytes, bool] | None:
        """Take what is there, and ask for more."""
        while self._buffer.size < most and self._pending is None and not self._ended:
            self._ask()
        if self._failure is not None:
            self._failure.raiseException()
        if not self._buffer.size and not self._ended:
            return None
        data = self._buffer.take(most)
        return data, self._ended and not self._buffer.size

    def close(self) -> None:
        """Stop a piece that is being made, and close a generator."""
        self._closed = True
        pending = self._pending
        if pending is None:
            self._closeGenerator()
        else:
            # A generator that is running, or that takes its time to stop, cannot
            # be closed yet.
            pending.addBoth(lambda ignored: self._closeGenerator())
            pending.cancel()

    def _ask(self) -> None:
        late = False
        pending = self._pending = Deferred.fromCoroutine(self._fetch())

        def fetched(ignored: None) -> None:
            self._pending = None
            if late and not self._closed:
                self._ready()

        def broken(failure: Failure) -> None:
            self._pending = None
            self._ended = True
            self._failure = failure
            if late and not self._closed:
                self._failed(failure)

        pending.addCallbacks(fetched, broken)
        late = True

    async def _fetch(self) -> None:
        try:
            self._buffer.add(await anext(self._pieces))
        except StopAsyncIteration:
            self._ended = True

    def _closeGenerator(self) -> None:
        close = getattr(self._pieces, "aclose", None)
        if close is not None:
            Deferred.fromCoroutine(_await(close)).addErrback(_logClosing)


async def _await(close: Callable[[], Any]) -> None:
    await close()


def _logClosing(failure: Failure) -> None:
    _log.failure("while closing the async iterable of a stream", failure)


@implementer(IConsumer)
class ProducerSource(Source):
    """An L{IBodyProducer}, as L{twisted.web.client} takes it."""

    def __init__(self, producer: IBodyProducer) -> None:
        self._producer = producer
        self._buffer = _Cutter()
        self._producing = False
        self._paused = False
        self._ended = False
        self._closed = False
        if isinstance(producer.length, int):
            # It is UNKNOWN_LENGTH otherwise.
            self.size = producer.length

    def start(self, ready: Callable[[], object], failed: _Failed) -> None:
        """Let the producer begin."""
        super().start(ready, failed)
        done = self._producer.startProducing(self)
        self._producing = True
        done.addCallbacks(self._finish, self._fail)

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """A body producer need not register; it knows whom it writes to."""

    def unregisterProducer(self) -> None:
        """See L{registerProducer}."""

    def write(self, data: bytes) -> None:
        """Keep bytes, and pause the producer when there are many."""
        if self._closed:
            return
        try:
            self._buffer.add(data)
        except UsageError:
            # It hears of that by being stopped.
            self._failed(Failure())
            return
        self._ready()
        if self._buffer.size >= _READ_AHEAD and not (self._paused or self._closed):
            self._paused = True
            self._producer.pauseProducing()

    def read(self, most: int) -> tuple[bytes, bool] | None:
        """Take what is there, and let the producer go on."""
        if not self._buffer.size and not self._ended:
            return None
        data = self._buffer.take(most)
        if self._paused and self._buffer.size < _READ_AHEAD // 2:
            self._paused = False
            if not self._ended:
                self._producer.resumeProducing()
        return data, self._ended and not self._buffer.size

    def close(self) -> None:
        """Stop the producer, if it has begun and not ended."""
        self._closed = True
        if self._producing:
            self._producing = False
            self._producer.stopProducing()

    def _finish(self, ignored: object) -> None:
        if not self._closed:
            self._producing = False
            self._ended = True
            self._ready()

    def _fail(self, failure: Failure) -> None:
        if not self._closed:
            self._producing = False
            self._failed(failure)


class _Cutter:
    """
    Pieces of any size in, pieces of the right size out.

    @ivar size: How many bytes are here.
    """

    def __init__(self) -> None:
        self._queue = PieceQueue()
        self._rest = memoryview(b"")
        self.size = 0

    def add(self, piece: object) -> None:
        """
        Add bytes.

        @raise UsageError: If they are not bytes.
        """
        if isinstance(piece, (bytearray, memoryview)):
            piece = bytes(piece)
        elif not isinstance(piece, bytes):
            raise UsageError(f"a source must give bytes, not {type(piece).__name__}")
        self._queue.append(piece)
        self.size += len(piece)

    def take(self, most: int) -> bytes:
        """Take up to C{most} bytes."""
        taken: list[memoryview] = []
        missing = min(most, self.size)
        self.size -= missing
        while missing:
            if not self._rest:
                self._rest = memoryview(self._queue.pop())
            part = self._rest[:missing]
            self._rest = self._rest[len(part) :]
            missing -= len(part)
            taken.append(part)
        return b"".join(taken)


SourceLike: TypeAlias = (
    "bytes | bytearray | memoryview | BinaryIO | FilePath[Any] | IBodyProducer"
    " | Iterable[bytes] | AsyncIterable[bytes]"
)
"""
What L{asSource} takes.
"""


def asSource(value: SourceLike) -> Source:
    """
    Find out how to read a value.

    @param value: A bytes-like object, which must not be changed before it has
        been sent; a binary file, which is read from where it stands and closed at
        the end; a C{FilePath}; an C{IBodyProducer}; an iterable or async iterable
        of bytes-like objects.

    @raise UsageError: If it is none of these.

    @raise OSError: If it is a file that cannot be opened.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _BytesSource(memoryview(value))
    if isinstance(value, FilePath):
        return _FileSource(open(value.path, "rb"))
    # Nothing provides the interface before it has been imported, with much of
    # twisted.web.
    iweb = sys.modules.get("twisted.web.iweb")
    if iweb is not None and iweb.IBodyProducer.providedBy(value):
        producer: Any = value
        return ProducerSource(producer)
    if isinstance(value, (str, io.TextIOBase)):
        raise UsageError("a stream carries bytes: encode the text, open the file as rb")
    if callable(getattr(value, "read", None)):
        return _FileSource(value)  # type: ignore[arg-type]
    if (buffer := _bufferOf(value)) is not None:
        return _BytesSource(buffer)
    if isinstance(value, AsyncIterable):
        return AsyncIterableSource(value)
    if isinstance(value, Awaitable):
        # A Deferred is an iterable, too, and one without a single piece.
        raise UsageError(f"await the {type(value).__name__}, and send what it gives")
    if isinstance(value, Iterable):
        return IterableSource(value)
    raise UsageError(
        "a stream is made from bytes, a binary file, a FilePath, an IBodyProducer, or "
        f"an iterable or async iterable of bytes, not from {type(value).__name__}"
    )


def _bufferOf(value: Any) -> memoryview | None:
    """@return: The memory of an array, for example; L{None} for what has none."""
    try:
        return memoryview(value)
    except TypeError:
        return None


class _BytesSource(Source):
    """A value that is there."""

    def __init__(self, value: memoryview) -> None:
        try:
            self._view = value.cast("B")
        except (TypeError, ValueError):
            # Not in one piece, or of items that only NumPy understands.
            self._view = memoryview(value.tobytes())
        self._start = 0
        self.size = len(self._view)

    def read(self, most: int) -> tuple[memoryview, bool]:
        """Show a part."""
        start = self._start
        end = self._start = start + most
        return self._view[start:end], end >= len(self._view)

    def close(self) -> None:
        """Let go of the value."""
        self._view.release()


class _FileSource(Source):
    """An open file, up to where it ended when the stream was announced."""

    def __init__(self, file: BinaryIO) -> None:
        if getattr(file, "closed", False) is True:
            raise UsageError("the file is closed")
        self._file = file
        self.size = _sizeLeft(file)
        self._left = self.size

    def read(self, most: int) -> tuple[bytes, bool] | None:
        """
        Read a part.

        @raise UsageError: If the file is not one of bytes, or does not block, or
            gives more than it is asked for.

        @raise EOFError: If the file has become shorter.
        """
        left = self._left
        if left is not None:
            most = min(most, left)
        data = self._file.read(most)
        if not isinstance(data, bytes):
            raise UsageError(
                "the file must be binary and blocking, but reading it gave "
                f"{type(data).__name__}"
            )
        if len(data) > most:
            raise UsageError(f"reading {most} bytes of the file gave {len(data)}")
        if left is None:
            return data, not data
        if not data and left:
            raise EOFError(f"the file ended {left} bytes before its announced size")
        self._left = left - len(data)
        return data, not self._left

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _sizeLeft(file: BinaryIO) -> int | None:
    """
    Only a file of the operating system, read as it is, has as many bytes as the
    system says: one that is decompressed, for example, has the C{fileno} of the
    compressed one.

    @return: How many bytes there are from where a file stands to its end, or
        L{None}.  A file that says that it is empty may be one of /proc.
    """
    if isinstance(file, io.BytesIO):
        return max(0, file.getbuffer().nbytes - file.tell())
    raw: object = file
    if isinstance(file, (io.BufferedReader, io.BufferedRandom)):
        raw = file.raw
    if not isinstance(raw, io.FileIO):
        return None
    status = os.fstat(raw.fileno())
    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        return None
    return max(0, status.st_size - file.tell())


class WritingSide(Protocol):
    """The methods of a connection that a stream calls."""

    def offer(self, stream: SendStream) -> None:
        """There may be bytes to send."""

    def allowance(self, stream: SendStream) -> int:
        """How many bytes to send in this turn."""

    def withdraw(self, stream: SendStream) -> None:
        """There are none now."""

    def writeChunk(
        self, stream: SendStream, data: BytesLike, fin: bool, sha256: bytes | None
    ) -> None:
        """Send bytes."""

    def reset(self, stream: SendStream, error: StreamError) -> None:
        """Give the stream up."""


class OutgoingStream:
    """
    Bytes that are being sent to the peer.

    @ivar done: A Deferred that fires with the number of bytes (bytes) once the
        peer has all of them.  It fails with L{SourceFailed} if they could not be
        read, with another L{StreamError} if the peer did not want them, and with
        the reason if the connection is lost.  Cancelling it stops the stream at
        both ends.
    """

    def __init__(
        self, stream: SendStream, source: Source, side: WritingSide, digest: bool
    ) -> None:
        """Streams come from L{StreamConnection.send}; do not make them."""
        self._stream = stream
        self._source: Source | None = source
        self._calling = False
        self._side = side
        self._digest = hashlib.sha256() if digest else None
        self.size = source.size
        self.failure: Failure | None = None
        self.done: Deferred[int] = Deferred(self._cancel)

    def __repr__(self) -> str:
        size = "?" if self.size is None else self.size
        return f"<OutgoingStream {self.id}: {self.sent} of {size} bytes>"

    @property
    def id(self) -> int:
        """The number of the stream."""
        return self._stream.id

    @property
    def sent(self) -> int:
        """How many bytes have been handed to the transport (bytes)."""
        return self._stream.window.offset

    @property
    def isSent(self) -> bool:
        """Whether the last byte has been handed to the transport."""
        return not self._stream.isSending

    def abort(self, code: bytes = b"STREAM_ABORTED") -> None:
        """
        Send no more of it.  The peer is told, and L{done} fails with the error of
        the code.  Does nothing once the stream has ended.

        @param code: An error code, of L{amp_stream.errors} or of your own (1 to
            255 bytes).
        """
        self.giveUp(errorToAbortWith(code))

    # What follows is for the rest of the package.

    def start(self) -> None:
        """Send, now that the peer knows what this is."""
        source = self._source
        if source is None:
            return
        self._calling = True
        try:
            source.start(self._ready, self._sourceFailed)
        except Exception:
            self._sourceFailed(Failure())
        self._called(source)
        self._ready()

    def giveUp(self, error: StreamError) -> None:
        """Give the stream up, if it has not ended."""
        if not self._stream.isEnded:
            self._side.reset(self._stream, error)
            self.fail(Failure(error))

    def sendChunk(self) -> bool:
        """
        It is this stream's turn.

        @return: Whether there was anything to send.
        """
        source, side, stream = self._source, self._side, self._stream
        if source is None:
            return False
        read = None
        self._calling = True
        try:
            read = source.read(side.allowance(stream))
        except Exception:
            self._sourceFailed(Failure())
        self._calling = False
        if self._source is None:
            # A generator, for one, cannot be closed from inside.
            _close(source)
        if read is None or self._source is None:
            side.withdraw(stream)
            return False
        data, fin = read
        if self.size is not None:
            total = stream.window.offset + len(data)
            if total > self.size or (fin and total < self.size):
                wrong = ValueError(f"the source has not {self.size} bytes, as it said")
                self._sourceFailed(Failure(wrong))
                return False
        sha256 = None if self._digest is None else self._hash(data, fin)
        side.writeChunk(stream, data, fin, sha256)
        if fin:
            side.withdraw(stream)
            self._close()
        elif self._source is not None:
            side.offer(stream)
        return True

    def succeed(self) -> None:
        """The peer has every byte."""
        self.done.callback(self.sent)

    def fail(self, failure: Failure) -> None:
        """The stream has ended before its bytes did."""
        self._close()
        if self.failure is None:
            self.failure = failure
            self.done.errback(failure)

    def _ready(self) -> None:
        if self._source is not None and not self._calling:
            self._side.offer(self._stream)

    def _sourceFailed(self, failure: Failure) -> None:
        error = SourceFailed(f"the source of the stream failed: {failure.value}")
        error.__cause__ = failure.value
        self.giveUp(error)

    def _hash(self, data: BytesLike, fin: bool) -> bytes | None:
        if self._digest is None:
            return None
        self._digest.update(data)
        if fin:
            return self._digest.digest()
        return None if self.sent else b""

    def _called(self, source: Source) -> None:
        """
        The source has returned.  If the stream has ended meanwhile, close it now:
        a generator, for one, cannot be closed from inside.
        """
        self._calling = False
        if self._source is None:
            _close(source)

    def _close(self) -> None:
        source, self._source = self._source, None
        if source is not None and not self._calling:
            _close(source)

    def _cancel(self, deferred: Deferred[int]) -> None:
        error = StreamCancelled()
        self.failure = Failure(error)
        self._side.reset(self._stream, error)
        self._close()


Opener = Callable[[Any, amp.AmpBox, bytes, "Announcement"], OutgoingStream]


class Announcement:
    """
    What stands in a box for a stream that has no number yet.

    The number is given when the box is sent, by the connection that sends it.  A
    box that is never sent, because another of its values cannot be written, leaves
    nothing behind: when it goes, the source is closed.

    @ivar open: Makes the stream; called with the multiplexer of the connection, the
        box, the key and this object.

    @ivar stream: The stream, once the box has been sent.
    """

    def __init__(self, source: Source, digest: bool, open: Opener) -> None:
        self.source = source
        self.digest = digest
        self.open = open
        self.stream: OutgoingStream | None = None
        self._closed = False

    def __len__(self) -> int:
        """
        Called by code that takes this for a value, and would write it into a box.

        @raise UsageError: Always.
        """
        raise UsageError(
            "this box announces a stream: it can only be sent by StreamAMP, and not "
            "inside an AmpList; declare Stream as an argument of the command itself"
        )

    def begin(self) -> None:
        """The box has been sent."""
        if self.stream is not None:
            self.stream.start()

    def giveUp(self, error: StreamError) -> None:
        """The call that announces it has failed."""
        if self.stream is not None:
            self.stream.giveUp(error)
        else:
            self._closeUnsent()

    def __del__(self) -> None:
        if self.stream is None:
            self._closeUnsent()

    def _closeUnsent(self) -> None:
        if not self._closed:
            self._closed = True
            _close(self.source)


def announcementsIn(box: amp.AmpBox) -> list[tuple[bytes, Announcement]]:
    """@return: The announcements in a box, each with its key."""
    values: dict[bytes, Any] = box
    if Announcement not in map(type, values.values()):
        # As in nearly all: every box comes here.
        return []
    return [item for item in values.items() if type(item[1]) is Announcement]


def _close(source: Source) -> None:
    try:
        source.close()
    except Exception:
        _log.failure("while closing the source of a stream")

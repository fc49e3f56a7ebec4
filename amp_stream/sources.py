# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
What a stream can be made from.

Every source is read from when it is the stream's turn, and never before: that is
how back-pressure reaches whatever makes the bytes.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, BinaryIO, Protocol, Union

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IConsumer
from twisted.python.failure import Failure
from twisted.python.filepath import FilePath
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from amp_stream._sansio.pieces import PieceQueue
from amp_stream.errors import UsageError

__all__ = ["Source", "SourceLike", "asSource"]

SourceLike = Union[
    bytes,
    bytearray,
    memoryview,
    BinaryIO,
    "FilePath[Any]",
    IBodyProducer,
    Iterable[bytes],
    AsyncIterable[bytes],
]
"""
What L{asSource} takes.
"""

_READ_AHEAD = 131_072
"""
How many bytes of a producer, which sends when it likes, to keep before it is
paused.
"""


class Source(Protocol):
    """
    Something that bytes can be read from.
    """

    size: int | None
    """
    How many bytes there will be, or L{None} if that is not known.
    """

    def start(
        self, ready: Callable[[], object], failed: Callable[[Failure], object]
    ) -> None:
        """
        Begin.

        @param ready: What to call when there may be bytes again, after L{read}
            has returned L{None}.

        @param failed: What to call if there will be no more, because of an error.
        """

    def read(self, most: int) -> tuple[bytes, bool] | None:
        """
        Read.

        @param most: How many bytes to return at the most; at least 1.

        @return: Bytes, and whether they are the last; L{None} if there are none
            now.
        """

    def close(self) -> None:
        """
        Let go of everything.  Called once, after the last byte or before.
        """


def asSource(value: SourceLike) -> Source:
    """
    Find out how to read a value.

    @param value: A bytes-like object; a binary file, which is read from where it
        stands and closed at the end; a C{FilePath}; an C{IBodyProducer}; an
        iterable or async iterable of bytes-like objects.

    @raise UsageError: If it is none of these.

    @raise OSError: If it is a file that cannot be opened.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _BytesSource(value)
    if isinstance(value, FilePath):
        return _FileSource(open(value.path, "rb"))
    if IBodyProducer.providedBy(value):
        return _ProducerSource(value)
    if isinstance(value, (str, io.TextIOBase)):
        raise UsageError("a stream carries bytes: encode the text, open the file as rb")
    if callable(getattr(value, "read", None)):
        return _FileSource(value)  # type: ignore[arg-type]
    if isinstance(value, AsyncIterable):
        return _AsyncIterableSource(value)
    if isinstance(value, Iterable):
        return _IterableSource(value)
    raise UsageError(
        "a stream is made from bytes, a binary file, a FilePath, an IBodyProducer, or "
        f"an iterable or async iterable of bytes, not from {type(value).__name__}"
    )


class _BytesSource:
    """
    A value that is there.
    """

    def __init__(self, value: bytes | bytearray | memoryview) -> None:
        self._view = memoryview(value).cast("B")
        self._start = 0
        self.size: int | None = len(self._view)

    def start(
        self, ready: Callable[[], object], failed: Callable[[Failure], object]
    ) -> None:
        """
        It is ready.
        """

    def read(self, most: int) -> tuple[bytes, bool] | None:
        """
        Copy a part.
        """
        start = self._start
        end = self._start = start + most
        return bytes(self._view[start:end]), end >= len(self._view)

    def close(self) -> None:
        """
        Let go of the value.
        """
        self._view = memoryview(b"")


class _FileSource:
    """
    An open file, up to where it ended when the stream was announced.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size: int | None = _sizeLeft(file)
        self._left = self.size

    def start(
        self, ready: Callable[[], object], failed: Callable[[Failure], object]
    ) -> None:
        """
        It is ready.
        """

    def read(self, most: int) -> tuple[bytes, bool] | None:
        """
        Read a part.

        @raise UsageError: If the file is not one of bytes, or does not block.

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
        if left is None:
            return data, not data
        if not data and left:
            raise EOFError(f"the file ended {left} bytes before its announced size")
        self._left = left - len(data)
        return data, not self._left

    def close(self) -> None:
        """
        Close the file.
        """
        self._file.close()


def _sizeLeft(file: BinaryIO) -> int | None:
    """
    @return: How many bytes there are from where a file stands to its end, or
        L{None}.  A file that says that it is empty may be one of /proc.
    """
    try:
        try:
            status = os.fstat(file.fileno())
        except (AttributeError, OSError):
            # Not one of the operating system: a BytesIO, for example.
            here = file.tell()
            end = file.seek(0, os.SEEK_END)
            file.seek(here)
            return max(0, end - here)
        if not stat.S_ISREG(status.st_mode) or not status.st_size:
            return None
        return max(0, status.st_size - file.tell())
    except (AttributeError, OSError):
        return None


class _IterableSource:
    """
    Pieces of any size, made on demand.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces: Iterator[bytes] = iter(pieces)
        self._buffer = _Cutter()
        self.size: int | None = None

    def start(
        self, ready: Callable[[], object], failed: Callable[[Failure], object]
    ) -> None:
        """
        It is ready.
        """

    def read(self, most: int) -> tuple[bytes, bool] | None:
        """
        Gather pieces until there is enough.
        """
        while self._buffer.size < most:
            try:
                piece = next(self._pieces)
            except StopIteration:
                return self._buffer.take(most), True
            self._buffer.add(piece)
        return self._buffer.take(most), False

    def close(self) -> None:
        """
        Close a generator.
        """
        close = getattr(self._pieces, "close", None)
        if close is not None:
            close()


class _AsyncIterableSource:
    """
    Pieces of any size, each of which may take its time.
    """

    def __init__(self, pieces: AsyncIterable[bytes]) -> None:
        self._pieces: AsyncIterator[bytes] = aiter(pieces)
        self._buffer = _Cutter()
        self._next: Deferred[bytes | None] | None = None
        self._ended = False
        self._failure: Failure | None = None
        self.size: int | None = None

    def start(
        self, ready: Callable[[], object], failed: Callable[[Failure], object]
    ) -> None:
        """
        Ask for the first piece when somebody reads.
        """
        self._ready = ready
        self._failed = failed

    def read(self, most: int) -> tuple[bytes, bool] | None:
        """
        Take what is there, and ask for more.
        """
        while self._buffer.size < most and self._next is None and not self._ended:
            self._ask()
        if self._failure is not None:
            self._failure.raiseException()
        if self._ended:
            return self._buffer.take(most), not self._buffer.size
        if self._buffer.size:
            return self._buffer.take(most), False
        return None

    def close(self) -> None:
        """
        Stop a piece that is being made, and close a generator.
        """
        self._ended = True
        pending, self._next = self._next, None
        if pending is not None:
            pending.cancel()
        close = getattr(self._pieces, "aclose", None)
        if close is not None:
            Deferred.fromCoroutine(_await(close)).addErrback(lambda failure: None)

    def _ask(self) -> None:
        waiting = False
        pending = self._next = Deferred.fromCoroutine(_nextPiece(self._pieces))

        def arrived(piece: bytes | None) -> None:
            self._next = None
            if piece is None:
                self._ended = True
            else:
                self._buffer.add(piece)
            if waiting:
                self._ready()

        def broken(failure: Failure) -> None:
            self._next = None
            if self._ended and failure.check(CancelledError):
                return
            self._ended = True
            self._failure = failure
            if waiting:
                self._failed(failure)

        pending.addCallback(arrived).addErrback(broken)
        waiting = True


async def _nextPiece(pieces: AsyncIterator[bytes]) -> bytes | None:
    try:
        return await anext(pieces)
    except StopAsyncIteration:
        return None


async def _await(close: Callable[[], Any]) -> None:
    await close()


@implementer(IConsumer)
class _ProducerSource:
    """
    An L{IBodyProducer}, as L{twisted.web.client} takes it.
    """

    def __init__(self, producer: IBodyProducer) -> None:
        self._producer = producer
        self._buffer = _Cutter()
        self._paused = False
        self._ended = False
        self._closed = False
        self.size: int | None = None
        if producer.length is not UNKNOWN_LENGTH:
            self.size = producer.length

    def start(
        self, ready: Callable[[], object], failed: Callable[[Failure], object]
    ) -> None:
        """
        Let the producer begin.
        """
        self._ready = ready
        self._failed = failed
        self._producer.startProducing(self).addCallbacks(self._finish, self._fail)

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """
        A body producer need not register; it knows whom it writes to.
        """

    def unregisterProducer(self) -> None:
        """
        See L{registerProducer}.
        """

    def write(self, data: bytes) -> None:
        """
        Keep bytes, and pause the producer when there are many.
        """
        if self._closed:
            return
        self._buffer.add(data)
        if self._buffer.size >= _READ_AHEAD and not self._paused:
            self._paused = True
            self._producer.pauseProducing()
        self._ready()

    def read(self, most: int) -> tuple[bytes, bool] | None:
        """
        Take what is there, and let the producer go on.
        """
        if not self._buffer.size and not self._ended:
            return None
        data = self._buffer.take(most)
        if self._paused and self._buffer.size < _READ_AHEAD // 2:
            self._paused = False
            if not self._ended:
                self._producer.resumeProducing()
        return data, self._ended and not self._buffer.size

    def close(self) -> None:
        """
        Stop the producer, if it has not ended.
        """
        self._closed = True
        if not self._ended:
            self._ended = True
            self._producer.stopProducing()

    def _finish(self, ignored: object) -> None:
        if not self._closed:
            self._ended = True
            self._ready()

    def _fail(self, failure: Failure) -> None:
        if not self._closed:
            self._ended = True
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
        """
        Take up to C{most} bytes.
        """
        taken: list[bytes | memoryview] = []
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

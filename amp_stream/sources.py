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
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import Any, BinaryIO, Protocol, Union

from twisted.python.failure import Failure
from twisted.python.filepath import FilePath
from twisted.web.iweb import IBodyProducer

from amp_stream.errors import UsageError
from amp_stream.piecesources import AsyncIterableSource, IterableSource, ProducerSource

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

    def read(self, most: int) -> tuple[bytes | memoryview, bool] | None:
        """
        Read.

        @param most: How many bytes to return at the most; at least 1.

        @return: Bytes, which are used before anything else is done with the source,
            and whether they are the last; L{None} if there are none now.
        """

    def close(self) -> None:
        """
        Let go of everything.  Called once, after the last byte or before, and
        never while another method of the source is being called.
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
    if IBodyProducer.providedBy(value):
        return ProducerSource(value)
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
    """
    @return: The memory of an array, for example; L{None} for what has none.
    """
    try:
        return memoryview(value)
    except TypeError:
        return None


class _BytesSource:
    """
    A value that is there.
    """

    def __init__(self, value: memoryview) -> None:
        try:
            self._view = value.cast("B")
        except (TypeError, ValueError):
            # Not in one piece, or of items that only NumPy understands.
            self._view = memoryview(value.tobytes())
        self._start = 0
        self.size: int | None = len(self._view)

    def start(
        self, ready: Callable[[], object], failed: Callable[[Failure], object]
    ) -> None:
        """
        It is ready.
        """

    def read(self, most: int) -> tuple[memoryview, bool]:
        """
        Show a part.
        """
        start = self._start
        end = self._start = start + most
        return self._view[start:end], end >= len(self._view)

    def close(self) -> None:
        """
        Let go of the value.
        """
        self._view.release()


class _FileSource:
    """
    An open file, up to where it ended when the stream was announced.
    """

    def __init__(self, file: BinaryIO) -> None:
        if getattr(file, "closed", False) is True:
            raise UsageError("the file is closed")
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
        """
        Close the file.
        """
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

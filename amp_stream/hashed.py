# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The two ends of a transfer at the client: what is read or written is hashed and counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol

from amp_stream.blocking import InThread
from amp_stream.fileerrors import FileTooLarge
from amp_stream.files import MAX_BIG

__all__ = ["HashedSink", "HashedSource", "Progress"]


class Progress(Protocol):
    """
    What wants to know how far a transfer is.
    """

    def start(self, size: int | None) -> None:
        """
        The transfer begins.

        @param size: How many bytes it will move, if that is known.
        """

    def advance(self, count: int) -> None:
        """
        So many more bytes have moved.
        """


class _NoProgress:
    def start(self, size: int | None) -> None:
        """
        Do nothing.
        """

    def advance(self, count: int) -> None:
        """
        Do nothing.
        """


class HashedSource:
    """
    A value on its way out, hashed as it is read.

    @ivar count: How many bytes have been read (bytes).
    """

    def __init__(
        self,
        name: str,
        read: Callable[[int], bytes],
        size: int | None,
        progress: Progress | None,
        inThread: InThread,
    ) -> None:
        """
        @param name: What it is called.

        @param read: Reads up to so many bytes of it, none at its end.

        @param size: Its length (bytes), or L{None}.

        @param progress: What to tell how far it is.

        @param inThread: How to call C{read}.
        """
        self.name = name
        self.size = size
        self.count = 0
        self.progress: Progress = progress or _NoProgress()
        self.inThread = inThread
        self._read = read
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> bytes:
        """
        The SHA-256 of what has been read: 32 bytes.
        """
        return self._hash.digest()

    def read(self, size: int) -> bytes:
        """
        Read some of it, in a thread.
        """
        data = self._read(size)
        self._hash.update(data)
        self.count += len(data)
        return data

    def readAll(self) -> bytes:
        """
        Read all of it, in a thread.
        """
        pieces = []
        self._checkBig(self.size or 0)
        while data := self.read(2**20):
            pieces.append(data)
            self._checkBig(self.count)
        return b"".join(pieces)

    def _checkBig(self, size: int) -> None:
        if size > MAX_BIG:
            raise FileTooLarge(
                f"{self.name!r} has more than the {MAX_BIG} bytes that one box "
                "carries: put it over a stream"
            )


class HashedSink:
    """
    A value on its way in, hashed as it is written.

    @ivar count: How many bytes have been written (bytes).
    """

    def __init__(
        self,
        name: str,
        write: Callable[[bytes], object],
        progress: Progress | None,
        inThread: InThread,
    ) -> None:
        """
        @param name: What it is called.

        @param write: Takes some bytes of it.

        @param progress: What to tell how far it is.

        @param inThread: How to call C{write}.
        """
        self.name = name
        self.count = 0
        self.progress: Progress = progress or _NoProgress()
        self.inThread = inThread
        self._write = write
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> bytes:
        """
        The SHA-256 of what has been written: 32 bytes.
        """
        return self._hash.digest()

    def write(self, data: bytes) -> None:
        """
        Write some of it, in a thread.
        """
        self._write(data)
        self._hash.update(data)
        self.count += len(data)

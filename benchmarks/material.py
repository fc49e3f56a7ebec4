# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The bytes that are moved."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator

__all__ = ["BLOCK", "Made", "blocks"]

BLOCK = bytes(range(256)) * 256
"""
65,536 bytes.
"""


def blocks(size: int, length: int = len(BLOCK)) -> Iterator[bytes]:
    """Make so many bytes, in pieces that cost nothing to make."""
    block = (BLOCK * -(-length // len(BLOCK)))[:length]
    whole, rest = divmod(size, length)
    for _ in range(whole):
        yield block
    if rest:
        yield block[:rest]


class Made(io.RawIOBase):
    """A file of so many bytes that are made as they are read."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        """Make some."""
        left = self._size - self._at
        some = min(left, size if size >= 0 else len(BLOCK), len(BLOCK))
        self._at += some
        return BLOCK[:some]

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move, so that the length can be found."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}
        self._at = base[whence] + offset
        return self._at

    def tell(self) -> int:
        """Tell where it is."""
        return self._at

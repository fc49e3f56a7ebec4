# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The box of a chunk, without a box.

A chunk is the one box that is sent by the million.  It is written as three
pieces, so that the bytes of the stream are neither joined nor copied nor sorted
with the rest.  The keys are in the order in which AMP sorts them: the result is
byte for byte what C{amp.AmpBox.serialize} gives.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from amp_stream._sansio.limits import MAX_CHUNK

__all__ = ["FRAME_HEAD", "StreamFrame", "encodeChunk", "tailOf"]

_length = Struct("!H").pack

_COMMAND = b"\x00\x08_command\x00\x0aStreamData\x00\x04data"
_FIN = b"\x00\x03fin\x00\x04True"
_EMPTY = b"\x00\x00"
_END = b"\x00\x00"

FRAME_HEAD = _COMMAND
"""
How the box of a plain chunk begins: one that asks for no answer.  The length of the
bytes is next.
"""

_TAIL = b"\x00\x02id\x00%c%b\x00\x06offset\x00%c%b\x00\x00"


class StreamFrame(NamedTuple):
    """
    A chunk like most: neither the last, nor with a digest, nor with a question.  Or
    several of them, each of which begins where the one before it ends: then there may
    be more than 65,535 bytes.
    """

    id: int
    offset: int
    data: bytes


def tailOf(id: int, offset: int) -> bytes:
    """
    Write what comes behind the bytes of a plain chunk.
    """
    number, start = b"%d" % id, b"%d" % offset
    return _TAIL % (len(number), number, len(start), start)


def _pair(key: bytes, value: bytes) -> bytes:
    return _length(len(key)) + key + _length(len(value)) + value


def encodeChunk(
    id: int,
    offset: int,
    data: bytes | memoryview,
    fin: bool = False,
    sha256: bytes | None = None,
    ask: bytes | None = None,
    version: int = 1,
) -> tuple[bytes, bytes | memoryview, bytes]:
    """
    Write a C{StreamData} box.

    @param ask: The tag for the answer, or L{None} if none is wanted; for the
        others see L{Chunk}.

    @param version: The version of AMP, 1 or 2.  In version 2, bytes that fill a
        length to the brim are followed by an empty piece.

    @return: Three pieces, the middle one of which is C{data} itself.
    """
    head = _COMMAND + _length(len(data))
    tail = tailOf(id, offset)
    if ask is not None:
        head = _pair(b"_ask", ask) + head
    if sha256 is not None:
        tail = tail[: -len(_END)] + _pair(b"sha256", sha256) + _END
    if fin:
        tail = _FIN + tail
    if version == 2 and len(data) == MAX_CHUNK:
        tail = _EMPTY + tail
    return head, data, tail

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

from amp_stream._sansio.limits import MAX_CHUNK

__all__ = ["encodeChunk"]

_length = Struct("!H").pack

_COMMAND = b"\x00\x08_command\x00\x0aStreamData\x00\x04data"
_FIN = b"\x00\x03fin\x00\x04True"
_EMPTY = b"\x00\x00"
_END = b"\x00\x00"


def _pair(key: bytes, value: bytes) -> bytes:
    return _length(len(key)) + key + _length(len(value)) + value


def encodeChunk(
    id: int,
    offset: int,
    data: bytes,
    fin: bool = False,
    sha256: bytes | None = None,
    ask: bytes | None = None,
    version: int = 1,
) -> tuple[bytes, bytes, bytes]:
    """
    Write a C{StreamData} box.

    @param ask: The tag for the answer, or L{None} if none is wanted; for the
        others see L{Chunk}.

    @param version: The version of AMP, 1 or 2.  In version 2, bytes that fill a
        length to the brim are followed by an empty piece.

    @return: Three pieces, the middle one of which is C{data} itself.
    """
    head = b"" if ask is None else _pair(b"_ask", ask)
    tail = (
        _EMPTY if version == 2 and len(data) == MAX_CHUNK else b"",
        _FIN if fin else b"",
        _pair(b"id", b"%d" % id),
        _pair(b"offset", b"%d" % offset),
        b"" if sha256 is None else _pair(b"sha256", sha256),
        _END,
    )
    return head + _COMMAND + _length(len(data)), data, b"".join(tail)

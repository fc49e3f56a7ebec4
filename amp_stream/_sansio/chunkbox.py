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

__all__ = ["encodeChunk"]

_length = Struct("!H").pack

_COMMAND = b"\x00\x08_command\x00\x0aStreamData\x00\x04data"
_FIN = b"\x00\x03fin\x00\x04True"
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
) -> tuple[bytes, bytes, bytes]:
    """
    Write a C{StreamData} box.

    @param ask: The tag for the answer, or L{None} if none is wanted; for the
        others see L{Chunk}.

    @return: Three pieces, the middle one of which is C{data} itself.
    """
    head = b"" if ask is None else _pair(b"_ask", ask)
    tail = (
        _FIN if fin else b"",
        _pair(b"id", b"%d" % id),
        _pair(b"offset", b"%d" % offset),
        b"" if sha256 is None else _pair(b"sha256", sha256),
        _END,
    )
    return head + _COMMAND + _length(len(data)), data, b"".join(tail)

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
One piece of a stream, and the numbers of the wire.
"""

from __future__ import annotations

from attrs import field, frozen

from amp_stream._sansio.limits import MAX_CHUNK, MAX_NUMBER
from amp_stream.errors import InvalidChunk

__all__ = ["Chunk", "parseNumber"]

_DIGEST_SIZE = 32
_MAX_DIGITS = len(str(MAX_NUMBER))


@frozen
class Chunk:
    """
    The bytes C{offset} to C{offset + len(data)} of the stream C{id}.

    @ivar id: The stream's number, 0 to 2**62 - 1, chosen by its sender.

    @ivar offset: Where the bytes begin in the stream.

    @ivar data: At most 65,535 bytes; none is allowed.

    @ivar fin: Whether the stream ends with these bytes.

    @ivar sha256: With C{fin}, the SHA-256 of the whole stream (32 bytes), or
        L{None}.  Without C{fin}, C{b""} says that there will be one.

    @raise InvalidChunk: If a value is not of its kind or out of its range.
    """

    id: int = field()
    offset: int = field()
    data: bytes = field(repr=lambda data: f"<{len(data)} bytes>")
    fin: bool = field(default=False)
    sha256: bytes | None = field(default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        for name, number in (("id", self.id), ("offset", self.offset)):
            if type(number) is not int or not 0 <= number <= MAX_NUMBER:
                raise InvalidChunk(f"{name} must be an integer of 0 to 2**62 - 1")
        if not isinstance(self.data, bytes) or len(self.data) > MAX_CHUNK:
            raise InvalidChunk(f"data must be bytes, at most {MAX_CHUNK} of them")
        if self.offset + len(self.data) > MAX_NUMBER:
            raise InvalidChunk("the chunk ends beyond 2**62 - 1")
        sha256 = self.sha256
        if sha256 is None or sha256 == b"":
            return
        if not (isinstance(sha256, bytes) and len(sha256) == _DIGEST_SIZE and self.fin):
            raise InvalidChunk(
                f"sha256 must be {_DIGEST_SIZE} bytes with fin, or empty before it"
            )


def parseNumber(name: str, value: bytes | None) -> int:
    """
    Read a number of the wire: decimal ASCII, no sign, no space.

    @param name: What to call it in an error.

    @param value: The value of its key, L{None} if there is none.

    @raise InvalidChunk: If it is not a number of 0 to 2**62 - 1.
    """
    if value is not None and len(value) <= _MAX_DIGITS and value.isdigit():
        number = int(value)
        if number <= MAX_NUMBER:
            return number
    raise InvalidChunk(f"{name} must be a decimal number of 0 to 2**62 - 1")

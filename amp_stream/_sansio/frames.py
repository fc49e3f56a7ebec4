# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The frames of streams: a chunk and the control messages, and how a chunk is written.

The names are QUIC's (RFC 9000, section 19); L{amp_stream._commands} has the AMP
commands that carry the frames.

A chunk is the one box that is sent by the million.  So it is written without a box, as
three pieces: the bytes of the stream are neither joined nor copied nor sorted with the
rest.  The keys are in the order in which AMP sorts them: the result is byte for byte
the output of C{amp.AmpBox.serialize}.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from attrs import field, frozen

from amp_stream._sansio.limits import MAX_CHUNK, MAX_NUMBER
from amp_stream.errors import InvalidValue, StreamError, UsageError, errorForCode

BytesLike = bytes | memoryview
"""
Bytes on their way to the transport, which need not be copied before.
"""

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

    @raise InvalidValue: If a value is not of its kind or out of its range.
    """

    id: int = field()
    offset: int = field()
    data: bytes = field(repr=lambda data: f"<{len(data)} bytes>")
    fin: bool = field(default=False)
    sha256: bytes | None = field(default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        for name, number in (("id", self.id), ("offset", self.offset)):
            if type(number) is not int or not 0 <= number <= MAX_NUMBER:
                raise InvalidValue(f"{name} must be an integer of 0 to 2**62 - 1")
        if not isinstance(self.data, bytes) or len(self.data) > MAX_CHUNK:
            raise InvalidValue(f"data must be bytes, at most {MAX_CHUNK} of them")
        if self.offset + len(self.data) > MAX_NUMBER:
            raise InvalidValue("the chunk ends beyond 2**62 - 1")
        sha256 = self.sha256
        if sha256 is None or sha256 == b"":
            return
        if not (isinstance(sha256, bytes) and len(sha256) == _DIGEST_SIZE and self.fin):
            raise InvalidValue(
                f"sha256 must be {_DIGEST_SIZE} bytes with fin, or empty before it"
            )


def parseNumber(name: str, value: bytes | None) -> int:
    """
    Read a number of the wire: decimal ASCII, no sign, no space.

    @param name: What to call it in an error.

    @param value: The value of its key, L{None} if there is none.

    @raise InvalidValue: If it is not a number of 0 to 2**62 - 1.
    """
    if value is not None and len(value) <= _MAX_DIGITS and value.isdigit():
        number = int(value)
        if number <= MAX_NUMBER:
            return number
    raise InvalidValue(f"{name} must be a decimal number of 0 to 2**62 - 1")


@frozen
class MaxStreamData:
    """The receiver will take the bytes below C{maximum}."""

    id: int
    maximum: int


@frozen
class ResetStream:
    """The sender gives up after C{finalSize} bytes, for the reason of C{code}."""

    id: int
    code: bytes
    finalSize: int


@frozen
class StopSending:
    """The receiver gives up, for the reason of C{code}."""

    id: int
    code: bytes


Frame = MaxStreamData | ResetStream | StopSending


_length = Struct("!H").pack

_COMMAND = b"\x00\x08_command\x00\x0bstream.Data\x00\x04data"
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
    """Write what comes behind the bytes of a plain chunk."""
    number, start = b"%d" % id, b"%d" % offset
    return _TAIL % (len(number), number, len(start), start)


def _pair(key: bytes, value: bytes) -> bytes:
    return _length(len(key)) + key + _length(len(value)) + value


def encodeChunk(
    id: int,
    offset: int,
    data: BytesLike,
    fin: bool = False,
    sha256: bytes | None = None,
    ask: bytes | None = None,
    version: int = 1,
) -> tuple[bytes, BytesLike, bytes]:
    """
    Write a C{stream.Data} box.

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


MAX_CODE = 255
"""
The longest code (bytes).
"""


def errorToAbortWith(code: bytes) -> StreamError:
    """
    Make the exception that a code of the application stands for.

    @param code: A code of L{amp_stream.errors}, or one of its own.

    @raise UsageError: If no peer would take it.
    """
    if not isinstance(code, bytes) or not 0 < len(code) <= MAX_CODE:
        raise UsageError(f"an error code is 1 to {MAX_CODE} bytes, not {code!r}")
    return errorForCode(code)

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The argument that carries one chunk of a stream in a box.
"""

from __future__ import annotations

from typing import Any, NoReturn

from twisted.protocols import amp

from amp_stream._boxerrors import boxErrors
from amp_stream._sansio.chunk import Chunk, parseNumber
from amp_stream.errors import DeclarationError, InvalidChunk, KeyClash

__all__ = ["Chunk", "StreamChunk", "argumentKey", "chunkFromBox"]

_KEYS = (b"id", b"offset", b"fin", b"sha256")


def chunkFromBox(name: bytes, strings: dict[bytes, bytes]) -> Chunk:
    """
    Take a chunk out of a box.

    @param name: The key of the bytes.

    @param strings: The box; the keys of the chunk are removed from it.

    @raise InvalidChunk: If a key is missing or its value malformed.
    """
    data = strings.pop(name, None)
    if data is None:
        raise InvalidChunk(f"the bytes of the chunk, {name!r}, are missing")
    fin = strings.pop(b"fin", b"False")
    if fin not in (b"True", b"False"):
        raise InvalidChunk("fin must be True or False")
    return Chunk(
        parseNumber("id", strings.pop(b"id", None)),
        parseNumber("offset", strings.pop(b"offset", None)),
        data,
        fin == b"True",
        strings.pop(b"sha256", None),
    )


class StreamChunk(amp.Argument):
    """
    An argument whose value is a L{Chunk}.

    Declared under a name, the bytes go into the key of that name and the rest
    into the keys C{id}, C{offset}, C{fin} (only when true) and C{sha256} (only
    when there is one) of the same box.  So a command has room for one chunk, and
    none of its other arguments can have one of these names.

    @raise InvalidChunk: When a box that arrives has no well-formed chunk.

    @raise KeyClash: When a box is made in which another argument has one of the
        keys.
    """

    def fromBox(
        self, name: bytes, strings: amp.AmpBox, objects: dict[str, Any], proto: Any
    ) -> None:
        """
        See L{amp.IArgumentType.fromBox}.
        """
        key = argumentKey(name)
        if self.optional and name not in strings:
            objects[key] = None
            return
        with boxErrors(strings):
            objects[key] = chunkFromBox(name, strings)

    def toBox(
        self, name: bytes, strings: amp.AmpBox, objects: dict[str, Any], proto: Any
    ) -> None:
        """
        See L{amp.IArgumentType.toBox}.
        """
        chunk = self.retrieve(objects, argumentKey(name), proto)
        for key in _KEYS:
            if key in strings or argumentKey(key) in objects:
                raise KeyClash(
                    f"StreamChunk needs the key {key!r}, which another argument of "
                    "this command has too; rename that one"
                )
        if self.optional and chunk is None:
            return
        if not isinstance(chunk, Chunk):
            raise InvalidChunk(f"{name!r} must be a Chunk, not {type(chunk).__name__}")
        strings[name] = chunk.data
        strings[b"id"] = b"%d" % chunk.id
        strings[b"offset"] = b"%d" % chunk.offset
        if chunk.fin:
            strings[b"fin"] = b"True"
        if chunk.sha256 is not None:
            strings[b"sha256"] = chunk.sha256

    def toString(self, inObject: object) -> NoReturn:
        """
        There is no one string for a chunk.

        @raise DeclarationError: Always: somebody declared a list of chunks.
        """
        raise DeclarationError(
            "StreamChunk takes several keys of a box; it cannot be an element of "
            "ListOf: declare it as an argument of the command"
        )

    fromString = toString


def argumentKey(name: bytes) -> str:
    """
    @return: The name by which Python knows the argument of a key.
    """
    key: str = amp._wireNameToPythonIdentifier(name)
    return key

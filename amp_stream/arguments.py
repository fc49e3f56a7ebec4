# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
AMP arguments for values that are longer than one key of a box can hold.
"""

from __future__ import annotations

from typing import Any

from twisted.protocols.amp import Argument, Box, String

from amp_stream._boxerrors import boxErrors
from amp_stream._sansio.splitting import (
    DEFAULT_MAX_SIZE,
    PIECE_SIZE,
    checkClash,
    checkSize,
    join,
    show,
    split,
)
from amp_stream.errors import InvalidText, MissingPiece, ValueTooLong

__all__ = ["BigString", "BigUnicode"]

_ELEMENT = b"element"


class BigString(Argument):
    """
    Bytes of any length up to a bound, all in the one box of the call or answer.

    It stands in for C{amp.String}: up to 65,535 bytes it is the same on the wire,
    and beyond that it uses the further keys C{name.2}, C{name.3} and so on.  So
    no other argument of the command may be called C{name.} and a number.  The
    sender passes any bytes-like object, the receiver gets C{bytes}.

    The whole value is in memory, at both ends, and while its box is being sent
    no other box is: for more than a few hundred kilobytes declare C{Stream}.

    As an item of an C{AmpList} it works as anywhere else, within the 65,535 bytes
    that AMP allows for the list.  As the element of a C{ListOf} it has no keys to
    spread over, so there a long value is refused.

    A value that cannot be sent makes C{callRemote} raise at once.  In a response
    it is a responder's error, for which a stock C{amp.AMP} drops the connection:
    a responder there should check the length of what it returns.

    @ivar maxSize: The most bytes that the value may have.
    """

    def __init__(self, optional: bool = False, maxSize: int = DEFAULT_MAX_SIZE) -> None:
        """
        @param optional: Whether the value may be left out, or be L{None}.

        @param maxSize: The most bytes that the value may have, when it is sent
            and when it is received.
        """
        super().__init__(optional)
        if maxSize < 0:
            raise ValueError(f"maxSize must be 0 bytes or more, not {maxSize}")
        self.maxSize = maxSize
        # Moves a value between the dictionaries of AMP's calls, as it is.
        self._whole = String(optional)

    def toBox(
        self, name: bytes, strings: Box, objects: dict[str, Any], proto: Any
    ) -> None:
        """
        Spread a value over keys of a box.

        @raise TypeError: The value is not of the type that was declared.

        @raise ValueTooLong: The value is longer than C{maxSize}.

        @raise KeyClash: Another argument has the name of one of the keys.
        """
        whole: dict[bytes, Any] = {}
        self._whole.toBox(name, whole, objects, proto)
        if name in whole:
            checkClash(name, strings, objects)
            pieces: Any = split(name, self._encode(name, whole[name]), self.maxSize)
            strings.update(pieces)

    def fromBox(
        self, name: bytes, strings: Box, objects: dict[str, Any], proto: Any
    ) -> None:
        """
        Gather a value from the keys of a box.

        @raise BigValueError: The value is not there, not whole, or not valid.  Or
            C{amp.RemoteAmpError} with the code of that error, if the box is not a
            response: with it, AMP answers the caller and keeps the connection.
        """
        whole: dict[bytes, Any] = {}
        with boxErrors(strings):
            checkClash(name, (), objects)
            value = join(name, strings, self.maxSize)
            if value is not None:
                whole[name] = self._decode(name, value)
            elif not self.optional:
                raise MissingPiece(f"the value {show(name)} is not in the box")
        self._whole.fromBox(name, whole, objects, proto)

    def toString(self, inObject: Any) -> bytes:
        """
        Encode an element of a C{ListOf}.

        @raise TypeError: The value is not of the type that was declared.

        @raise ValueTooLong: It is longer than 65,535 bytes, or than C{maxSize}.
        """
        pieces = split(_ELEMENT, self._encode(_ELEMENT, inObject), self.maxSize)
        if len(pieces) > 1:
            size = sum(map(len, pieces.values()))
            raise ValueTooLong(
                f"an element of a ListOf has at most {PIECE_SIZE:,} bytes, and this "
                f"one has {size:,}; send each element in a call of its own, "
                "or declare Stream()"
            )
        return bytes(pieces[_ELEMENT])

    def fromString(self, inString: bytes) -> Any:
        """
        Decode an element of a C{ListOf}.

        @raise amp.RemoteAmpError: The element is too long or not valid.
        """
        with boxErrors():
            checkSize(_ELEMENT, len(inString), self.maxSize)
            return self._decode(_ELEMENT, inString)

    def _encode(self, name: bytes, value: Any) -> Any:
        return value

    def _decode(self, name: bytes, value: bytes) -> Any:
        return value


class BigUnicode(BigString):
    """
    Text of any length up to a bound: a L{BigString} of its UTF-8.

    C{maxSize} counts bytes, not characters.  The text is encoded first and split
    then, so the pieces are not text: a character may be divided between two.
    """

    def _encode(self, name: bytes, value: Any) -> bytes:
        if not isinstance(value, str):
            raise TypeError(
                f"the value {show(name)} must be str, not {type(value).__name__}; "
                "declare BigString for bytes"
            )
        try:
            return value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise _invalidText(name, f"character {error.start}") from None

    def _decode(self, name: bytes, value: bytes) -> str:
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _invalidText(name, f"byte {error.start}") from None


def _invalidText(name: bytes, where: str) -> InvalidText:
    return InvalidText(f"the value {show(name)} cannot be UTF-8, see {where}")

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
One value over several keys of one box, and back.

The first 65,535 bytes of a value stand under its name, the rest under
C{name.2}, C{name.3} and so on.  Each piece but the last is full, and a value of
one piece is what C{amp.String} would have written.  Two numberings are read::

    name, name.2, name.3 ...      what is written here
    name.0, name.1, name.2 ...    what some other libraries write

A run of keys that is neither is an error: a value that lost a piece must never
pass for a shorter one.  For the same reason every C{name.N} with digits for N
belongs to the value, so no other argument of the command may have such a name.

What reading cannot notice is a run that lost its last keys, as a run of full
pieces may end at any one of them.  AMP delivers a box whole or not at all, so
only a broken writer makes that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping

from amp_stream._sansio.frames import BytesLike
from amp_stream._sansio.limits import MAX_CHUNK
from amp_stream.errors import InvalidValue, UsageError, ValueTooLong

PIECE_SIZE = MAX_CHUNK
"""
How many bytes each piece but the last one holds.
"""

DEFAULT_MAX_SIZE = 16_777_216
"""
The most bytes of a value for which nobody chose another bound.
"""


def split(name: bytes, value: object, maxSize: int) -> dict[bytes, BytesLike]:
    """
    Cut a value into the pieces that go into a box.  A C{bytes} object is not copied:
    if there are several pieces, they are views of it, which AMP writes like bytes.

    @param name: The key of the first piece.

    @param value: Any bytes-like object.

    @param maxSize: The most bytes that the value may have.

    @return: The pieces by their keys, in order.

    @raise TypeError: The value is not bytes-like.

    @raise ValueTooLong: The value has more than C{maxSize} bytes.
    """
    octets = _octets(name, value)
    checkSize(name, len(octets), maxSize)
    if len(octets) <= PIECE_SIZE:
        return {name: bytes(octets)}
    # What can be changed may be, before the box is written.
    view = memoryview(bytes(octets))
    return {
        name if number == 1 else b"%b.%d" % (name, number): view[
            start : start + PIECE_SIZE
        ]
        for number, start in enumerate(range(0, len(view), PIECE_SIZE), 1)
    }


def reunite(box: Mapping[bytes, BytesLike]) -> dict[bytes, BytesLike]:
    """
    Undo what L{split} did to the values of a box, for a connection on which a value can
    have any length.  No byte is copied.

    @return: The box, with whole values.
    """
    whole = dict(box)
    for name, first in box.items():
        value = first.obj if isinstance(first, memoryview) else None
        if isinstance(value, bytes) and len(value) > PIECE_SIZE:
            cut = split(name, value, len(value))
            if all(_isSame(box.get(key), piece) for key, piece in cut.items()):
                for key in cut:
                    del whole[key]
                whole[name] = value
    return whole


def join(name: bytes, box: MutableMapping[bytes, bytes], maxSize: int) -> bytes | None:
    """
    Take the pieces of a value out of a box and put them together.

    @param name: The name of the value.

    @param box: Where the pieces are; they are removed from it.

    @param maxSize: The most bytes that the value may have.  Longer ones are
        refused before any byte is copied.

    @return: The value, or L{None} if the box has no piece of it.

    @raise InvalidValue: A piece is missing, or one too many is there.

    @raise ValueTooLong: The value has more than C{maxSize} bytes.
    """
    numbered = len(_numbered(name, box))
    if name in box:
        keys = [name] + [b"%b.%d" % (name, n) for n in range(2, numbered + 2)]
    elif numbered:
        keys = [b"%b.%d" % (name, n) for n in range(numbered)]
    else:
        return None
    for key in keys:
        if key not in box:
            raise InvalidValue(
                f"{show(key)} is not in the box, which has {len(keys)} keys for the "
                f"value {show(name)}: a piece is lost, or numbered in another way",
                b"BIG_VALUE_GAP",
            )
    pieces = [box.pop(key) for key in keys]
    checkSize(name, sum(map(len, pieces)), maxSize)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def checkClash(name: bytes, keys: Iterable[bytes], others: Iterable[str]) -> None:
    """
    Make sure that no other argument has the name of a key that this value may
    need, however short it is now: the mistake must show before the first long
    value does.

    @param name: The name of the value.

    @param keys: The keys that other arguments have written to the box.

    @param others: The Python names of other arguments.

    @raise UsageError: There is one.
    """
    clashes = _numbered(name, keys, alsoBare=True) + _numbered(
        name.replace(b"-", b"_"), (other.encode("utf-8", "replace") for other in others)
    )
    if clashes:
        raise UsageError(
            f"{show(clashes[0])} is the name of another argument, but the value "
            f"{show(name)} needs that key when it is long; rename one of them"
        )


def checkSize(name: bytes, size: int, maxSize: int) -> None:
    """
    Hold a value to its bound.

    @param name: The name of the value.

    @param size: How long it is (bytes).

    @param maxSize: How long it may be (bytes).

    @raise ValueTooLong: It is longer.
    """
    if size > maxSize:
        raise ValueTooLong(
            f"the value {show(name)} has {size:,} bytes, and its maxSize is "
            f"{maxSize:,}; raise maxSize, or declare Stream()",
            b"BIG_VALUE_TOO_LONG",
        )


def show(name: bytes) -> str:
    """@return: The name of a value, or a key, as messages quote it."""
    return repr(name.decode("ascii", "backslashreplace"))


def _numbered(
    name: bytes, keys: Iterable[bytes], alsoBare: bool = False
) -> list[bytes]:
    """
    @return: Those keys that are the name, a dot and digits, and with C{alsoBare}
        those that are the name.
    """
    prefix = name + b"."
    return [
        key
        for key in keys
        if (key.startswith(prefix) and key[len(prefix) :].isdigit())
        or (alsoBare and key == name)
    ]


def _isSame(found: object, piece: BytesLike) -> bool:
    """
    @return: Whether what is in a box can only be this view: nobody looks at its
        bytes.
    """
    return (
        isinstance(found, memoryview)
        and isinstance(piece, memoryview)
        and found.obj is piece.obj
        and len(found) == len(piece)
    )


def _octets(name: bytes, value: object) -> BytesLike:
    """@return: The value as single bytes, without copying it if its layout allows."""
    if type(value) is bytes:
        return value
    try:
        view = memoryview(value)  # type: ignore[arg-type]
    except TypeError:
        advice = "; declare BigUnicode for text" if isinstance(value, str) else ""
        raise TypeError(
            f"the value {show(name)} must be bytes-like, "
            f"not {type(value).__name__}{advice}"
        ) from None
    try:
        return view.cast("B")
    except (TypeError, ValueError):
        # Not in one piece, empty, or of a format that cast() does not know.
        return view.tobytes()

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
How to read the boxes of peers that may or may not keep to version 2.

There are peers that leave out the empty piece which ends a value of exactly a
multiple of 65,535 bytes.  What comes next is then a key or the end of the box, and
nothing says so: it can be read as the last piece of the value as well, and all that
follows with a key in the place of each value.  Some bytes are both what one peer
writes for one list of boxes and what another writes for a different one.

So wherever a piece of 65,535 bytes is followed by one that could be a key or an end,
both ways to read on are followed, side by side; what was fed is the same strings
in both, and none is copied.  A way that breaks a rule is dropped:

  - a key has 1 to 255 bytes, and is in a box once;
  - a box has one of C{_command}, C{_answer} and C{_error};
  - a peer leaves out the empty piece always or never.  One that was seen to write
    it is read in one way from then on.

The first way, to go by as long as it stands, is that of version 2: a peer which
keeps to that gets its boxes read as soon as they are whole.  When that way breaks
a rule, the next one takes its place, unless a box has been handed out that it
would have read otherwise.  That is an error, and so is it when two ways still stand
at the end of the box after one that they read differently: nobody weighs them, as
whoever chooses the values could put a weight into the scale.

A proper peer never meets that error if its boxes begin with C{_command}, C{_answer}
or C{_error} (and C{_ask}), as sorted keys in lower case do, and no box has two values
that go up to 255 bytes beyond a multiple of 65,535.
"""

from __future__ import annotations

from amp_stream._sansio.framing import MAX_KEY
from amp_stream.errors import FramingError

__all__ = ["Reading", "settle"]

_KINDS = frozenset({b"_command", b"_answer", b"_error"})

_MOST = 16


class Reading:
    """
    One way to read what has come.

    @ivar proper: Whether the peer writes the empty piece at the end of a value of
        a multiple of 65,535 bytes; L{None} if that has not shown.

    @ivar key: The key whose value is being read; L{None} where a key must come next,
        or the end of the box.

    @ivar box: The keys and values of the box that has begun; values of several
        pieces in pieces.

    @ivar size: How many bytes its keys and values have, those included that have
        only been announced.

    @ivar isLate: Whether a box has been handed out that it reads otherwise.
    """

    __slots__ = (
        "_pieces",
        "_whole",
        "box",
        "isLate",
        "key",
        "proper",
        "size",
    )

    def __init__(self, proper: bool | None) -> None:
        self.proper = proper
        self.box: dict[bytes, bytes | list[bytes | memoryview]] = {}
        self.size = 0
        self.isLate = False
        self.key: bytes | None = None
        self._pieces: list[bytes | memoryview] = []
        self._whole: list[dict[bytes, bytes | list[bytes | memoryview]]] = []

    @property
    def isInBox(self) -> bool:
        """
        Whether a box has begun.
        """
        return bool(self.box) or self.key is not None

    @property
    def boxes(self) -> int:
        """
        How many boxes are whole.
        """
        return len(self._whole)

    def resume(self, command: bytes, data: bytes) -> None:
        """
        Two keys of the box that begins here have been read elsewhere.

        @param command: The value of C{_command}.

        @param data: The value of C{data}.
        """
        self.box = {b"_command": command, b"data": data}
        self.size = len(b"_commanddata") + len(command) + len(data)

    def readOn(self, string: bytes | list[bytes | memoryview]) -> bool:
        """
        Read on, if this is the only way and goes on as the only one.

        @param string: See L{read}.

        @return: Whether it has been read.
        """
        key = self.key
        if key is None:
            if self.proper is False or not isinstance(string, bytes) or not string:
                return False
            self.key = string
            return True
        if self._pieces or not isinstance(string, bytes):
            return False
        self.box[key] = string
        self.key = None
        return True

    def read(
        self, string: bytes | list[bytes | memoryview], contested: bool
    ) -> list[Reading]:
        """
        Read on.

        @param string: What came behind one length.  A piece of 65,535 bytes, which
            has another behind it, is a list of its parts.

        @param contested: Whether there is another way to read.

        @return: The ways to read after that, the best first: this one, another as
            well, or none.
        """
        if isinstance(string, list):
            self._pieces += string
            return [self]
        key = self.key
        if key is None:
            return self._keyRead(string, contested)
        self.key = None
        pieces, self._pieces = self._pieces, []
        if not pieces:
            self.box[key] = string
            return [self]
        others = []
        if not self.proper and len(string) <= MAX_KEY:
            others = self._withoutTail(key, pieces)._keyRead(string, contested=True)
        if not string:
            if self.proper is False:
                return others
            self.proper = True
        else:
            pieces.append(string)
        self.box[key] = pieces
        return [self, *others]

    def takeBoxes(self) -> list[dict[bytes, bytes]]:
        """
        @return: The boxes that are whole.
        """
        boxes, self._whole = self._whole, []
        return [
            {
                key: value if isinstance(value, bytes) else b"".join(value)
                for key, value in box.items()
            }
            for box in boxes
        ]

    def _keyRead(self, key: bytes, contested: bool) -> list[Reading]:
        """
        Read a key, or the end of a box.  The rules count only where they help to
        tell one way from another: a box can have whatever keys it likes.
        """
        isStrict = contested or self.proper is False
        kinds = len(_KINDS & self.box.keys()) if isStrict else 1
        if not key:
            if not self.box or kinds != 1:
                return []
            self._whole.append(self.box)
            self.box = {}
            self.size = 0
        else:
            if isStrict and (key in self.box or (kinds and key in _KINDS)):
                return []
            self.key = key
        return [self]

    def _withoutTail(self, key: bytes, pieces: list[bytes | memoryview]) -> Reading:
        """
        @return: Another way: the value has ended, and what seems to be its last
            piece is what comes after it.
        """
        other = Reading(False)
        other.box = {**self.box, key: list(pieces)}
        other.size = self.size
        other.isLate = self.isLate
        other._whole = list(self._whole)
        return other


def settle(readings: list[Reading]) -> list[Reading]:
    """
    Choose among ways to read, as far as that is possible now.

    @param readings: All that stand, the best first.

    @return: Those that go on.  If the first has a box, it can be taken.

    @raise FramingError: If what has been handed out was wrong, or may have been.
    """
    first, others = readings[0], readings[1:]
    if first.isLate or len(others) >= _MOST:
        raise _ambiguous()
    if first.boxes:
        if others and (first.boxes > 1 or any(each.isLate for each in others)):
            raise _ambiguous()
        for each in others:
            each.isLate = True
    return readings


def _ambiguous() -> FramingError:
    return FramingError(
        "bytes that can be read in two ways: the peer must end a value of a multiple "
        "of 65,535 bytes with an empty piece"
    )

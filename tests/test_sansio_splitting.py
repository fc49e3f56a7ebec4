# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The rules of L{amp_stream._sansio.splitting}."""

from __future__ import annotations

import tracemalloc
from array import array
from collections.abc import Callable
from ctypes import LittleEndianStructure, c_int16, c_int32

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from amp_stream._sansio.splitting import (
    DEFAULT_MAX_SIZE,
    PIECE_SIZE,
    checkClash,
    checkSize,
    join,
    reunite,
    split,
)
from amp_stream.errors import UsageError
from tests.codes import classOf

LENGTHS = st.one_of(
    st.integers(0, 100),
    st.builds(
        lambda pieces, more: max(0, pieces * PIECE_SIZE + more),
        st.integers(1, 5),
        st.integers(-2, 2),
    ),
)
VALUES = st.builds(
    lambda length, pattern: (pattern * (length // len(pattern) + 1))[:length],
    LENGTHS,
    st.binary(min_size=1, max_size=20),
)


def pieces(count: int) -> list[bytes]:
    """Make full pieces that differ from each other, and one of a byte."""
    return [bytes([n]) * PIECE_SIZE for n in range(count - 1)] + [b"$"]


class Pair(LittleEndianStructure):
    """A structure whose buffer has a format that C{memoryview.cast} refuses."""

    _fields_ = [("a", c_int16), ("b", c_int32)]


def peakOf(function: Callable[..., object], *arguments: object) -> int:
    """Measure how many bytes a call allocates, its result included."""
    tracemalloc.start()
    try:
        kept = function(*arguments)
        del kept
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class CopyTests(SynchronousTestCase):
    """How many copies of a value are made."""

    def test_once(self) -> None:
        """
        Splitting and joining take the memory of one copy of a long value of any type;
        splitting C{bytes} takes none.
        """
        size = 64 * PIECE_SIZE
        value = bytes(size)
        for each in (
            value,
            bytearray(value),
            memoryview(value).cast("B", (64, PIECE_SIZE)),
        ):
            self.assertLess(peakOf(split, b"v", each, size), size + PIECE_SIZE)
        self.assertLess(peakOf(split, b"v", value, size), PIECE_SIZE)
        box = split(b"v", value, size)
        self.assertLess(peakOf(join, b"v", box, size), size + PIECE_SIZE)

    def test_refusedUncopied(self) -> None:
        """A value that is too long is refused before it is copied."""
        value = bytearray(64 * PIECE_SIZE)

        def refuse(function: Callable[..., object], value: object) -> None:
            self.assertRaises(classOf(b"BIG_VALUE_TOO_LONG"), function, b"v", value, 8)

        box = split(b"v", value, len(value))
        self.assertLess(peakOf(refuse, split, value), PIECE_SIZE)
        self.assertLess(peakOf(refuse, join, box), PIECE_SIZE)


class ReuniteTests(SynchronousTestCase):
    """Pieces of one value, joined without a copy."""

    @given(VALUES)
    def test_same(self, value: bytes) -> None:
        """
        C{reunite} returns the object that was split, and leaves all other
        keys alone.
        """
        other = {b"_ask": b"1", b"body.": b"x", b"view": memoryview(b"abc")}
        whole = reunite({**split(b"body", value, DEFAULT_MAX_SIZE), **other})
        self.assertEqual(whole, {b"body": value, **other})
        self.assertIs(whole[b"body"], value)

    def test_anyOrder(self) -> None:
        """C{reunite} takes the keys of several values in any order."""
        value = b"".join(pieces(11))
        one, two = (split(name, value, len(value)) for name in (b"a", b"a.b"))
        box = dict(reversed((one | two).items()))
        self.assertEqual(reunite(box), {b"a": value, b"a.b": value})

    def test_others(self) -> None:
        """C{reunite} leaves views alone that do not make up one whole object."""
        value = b"".join(pieces(3))
        box = split(b"a", value, len(value))
        size = len(box[b"a.3"])
        for other in (
            {**box, b"a.3": bytes(box[b"a.3"])},
            {**box, b"a.3": memoryview(bytes(size))},
            {**box, b"a.3": memoryview(value)[: size + 1]},
            {b"a": box[b"a"], b"a.3": box[b"a.3"]},
            {b"a": memoryview(bytearray(3))},
        ):
            self.assertEqual(list(reunite(other)), list(other))


class SplitTests(SynchronousTestCase):
    """Splitting a value into pieces."""

    def test_shortIsOneKey(self) -> None:
        """A value of up to 65,535 bytes takes its own key only."""
        for length in (0, 1, 65_534, 65_535):
            value = b"x" * length
            self.assertEqual(split(b"body", value, length), {b"body": value})

    def test_shortIsNotCopied(self) -> None:
        """A C{bytes} object that fits in one key is put into the box without a copy."""
        value = b"x" * PIECE_SIZE
        self.assertIs(split(b"body", value, PIECE_SIZE)[b"body"], value)

    def test_longIsNumberedFromTwo(self) -> None:
        """
        A long value continues in C{name.2}, C{name.3} and so on, in order, and only the
        last piece may be short.
        """
        value = b"".join(pieces(11))
        box = split(b"body", value, len(value))
        self.assertEqual(list(box), [b"body"] + [b"body.%d" % n for n in range(2, 12)])
        self.assertEqual(list(box.values()), pieces(11))

    def test_fullLastPiece(self) -> None:
        """A value of whole pieces has no empty piece at its end."""
        box = split(b"body", b"x" * 131_070, DEFAULT_MAX_SIZE)
        self.assertEqual([len(piece) for piece in box.values()], [65_535, 65_535])

    @given(VALUES)
    def test_roundTrip(self, value: bytes) -> None:
        """
        A value that was split joins to the same value; a single piece
        is C{bytes}.
        """
        box = split(b"body", value, DEFAULT_MAX_SIZE)
        if len(box) == 1:
            self.assertIs(type(box[b"body"]), bytes)
        self.assertEqual(join(b"body", box, DEFAULT_MAX_SIZE), value)
        self.assertEqual(box, {})

    @given(VALUES)
    def test_bytesLike(self, value: bytes) -> None:
        """C{bytearray}, C{memoryview} and the like are split as C{bytes} are."""
        expected = split(b"body", value, DEFAULT_MAX_SIZE)
        doubled = bytearray(2 * len(value))
        doubled[::2] = value
        strided = memoryview(doubled)[::2]
        for other in (
            bytearray(value),
            memoryview(value),
            strided,
            type("Bytes", (bytes,), {})(value),
        ):
            box = split(b"body", other, DEFAULT_MAX_SIZE)
            self.assertEqual(box, expected)

    def test_longIsNotCopied(self) -> None:
        """The pieces of a C{bytes} object are views of it."""
        value = bytes(3 * PIECE_SIZE)
        for piece in split(b"body", value, len(value)).values():
            self.assertIs(memoryview(piece).obj, value)

    def test_itemsOfMoreThanOneByte(self) -> None:
        """A buffer of larger items is counted and split by bytes."""
        numbers = array("i", range(40_000))
        structures = (Pair * 20_000)(*[(n % 100, -n) for n in range(20_000)])
        grid = memoryview(bytes(range(256)) * 1024).cast("B", (1024, 256))
        for value in (numbers, memoryview(numbers), structures, grid, array("d")):
            whole = bytes(memoryview(value))
            box = split(b"body", value, len(whole))
            self.assertEqual(b"".join(box.values()), whole)
            self.assertEqual(len(box), max(1, -(-len(whole) // PIECE_SIZE)))
            if whole:
                self.assertRaises(
                    classOf(b"BIG_VALUE_TOO_LONG"),
                    split,
                    b"body",
                    value,
                    len(whole) - 1,
                )

    def test_laterChangesDoNotShow(self) -> None:
        """The pieces of a mutable object do not change with it."""
        for length in (3, 70_000):
            value = bytearray(length)
            box = split(b"body", value, length)
            value[:] = b"x" * (length + 1)
            self.assertEqual(b"".join(box.values()), bytes(length))

    def test_notBytesLike(self) -> None:
        """
        A value that is not bytes-like is a C{TypeError} with its name and type; for
        text it says what to declare.
        """
        for value, told in (
            ("text", "'body' must be bytes-like, not str; declare BigUnicode"),
            (None, "'body' must be bytes-like, not NoneType"),
            (7, "'body' must be bytes-like, not int"),
            ([b"x"], "'body' must be bytes-like, not list"),
        ):
            error = self.assertRaises(TypeError, split, b"body", value, 10)
            self.assertIn(told, str(error))

    def test_tooLong(self) -> None:
        """A value over C{maxSize} is refused with both numbers, whatever its type."""
        for value in (b"x" * 70_001, bytearray(70_001), array("B", bytes(70_001))):
            error = self.assertRaises(
                classOf(b"BIG_VALUE_TOO_LONG"), split, b"body", value, 70_000
            )
            self.assertIn("'body'", str(error))
            self.assertIn("70,001", str(error))
            self.assertIn("70,000", str(error))


class JoinTests(SynchronousTestCase):
    """Joining pieces to a value."""

    def test_absent(self) -> None:
        """A box without pieces has no value, and keeps its other keys."""
        others = {b"bod": b"a", b"body.": b"b", b"body.x": b"c", b"body2": b"d"}
        box = dict(others)
        self.assertIsNone(join(b"body", box, 10))
        self.assertEqual(box, others)

    def test_onePieceIsNotCopied(self) -> None:
        """A value of one piece is that object."""
        for key in (b"body", b"body.0"):
            piece = b"x" * 100
            self.assertIs(join(b"body", {key: piece}, 100), piece)

    def test_numberedFromZero(self) -> None:
        """
        Pieces numbered C{name.0}, C{name.1} and so on, without C{name},
        are joined.
        """
        box = {b"body.%d" % n: piece for n, piece in enumerate(pieces(12))}
        self.assertEqual(join(b"body", box, DEFAULT_MAX_SIZE), b"".join(pieces(12)))
        self.assertEqual(join(b"body", {b"body.0": b""}, 0), b"")

    def test_takesOnlyItsOwn(self) -> None:
        """Joining removes the pieces from the box, and leaves its other keys."""
        box = {b"_ask": b"1", b"body": b"x", b"body.2": b"y", b"body.size": b"2"}
        self.assertEqual(join(b"body", box, 2), b"xy")
        self.assertEqual(box, {b"_ask": b"1", b"body.size": b"2"})

    def test_piecesOfAnySize(self) -> None:
        """Pieces of any size, also empty ones, are joined."""
        box = {b"body": b"", b"body.2": b"ab", b"body.3": b"", b"body.4": b"c"}
        self.assertEqual(join(b"body", box, 3), b"abc")

    def test_brokenRuns(self) -> None:
        """Keys that are not one complete run of either numbering are an error."""
        for keys in (
            "body body.3",
            "body body.2 body.4",
            "body body.1",
            "body body.0",
            "body body.0 body.1",
            "body body.1 body.2",
            "body body.02",
            "body body.2 body.03",
            "body body.2 body.2000000000",
            "body body." + 200 * "9",
            "body.1",
            "body.2",
            "body.2 body.3",
            "body.0 body.2",
            "body.00",
            "body.0 body.01",
        ):
            box = {key.encode("ascii"): b"x" for key in keys.split()}
            error = self.assertRaises(
                classOf(b"BIG_VALUE_GAP"), join, b"body", box, 100
            )
            self.assertIn("'body'", str(error))

    @given(st.sets(st.integers(0, 8)), st.booleans())
    def test_onlyWholeRuns(self, numbers: set[int], bare: bool) -> None:
        """
        Exactly the complete runs of either numbering give a value, with all of
        its pieces.
        """
        box = {b"v.%d" % n: b"%d" % n for n in numbers}
        if bare:
            box[b"v"] = b"v"
        first = 2 if bare else 0
        whole = numbers == set(range(first, first + len(numbers)))
        if not whole:
            self.assertRaises(classOf(b"BIG_VALUE_GAP"), join, b"v", box, 100)
        elif box:
            expected = b"v" * bare + b"".join(b"%d" % n for n in sorted(numbers))
            self.assertEqual(join(b"v", box, 100), expected)
        else:
            self.assertIsNone(join(b"v", box, 100))

    @given(VALUES, st.data())
    def test_lostPiece(self, value: bytes, data: st.DataObject) -> None:
        """
        A value that lost a piece other than its last is an error, not a
        shorter value.
        """
        box = split(b"v", value + bytes(PIECE_SIZE + 1), DEFAULT_MAX_SIZE)
        lost = data.draw(st.sampled_from(list(box)[:-1]))
        del box[lost]
        self.assertRaises(classOf(b"BIG_VALUE_GAP"), join, b"v", box, DEFAULT_MAX_SIZE)

    def test_tooLong(self) -> None:
        """The sum of the pieces is held to C{maxSize}, in either numbering."""
        for keys in ((b"v", b"v.2"), (b"v.0", b"v.1")):
            box = dict.fromkeys(keys, b"x" * 50)
            self.assertEqual(join(b"v", dict(box), 100), b"x" * 100)
            self.assertRaises(classOf(b"BIG_VALUE_TOO_LONG"), join, b"v", box, 99)


class ClashTests(SynchronousTestCase):
    """Two arguments with a key in common."""

    def test_noClash(self) -> None:
        """Names that only look like a value's keys do not clash."""
        checkClash(
            b"body", [b"_ask", b"body.size", b"body2", b"bod.2"], ["body_2", "body.x"]
        )

    def test_writtenKeys(self) -> None:
        """A key in the box that the value needs, now or when it is longer, clashes."""
        for key in (b"body", b"body.0", b"body.1", b"body.2", b"body.300"):
            error = self.assertRaises(UsageError, checkClash, b"body", [b"x", key], [])
            self.assertIn(repr(key.decode("ascii")), str(error))

    def test_otherNames(self) -> None:
        """An argument whose Python name is a key of the value clashes."""
        for name in ("big_body.0", "big_body.2", "big_body.17"):
            self.assertRaises(UsageError, checkClash, b"big-body", [], ["ok", name])
        checkClash(b"big-body", [], ["naïve", "big_body", "big-body.2x"])


class SizeTests(SynchronousTestCase):
    """The limit on a value's size."""

    def test_bound(self) -> None:
        """A value may have exactly C{maxSize} bytes."""
        checkSize(b"v", 0, 0)
        checkSize(b"v", 10, 10)
        self.assertRaises(classOf(b"BIG_VALUE_TOO_LONG"), checkSize, b"v", 11, 10)

    def test_nameThatIsNotASCII(self) -> None:
        """A name that is not ASCII is escaped in the error text."""
        error = self.assertRaises(
            classOf(b"BIG_VALUE_TOO_LONG"), checkSize, b"\xff\n", 2, 1
        )
        self.assertIn("xff", str(error))

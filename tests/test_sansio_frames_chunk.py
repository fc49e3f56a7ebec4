# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The rules of L{amp_stream._sansio.frames}."""

from __future__ import annotations

from attrs.exceptions import FrozenInstanceError
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from amp_stream._sansio.frames import Chunk, parseNumber
from amp_stream._sansio.limits import MAX_CHUNK, MAX_NUMBER
from tests.codes import classOf


class ChunkTests(SynchronousTestCase):
    """A chunk of a stream."""

    def test_smallAndLarge(self):
        """A chunk may have the smallest and largest values of each field."""
        Chunk(0, 0, b"")
        Chunk(MAX_NUMBER, MAX_NUMBER - MAX_CHUNK, bytes(MAX_CHUNK), True, bytes(32))
        Chunk(MAX_NUMBER, MAX_NUMBER, b"", sha256=b"")

    def test_invalid(self):
        """The error for a chunk field of the wrong type or range names the field."""
        for word, arguments in (
            ("id", (-1, 0, b"")),
            ("id", (MAX_NUMBER + 1, 0, b"")),
            ("id", ("1", 0, b"")),
            ("id", (True, 0, b"")),
            ("offset", (0, -1, b"")),
            ("offset", (0, MAX_NUMBER + 1, b"")),
            ("offset", (0, 1.0, b"")),
            ("data", (0, 0, "text")),
            ("data", (0, 0, bytearray(b"abc"))),
            ("data", (0, 0, bytes(MAX_CHUNK + 1))),
            ("ends", (0, MAX_NUMBER, b"x")),
            ("sha256", (0, 0, b"", True, bytes(31))),
            ("sha256", (0, 0, b"", True, bytes(33))),
            ("sha256", (0, 0, b"", False, bytes(32))),
            ("sha256", (0, 0, b"", True, "x" * 32)),
        ):
            error = self.assertRaises(
                classOf(b"STREAM_INVALID_CHUNK"), Chunk, *arguments
            )
            self.assertIn(word, str(error))

    def test_value(self):
        """A chunk cannot be changed, and equals one with the same fields."""
        chunk = Chunk(1, 2, b"abc")
        self.assertEqual(chunk, Chunk(1, 2, b"abc", False, None))
        self.assertNotEqual(chunk, Chunk(1, 2, b"abc", True))
        self.assertEqual(hash(chunk), hash(Chunk(1, 2, b"abc")))
        self.assertRaises(FrozenInstanceError, setattr, chunk, "offset", 3)

    def test_repr(self):
        """A chunk's representation, which may be logged, shows none of its bytes."""
        self.assertEqual(
            repr(Chunk(1, 2, b"secret", True, b"s" * 32)),
            "Chunk(id=1, offset=2, data=<6 bytes>, fin=True)",
        )


class ParseNumberTests(SynchronousTestCase):
    """Numbers in boxes."""

    @given(st.integers(0, MAX_NUMBER))
    def test_number(self, number):
        """A number is read as AMP writes it."""
        self.assertEqual(parseNumber("offset", b"%d" % number), number)

    def test_ends(self):
        """The largest number is read, also with leading zeros of the same length."""
        self.assertEqual(parseNumber("id", b"4611686018427387903"), MAX_NUMBER)
        self.assertEqual(parseNumber("id", b"0000000000000000007"), 7)

    def test_invalid(self):
        """
        Other text that Python reads as a number, and longer or larger numbers, are
        refused with an error that names the key.
        """
        for value in (
            None,
            b"",
            b"-1",
            b"+1",
            b" 1",
            b"1\n",
            b"1_0",
            b"1.0",
            b"0x1",
            b"x",
            "\u0661".encode(),
            b"4611686018427387904",
            b"00000000000000000007",
            b"9" * 65_535,
        ):
            error = self.assertRaises(
                classOf(b"STREAM_INVALID_CHUNK"), parseNumber, "maximum", value
            )
            self.assertIn("maximum", str(error))
            self.assertLess(len(str(error)), 100)

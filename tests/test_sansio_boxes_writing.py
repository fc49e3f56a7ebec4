# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests for L{amp_stream._sansio.boxes}: writing boxes."""

from __future__ import annotations

import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from amp_stream._sansio.boxes import BoxParser, encodeBox, encodeInline, encodeValue
from amp_stream.errors import OversizeValue
from tests.codes import classOf

SIZES = (0, 1, 65_534, 65_535, 65_536, 131_070, 131_071)


def encoded(box: dict[bytes, bytes], version: int) -> bytes:
    """Write a box with its keys sorted."""
    return b"".join(encodeBox(sorted(box.items()), version))


values = st.one_of(st.binary(max_size=40), st.builds(bytes, st.sampled_from(SIZES)))
boxes = st.dictionaries(st.binary(min_size=1, max_size=255), values, min_size=1)


class EncodeInlineTests(SynchronousTestCase):
    """Boxes that C{amp.AMP} could write."""

    @given(boxes)
    def test_sameAsStock(self, box):
        """
        L{encodeInline} writes what L{encodeBox} writes, which in version 1 is what
        C{amp.AmpBox.serialize} writes, or nothing for a box with a value of more
        than 65,535 bytes.
        """
        for version in (1, 2):
            data = encodeInline(box, version)
            if max(map(len, box.values())) > 65_535:
                self.assertIsNone(data)
            else:
                self.assertEqual(data, encoded(box, version))

    def test_refused(self):
        """
        L{encodeInline} writes nothing for a value that is not C{bytes}, or a key that
        is empty or too long.
        """
        self.assertIsNone(encodeInline({b"a": "b"}, 1))
        self.assertIsNone(encodeInline({b"a": memoryview(b"b")}, 1))
        self.assertIsNone(encodeInline({b"": b"b"}, 1))
        self.assertIsNone(encodeInline({bytes(256): b"b"}, 1))


class EncodeTests(SynchronousTestCase):
    """Boxes of either version."""

    @settings(deadline=None)
    @given(boxes)
    def test_sameAsStock(self, box: dict[bytes, bytes]) -> None:
        """
        In version 1 a box has the bytes that C{amp.AmpBox.serialize} gives it, and
        in version 2 too, as long as its values have at most 65,534 bytes.
        """
        longest = max(map(len, box.values()))
        if longest > 65_535:
            self.assertRaises(OversizeValue, encoded, box, 1)
            return
        stock = amp.AmpBox(box).serialize()
        self.assertEqual(encoded(box, 1), stock)
        self.assertEqual(encoded(box, 2) == stock, longest < 65_535)

    def test_pieces(self) -> None:
        """In version 2, another segment, maybe empty, follows one of 65,535 bytes."""
        for size, lengths in (
            (0, [0]),
            (1, [1]),
            (65_534, [65_534]),
            (65_535, [65_535, 0]),
            (65_536, [65_535, 1]),
            (131_070, [65_535, 65_535, 0]),
            (131_071, [65_535, 65_535, 1]),
        ):
            value = bytes(range(256)) * 512
            pieces = encodeValue(b"key", value[:size], 2)
            self.assertEqual(
                pieces[::2], [length.to_bytes(2, "big") for length in lengths]
            )
            self.assertEqual([len(piece) for piece in pieces[1::2]], lengths)
            self.assertEqual(b"".join(pieces[1::2]), value[:size])

    @settings(deadline=None, max_examples=50)
    @given(boxes, st.integers(1, 200_000))
    def test_roundTrip(self, box: dict[bytes, bytes], step: int) -> None:
        """A box written in version 2 is read back, however its bytes are cut."""
        data = encoded(box, 2)
        parser = BoxParser(2, 2**24, 8192)
        for start in range(0, len(data), step):
            self.assertIsNone(parser.next())
            parser.feed(data[start : start + step])
        self.assertEqual(parser.next(), box)
        self.assertTrue(parser.isBetweenBoxes)

    def test_order(self) -> None:
        """The keys are written in the order in which they come."""
        pieces = encodeBox([(b"b", b"1"), (b"a", b"")], 1)
        self.assertEqual(b"".join(pieces), b"\0\1b\0\x011\0\1a\0\0\0\0")

    def test_oversize(self) -> None:
        """
        A value that version 1 cannot carry is refused with an error that names its key,
        its size and the way out.
        """
        error = self.assertRaises(
            OversizeValue, encodeBox, [(b"body", bytes(65_536))], 1
        )
        for word in ("body", "65536", "Stream()", "version='auto'"):
            self.assertIn(word, str(error))

    def test_keys(self) -> None:
        """
        A key has 1 to 255 bytes; the error for another names its length
        and is short.
        """
        self.assertEqual(encoded({b"k" * 255: b""}, 1)[:2], b"\0\xff")
        for size in (0, 256, 100_000):
            for version in (1, 2):
                error = self.assertRaises(
                    classOf(b"AMP_KEY_TOO_LONG"), encoded, {b"k" * size: b""}, version
                )
                self.assertIn(f"{size} bytes", str(error))
                self.assertLess(len(str(error)), 120)

    def test_copies(self) -> None:
        """No byte of a value is copied before the pieces are joined."""
        value = bytes(65_534)
        self.assertIs(encodeBox([(b"v", value)], 2)[2], value)
        value = bytes(64 * 65_535)
        tracemalloc.start()
        try:
            pieces = encodeBox([(b"v", value)], 2)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        self.assertEqual(len(pieces), 2 + 2 * 65)
        self.assertLess(peak, 65_535)

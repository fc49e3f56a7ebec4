# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests for L{BoxParser}, which reads boxes from bytes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Sequence
from itertools import pairwise
from struct import pack

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from amp_stream._sansio.boxes import BoxParser
from amp_stream.errors import FramingError
from tests.codes import classOf
from tests.simulation import exploration

Box = dict[bytes, bytes]

FULL = bytes(range(255)) * 257
"""
A value that fills one length: 65,535 bytes.
"""

SIZES = (0, 1, 254, 255, 256, 65_534, 65_535, 65_536, 131_070, 131_071)


def string(data: bytes) -> bytes:
    """Write a length and its bytes."""
    return pack("!H", len(data)) + data


def valueBytes(value: bytes, version: int) -> bytes:
    """Write a value, as this test understands the two versions."""
    if version == 1:
        return string(value)
    pieces = [value[n : n + 65_535] for n in range(0, len(value), 65_535)]
    if not pieces or len(pieces[-1]) == 65_535:
        pieces.append(b"")
    return b"".join(map(string, pieces))


def boxBytes(box: Box, version: int = 2) -> bytes:
    """Write a box, its keys in the order of the dictionary."""
    written = (string(k) + valueBytes(v, version) for k, v in box.items())
    return b"".join(written) + b"\0\0"


def boxesBytes(*boxes: Box) -> bytes:
    """Write boxes in version 2."""
    return b"".join(map(boxBytes, boxes))


def parserOf(version: int = 2, size: int = 2**24, keys: int = 8192) -> BoxParser:
    """Make a parser with wide limits."""
    return BoxParser(version, size, keys)


def readAll(parser: BoxParser, pieces: Iterable[bytes]) -> list[Box]:
    """Feed pieces, and read what can be read after each."""
    boxes = []
    for piece in pieces:
        parser.feed(piece)
        while (box := parser.next()) is not None:
            boxes.append(box)
    return boxes


def cut(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """Cut bytes in these places."""
    places = [0, *sorted(n % (len(data) + 1) for n in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


def peakOf(parser: BoxParser, pieces: Iterable[bytes]) -> int:
    """Measure how many bytes reading allocates, its result included."""
    tracemalloc.start()
    try:
        readAll(parser, pieces)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def sized(size: int, salt: bytes) -> bytes:
    pattern = salt + b"0123456789"
    return (pattern * (size // len(pattern) + 1))[:size]


keys = st.binary(min_size=1, max_size=12)
smallValues = st.binary(max_size=300)
values = st.one_of(
    smallValues, st.builds(sized, st.sampled_from(SIZES), st.binary(max_size=3))
)


def boxesOf(each: st.SearchStrategy[bytes]) -> st.SearchStrategy[list[Box]]:
    """Make lists of boxes."""
    return st.lists(st.dictionaries(keys, each, min_size=1, max_size=5), max_size=4)


class RoundTripTests(SynchronousTestCase):
    """Boxes are read back as they were written, however the bytes are cut."""

    @settings(deadline=None)
    @given(boxesOf(smallValues), st.sampled_from([1, 2]))
    def test_byteByByte(self, boxes: list[Box], version: int) -> None:
        """Boxes that arrive one byte at a time are each read with their last byte."""
        parser = parserOf(version)
        for box in boxes:
            data = boxBytes(box, version)
            pieces = [data[n : n + 1] for n in range(len(data))]
            self.assertEqual(readAll(parser, pieces[:-1]), [])
            self.assertFalse(parser.isBetweenBoxes)
            self.assertEqual(readAll(parser, pieces[-1:]), [box])
            self.assertTrue(parser.isBetweenBoxes)

    @settings(deadline=None, max_examples=60)
    @given(boxesOf(values), st.lists(st.integers(0, 2**32), max_size=20))
    def test_anyCuts(self, boxes: list[Box], cuts: list[int]) -> None:
        """Boxes with values of any length are read in version 2, in any cuts."""
        parser = parserOf()
        self.assertEqual(readAll(parser, cut(boxesBytes(*boxes), cuts)), boxes)
        self.assertTrue(parser.isBetweenBoxes)

    def test_stock(self) -> None:
        """The parser reads in version 1 the boxes that C{amp.AMP} writes."""
        for size in SIZES[:7]:
            box = amp.AmpBox({b"_command": b"x", b"value": bytes(size)})
            self.assertEqual(readAll(parserOf(1), [box.serialize()]), [box])

    def test_lengths(self) -> None:
        """
        Values at the lengths where version 2 begins another segment are read, as the
        last key of a box or before others.
        """
        for size in SIZES:
            for more in ({}, {b"z": b"1"}):
                box = {b"_command": b"x", b"value": bytes(size), **more}
                parser = parserOf()
                self.assertEqual(readAll(parser, [boxesBytes(box, box)]), [box, box])
                self.assertTrue(parser.isBetweenBoxes)

    def test_version(self) -> None:
        """The version can change between two boxes that arrived in one piece."""
        box = {b"_command": b"x", b"v": FULL}
        parser = parserOf(1)
        parser.feed(boxBytes(box, 1) + boxBytes(box, 2) + boxBytes(box, 1))
        for version in (2, 1, 2):
            self.assertEqual(parser.next(), box)
            parser.version = version
        self.assertIsNone(parser.next())
        self.assertTrue(parser.isBetweenBoxes)

    def test_rest(self) -> None:
        """The bytes behind the last box read can be taken out of the parser, once."""
        parser = parserOf(1)
        self.assertEqual(parser.takeRest(), b"")
        parser.feed(boxBytes({b"a": b"b"}, 1) + b"other")
        parser.feed(b" ")
        parser.feed(FULL)
        parser.next()
        self.assertFalse(parser.isBetweenBoxes)
        self.assertEqual(parser.takeRest(), b"other " + FULL)
        self.assertEqual(parser.takeRest(), b"")
        self.assertTrue(parser.isBetweenBoxes)

    def test_keyTwice(self) -> None:
        """When a key is twice in a box, the last value counts, as in C{amp.AMP}."""
        data = string(b"a") + string(b"1") + string(b"a") + string(b"2") + b"\0\0"
        (stock,) = amp.parseString(data)
        self.assertEqual(stock, {b"a": b"2"})
        for version in (1, 2):
            self.assertEqual(readAll(parserOf(version), [data]), [stock])


class LimitTests(SynchronousTestCase):
    """Boxes over a limit are refused as soon as a length shows it."""

    def refused(self, parser: BoxParser, data: bytes, word: str) -> FramingError:
        self.assertEqual(readAll(parser, [data[:-1]]), [])
        parser.feed(data[-1:])
        error = self.assertRaises(FramingError, parser.next)
        self.assertIn(word, str(error))
        return error

    def test_key(self) -> None:
        """
        A key of more than 255 bytes is refused by its length, with an error of its own;
        one of 255 bytes is read.
        """
        for version in (1, 2):
            key = b"k" * 255
            self.assertEqual(
                readAll(parserOf(version), [boxBytes({key: b"v"}, version)]),
                [{key: b"v"}],
            )
            for data in (b"\x01\x00", string(b"a") + string(b"b") + b"\xff\xff"):
                error = self.refused(parserOf(version), data, "key of")
                self.assertIsInstance(error, classOf(b"AMP_KEY_TOO_LONG"))

    def test_size(self) -> None:
        """
        A box over the size limit is refused at the length that exceeds it, and the
        error names the limit; a box of exactly that size is read.
        """
        for version in (1, 2):
            box = {b"abc": bytes(97), b"d": b""}
            data = boxBytes(box, version)
            self.assertEqual(readAll(parserOf(version, 101), [data, data]), [box, box])
            self.refused(parserOf(version, 100), data[:106], "maxBoxSize")
            self.refused(parserOf(version, 99), data[:7], "maxBoxSize")

    def test_pieces(self) -> None:
        """The size limit counts the segments of one value together."""
        data = string(b"a") + string(FULL) + b"\xff\xff"
        self.refused(parserOf(2, 131_070), data, "maxBoxSize")

    def test_keys(self) -> None:
        """
        A box with too many keys is refused at the length of the first key too many, and
        the error names the limit; one with exactly as many is read.
        """
        for version in (1, 2):
            box = {b"%d" % n: b"" for n in range(16)}
            data = boxBytes(box, version)
            self.assertEqual(
                readAll(parserOf(version, keys=16), [data, data]), [box, box]
            )
            self.refused(parserOf(version, keys=15), data[:-6], "maxBoxKeys")

    def test_empty(self) -> None:
        """An empty box is refused, whether or not it is the first."""
        for version in (1, 2):
            for box in (b"", boxBytes({b"a": b"b"}, version)):
                parser = parserOf(version)
                parser.feed(box)
                parser.next()
                parser.feed(b"\0\0")
                error = self.assertRaises(FramingError, parser.next)
                self.assertIn("empty", str(error))


class CostTests(SynchronousTestCase):
    """The memory and time that reading takes."""

    def test_copiedOnce(self) -> None:
        """A long value is copied once, whether it arrives in one piece or in many."""
        for version, count in ((1, 1), (2, 64)):
            size = 65_535 * count
            data = boxBytes({b"_command": b"x", b"v": bytes(size)}, version)
            step = 65_536
            pieces = [data[n : n + step] for n in range(0, len(data), step)]
            for fed in ([data], pieces):
                peak = peakOf(parserOf(version), fed)
                self.assertLess(peak, size + 65_536)

    @exploration
    def test_tinyPieces(self) -> None:
        """A box that arrives one byte at a time needs about its own size in memory."""
        size = 80_000
        data = string(b"_command") + valueBytes(bytes(size), 2)
        parser = parserOf()
        pieces = [data[n : n + 1] for n in range(len(data))]
        self.assertLess(peakOf(parser, pieces), 2 * size + 65_536)

    def test_neverRescanned(self) -> None:
        """A piece that completes nothing is not scanned again when the next arrives."""
        looked = []

        class Watched(bytes):
            def __getitem__(self, key: object) -> bytes:
                looked.append(key)
                return super().__getitem__(key)

        parser = parserOf()
        parser.feed(string(b"_command") + b"\xff\xff")
        parser.next()
        for _ in range(10):
            parser.feed(Watched(b"x" * 5000))
            self.assertIsNone(parser.next())
        self.assertEqual(looked, [])

    def test_nothingKept(self) -> None:
        """A parser that has read all its bytes keeps none of them."""
        data = boxesBytes({b"_command": FULL * 4})
        # What Python, or the measuring of coverage, allocates at the first time counts
        # for nothing.
        readAll(parserOf(), [data])
        tracemalloc.start()
        try:
            parser = parserOf()
            before = tracemalloc.get_traced_memory()[0]
            readAll(parser, [data])
            after = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        self.assertLess(after - before, 4096)

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The rules of L{amp_stream._sansio.reassembly}."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from amp_stream._sansio.reassembly import Reassembly
from tests.codes import classOf
from tests.rules import VALUE
from tests.simulation import exploration

SIZE = 400


def readAll(reassembly):
    """Read every byte that is ready."""
    return b"".join(iter(reassembly.read, b""))


class Model:
    """A dictionary, by offset, of the bytes that have arrived and not been read."""

    def __init__(self, maxGaps):
        self.bytes = {}
        self.start = 0
        self.maxGaps = maxGaps

    @property
    def end(self):
        end = self.start
        while end in self.bytes:
            end += 1
        return end

    def conflicts(self, offset, data):
        return any(
            self.bytes.get(place, byte) != byte
            for place, byte in enumerate(data, offset)
        )

    def gaps(self):
        beyond = sorted(place for place in self.bytes if place > self.end)
        return sum(place - 1 not in self.bytes for place in beyond)

    def write(self, offset, data):
        for place, byte in enumerate(data, offset):
            if place >= self.start:
                self.bytes[place] = byte

    def read(self, data):
        """@return: Whether these are the next bytes."""
        right = all(
            self.bytes.pop(place, None) == byte
            for place, byte in enumerate(data, self.start)
        )
        self.start += len(data)
        return right


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, SIZE), st.integers(0, 60)),
        st.tuples(st.just("near"), st.integers(-40, 20), st.integers(0, 60)),
        st.tuples(st.just("wrong"), st.integers(0, SIZE), st.integers(1, 60)),
        st.tuples(st.just("read"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


class ReassemblyTests(SynchronousTestCase):
    """Chunks in any order."""

    def test_inOrder(self):
        """
        Bytes that are appended at the end can be read at once, as the
        same object.
        """
        reassembly = Reassembly(1)
        chunk = VALUE[:5000]
        reassembly.append(chunk)
        self.assertEqual((reassembly.start, reassembly.end), (0, 5000))
        self.assertIs(reassembly.read(), chunk)
        self.assertEqual((reassembly.start, reassembly.held), (5000, 0))

    def test_empty(self):
        """An empty chunk changes nothing, at any offset."""
        reassembly = Reassembly(1)
        reassembly.write(10, b"kl")
        for offset in (0, 5, 10, 11, 1000):
            self.assertEqual(b"".join(reassembly.write(offset, b"")), b"")
        self.assertEqual((reassembly.end, reassembly.held), (0, 2))
        self.assertEqual(reassembly.read(), b"")

    def test_gap(self):
        """Bytes behind a gap can be read as soon as it is filled, not before."""
        reassembly = Reassembly(9)
        self.assertEqual(reassembly.write(2, b"cd"), [])
        self.assertEqual(reassembly.write(6, b"gh"), [])
        self.assertEqual((reassembly.read(), reassembly.held), (b"", 4))
        self.assertEqual(b"".join(reassembly.write(0, b"ab")), b"abcd")
        self.assertEqual(b"".join(reassembly.write(3, b"defghi")), b"efghi")
        self.assertEqual((reassembly.end, reassembly.held), (9, 9))
        self.assertEqual(readAll(reassembly), b"abcdefghi")

    def test_readableIsWhatItWas(self):
        """Bytes that have become readable do not change when others arrive."""
        reassembly = Reassembly(9)
        reassembly.write(2, b"c")
        reassembly.write(5, VALUE[:3000])
        readable = reassembly.write(0, b"ab") + reassembly.write(3, b"de")
        reassembly.write(3005, b"later")
        self.assertEqual(b"".join(readable), b"abcde" + VALUE[:3000])

    def test_duplicates(self):
        """
        Bytes that arrive again are not kept twice, whether they are readable, behind a
        gap, or were read before.
        """
        reassembly = Reassembly(9)
        for offset, data in ((0, b"abc"), (10, b"klm")):
            for _ in range(3):
                reassembly.write(offset, data)
        self.assertEqual(reassembly.held, 6)
        readAll(reassembly)
        self.assertEqual(reassembly.write(0, b"abc"), [])
        self.assertEqual(reassembly.held, 3)

    def test_readBytesAreNotCompared(self):
        """
        Bytes that were read are not compared with bytes that arrive again; new bytes of
        such a chunk are kept.
        """
        reassembly = Reassembly(9)
        reassembly.write(0, b"abc")
        readAll(reassembly)
        self.assertEqual(b"".join(reassembly.write(0, b"xyzd")), b"d")
        self.assertEqual(reassembly.write(1, b"yz"), [])
        self.assertEqual((reassembly.read(), reassembly.end), (b"d", 4))

    def test_conflicts(self):
        """
        A different byte for an offset is an error, wherever the first one is held, and
        leaves that one unchanged.
        """
        for offset, data in (
            (0, b"aX"),
            (2, b"X"),
            (2, b"cdefghijkX"),
            (10, b"X"),
            (8, b"ijkX"),
            (12, b"Xno"),
            (3, b"defghijklmnX"),
        ):
            reassembly = Reassembly(9)
            reassembly.write(0, b"abc")
            reassembly.write(10, b"klm")
            reassembly.write(14, b"o")
            error = self.assertRaises(
                classOf(b"STREAM_CONFLICT"), reassembly.write, offset, data
            )
            self.assertIn("offset", str(error))
            self.assertEqual(reassembly.held, 7)
            reassembly.write(3, b"defghijklmno")
            self.assertEqual(readAll(reassembly), b"abcdefghijklmno")

    def test_tooManyGaps(self):
        """
        The number of gaps is bounded, and the number of chunks between
        them is not.
        """
        reassembly = Reassembly(3)
        for offset in (10, 20, 30):
            reassembly.write(offset, b"x")
        error = self.assertRaises(
            classOf(b"STREAM_FRAGMENTED"), reassembly.write, 40, b"x"
        )
        self.assertIn("3 gaps", str(error))
        for offset in (31, 9, 21, 32, 8):
            reassembly.write(offset, b"x")
        self.assertRaises(classOf(b"STREAM_FRAGMENTED"), reassembly.write, 40, b"x")
        reassembly.write(11, b"x" * 9)
        reassembly.write(40, b"x")
        self.assertEqual(reassembly.held, 18)

    def test_backwards(self):
        """
        The chunks of a value may arrive from last to first, as they leave one
        gap at most.
        """
        reassembly = Reassembly(1)
        for offset in reversed(range(5000)):
            readable = reassembly.write(offset, VALUE[offset : offset + 1])
        self.assertEqual(b"".join(readable), VALUE[:5000])
        self.assertEqual(readAll(reassembly), VALUE[:5000])

    def test_clear(self):
        """C{clear} drops every byte."""
        reassembly = Reassembly(9)
        reassembly.write(0, b"abc")
        reassembly.write(10, b"abc")
        reassembly.clear()
        self.assertEqual((reassembly.held, reassembly.read()), (0, b""))
        reassembly.write(0, bytes(10))
        self.assertEqual((reassembly.held, reassembly.end), (10, 10))

    @exploration
    def test_memory(self):
        """
        Chunks of one byte cost little more memory than their bytes, forward or
        backward, behind gaps or filling them.
        """
        count = 8_000
        for order in (
            range(count),
            range(1, count),
            range(count, 0, -1),
            [*range(1, 2000, 2), *range(2, 2000, 2), *range(2000, count)],
            [*range(count, 6_000, -2), *range(count - 1, 1, -1)],
        ):
            tracemalloc.start()
            try:
                reassembly = Reassembly(1000)
                for offset in order:
                    reassembly.write(offset, b"x")
                size, _ = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            self.assertGreater(reassembly.held, count - 10)
            self.assertLess(size, 1.5 * count + 2000)

    @given(st.integers(1, 5), STEPS)
    def test_model(self, maxGaps, steps):
        """For any chunks in any order, reassembly behaves as a dictionary of bytes."""
        reassembly, model = Reassembly(maxGaps), Model(maxGaps)
        for step, place, length in steps:
            if step == "read":
                data = reassembly.read()
                self.assertEqual(bool(data), model.end > model.start)
                self.assertTrue(model.read(data))
            else:
                offset = max(0, model.end + place) if step == "near" else place
                data = bytearray(VALUE[offset : offset + length])
                if step == "wrong":
                    data[length // 2] ^= 255
                before = model.end
                held = dict(model.bytes)
                if model.conflicts(offset, data):
                    self.assertRaises(
                        classOf(b"STREAM_CONFLICT"),
                        reassembly.write,
                        offset,
                        bytes(data),
                    )
                else:
                    model.write(offset, data)
                    if model.gaps() > maxGaps:
                        self.assertRaises(
                            classOf(b"STREAM_FRAGMENTED"),
                            reassembly.write,
                            offset,
                            bytes(data),
                        )
                        model.bytes = held
                    else:
                        readable = b"".join(reassembly.write(offset, bytes(data)))
                        self.assertEqual(
                            readable,
                            bytes(model.bytes[n] for n in range(before, model.end)),
                        )
            self.assertEqual(reassembly.start, model.start)
            self.assertEqual(reassembly.end, model.end)
            self.assertEqual(reassembly.held, len(model.bytes))

    @given(st.data())
    def test_anyCutting(self, data):
        """
        A value comes out whole, however it was cut, and in whatever order and however
        often its chunks arrive.
        """
        size = data.draw(st.integers(1, 200_000))
        cuts = data.draw(st.lists(st.integers(0, size), max_size=30))
        ends = [*sorted(cuts), size]
        chunks = list(zip([0, *ends], ends, strict=False))
        order = data.draw(st.permutations(chunks))
        again = data.draw(st.lists(st.sampled_from(chunks), max_size=5))
        reassembly = Reassembly(100)
        readable = b""
        for start, end in (*again, *order):
            readable += b"".join(reassembly.write(start, VALUE[start:end]))
        self.assertEqual(readable, VALUE[:size])
        self.assertEqual(reassembly.held, size)
        self.assertEqual(readAll(reassembly), VALUE[:size])

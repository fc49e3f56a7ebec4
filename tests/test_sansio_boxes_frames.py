# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests for reading the frames of streams: L{BoxParser.read}."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from amp_stream._sansio.boxes import BoxParser, encodeBox
from amp_stream._sansio.frames import StreamFrame, encodeChunk
from amp_stream._sansio.limits import MAX_CHUNK, MAX_NUMBER
from amp_stream.errors import FramingError
from amp_stream.testing import connectInMemory
from tests.commands import Server
from tests.pairs import VALUE

SMALL = b"".join(encodeBox([(b"_answer", b"1"), (b"x", b"y")], 2))

BOXES = st.dictionaries(
    st.binary(min_size=1, max_size=255),
    st.binary(max_size=20) | st.sampled_from([300, 5000, 65_534, 65_535]).map(bytes),
    min_size=1,
    max_size=5,
)


def parser(version=2, maxBoxSize=1_000_000):
    return BoxParser(version, maxBoxSize, 100)


def boxOf(item):
    """Write a chunk as the box that it came in."""
    if not isinstance(item, StreamFrame):
        return item
    return {
        b"_command": b"stream.Data",
        b"data": item.data,
        b"id": b"%d" % item.id,
        b"offset": b"%d" % item.offset,
    }


def inOne(boxes):
    """Join each run of consecutive plain chunks to one box."""
    joined = []
    for box in boxes:
        before = joined[-1] if joined else {}
        if (
            isPlain(box)
            and isPlain(before)
            and box[b"id"] == before[b"id"]
            and int(box[b"offset"]) == int(before[b"offset"]) + len(before[b"data"])
        ):
            joined[-1] = {**before, b"data": before[b"data"] + box[b"data"]}
        else:
            joined.append(box)
    return joined


def isPlain(box):
    """Whether a box is that of a plain chunk."""
    return box.keys() == {b"_command", b"data", b"id", b"offset"}


def readAll(parser, parts):
    """Read as a protocol does."""
    read = []
    for part in parts:
        parser.feed(part)
        while (item := parser.read()) is not None:
            read.append(item)
    return read


def cut(data, places):
    """Cut bytes at some places."""
    places = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(places)]


CHUNKS = st.builds(
    lambda size, id, offset, fin, sha256, ask: (
        id,
        offset,
        bytes([size % 251]) * size,
        fin,
        sha256,
        ask,
    ),
    st.sampled_from([0, 1, 255, 256, 2047, 2048, 40_000, 65_408, 65_534, 65_535]),
    st.sampled_from([0, 7, MAX_NUMBER]),
    st.sampled_from([0, 65_408, 2**61]),
    st.booleans(),
    st.sampled_from([None, b"", bytes(32)]),
    st.sampled_from([None, b"s1"]),
)


class ReadTests(SynchronousTestCase):
    """L{BoxParser.read}."""

    def test_whole(self):
        """A plain chunk that arrives in one piece is read as a frame."""
        data = b"".join(encodeChunk(7, 100, b"abc"))
        (chunk,) = readAll(parser(), [data])
        self.assertEqual(chunk, StreamFrame(7, 100, b"abc"))
        self.assertIs(type(chunk.data), bytes)

    def test_several(self):
        """Chunks that were fed one after the other are all read as frames."""
        reading = parser()
        for offset in (0, 3000):
            reading.feed(b"".join(encodeChunk(7, offset, bytes(3000))))
        for offset in (0, 3000):
            self.assertEqual(reading.read(), StreamFrame(7, offset, bytes(3000)))
        self.assertIsNone(reading.read())

    def test_run(self):
        """Consecutive chunks of a stream that arrive in one piece make one frame."""
        value = bytes(range(256)) * 800
        wire = b"".join(
            b"".join(encodeChunk(7, at, value[at : at + 40_000]))
            for at in range(0, len(value), 40_000)
        )
        first, second = readAll(parser(), [wire[:100_000], wire[100_000:]])
        self.assertEqual(first, StreamFrame(7, 0, value[:80_000]))
        self.assertEqual(second, StreamFrame(7, 80_000, value[80_000:]))
        self.assertIs(type(second.data), bytes)

    def test_runEnds(self):
        """
        A run of chunks ends before a chunk of another stream, another offset, a fin or
        too many bytes, and at the largest offset.
        """
        wire = b"".join(encodeChunk(7, 0, b"abc")) + b"".join(encodeChunk(7, 3, b"de"))
        for other in (
            encodeChunk(8, 5, b"f"),
            encodeChunk(7, 6, b"f"),
            encodeChunk(7, 4, b"f"),
            encodeChunk(7, 5, b"f", True),
            encodeChunk(7, 5, bytes(2000)),
            [SMALL],
        ):
            reading = parser(maxBoxSize=2000)
            reading.feed(wire + b"".join(other))
            self.assertEqual(reading.read(), StreamFrame(7, 0, b"abcde"))
        last = MAX_NUMBER - MAX_CHUNK
        wire = b"".join(encodeChunk(7, last - 1, b"ab"))
        wire += b"".join(encodeChunk(7, last + 1, b"c"))
        first, second = readAll(parser(), [wire])
        self.assertEqual(first, StreamFrame(7, last - 1, b"ab"))
        self.assertIs(type(second), dict)

    def test_runToTheBrim(self):
        """
        A chunk of 65,535 bytes joins a run in version 1, but not in version 2, which
        writes it in two segments.
        """
        for version, most in ((1, 65_538), (2, 3)):
            wire = b"".join(encodeChunk(7, 0, b"abc", version=version))
            wire += b"".join(encodeChunk(7, 3, bytes(MAX_CHUNK), version=version))
            first = readAll(parser(version), [wire])[0]
            self.assertEqual(len(first.data), most)

    def test_largest(self):
        """A chunk of 65,535 bytes, two segments in version 2, is read as a frame."""
        for version in (1, 2):
            data = b"".join(encodeChunk(7, 0, bytes(MAX_CHUNK), version=version))
            (read,) = readAll(parser(version), [data, b""])
            self.assertEqual(read, StreamFrame(7, 0, bytes(MAX_CHUNK)))

    def test_others(self):
        """
        A chunk with a fin, a digest, an ask, a missing or extra key, or a number that
        is malformed or too large is read as a box.
        """
        plain = b"".join(encodeChunk(7, 100, b"abc"))
        for data in (
            b"".join(encodeChunk(7, 100, b"abc", True)),
            b"".join(encodeChunk(7, 100, b"abc", False, b"")),
            b"".join(encodeChunk(7, 100, b"abc", ask=b"s1")),
            b"".join(encodeChunk(7, MAX_NUMBER, b"abc")),
            plain.replace(b"100", b"1x0"),
            plain.replace(b"\x00\x03100", b"\x00\x14" + b"1" * 20),
            plain[:-2] + b"\x00\x01x\x00\x01y\x00\x00",
            plain.replace(b"\x00\x02id\x00\x017", b""),
        ):
            (read,) = readAll(parser(), [data])
            self.assertIs(type(read), dict, data)
            other = parser()
            other.feed(data)
            self.assertEqual(read, other.next())

    def test_tooLong(self):
        """A chunk over the limits of boxes is refused."""
        data = b"".join(encodeChunk(7, 100, bytes(2000)))
        short = parser(maxBoxSize=1024)
        short.feed(data[:40])
        self.assertRaises(FramingError, short.read)

    @given(
        st.lists(CHUNKS | st.none(), min_size=1, max_size=6),
        st.lists(st.integers(0, 10**6), max_size=30),
        st.sampled_from([1, 2]),
    )
    def test_same(self, chunks, places, version):
        """
        However the bytes are cut, C{read} returns the same chunks and boxes, in the
        same order, as C{next} does.
        """
        wire = b"".join(
            SMALL if chunk is None else b"".join(encodeChunk(*chunk, version=version))
            for chunk in chunks
        )
        read = readAll(parser(version), cut(wire, places))
        other = parser(version)
        other.feed(wire)
        boxes = [other.next() for _ in chunks]
        self.assertEqual(inOne(map(boxOf, read)), inOne(boxes))
        self.assertIsNone(other.next())

    @given(
        st.lists(BOXES, min_size=1, max_size=4),
        st.lists(st.integers(0, 10**6), max_size=10),
        st.sampled_from([1, 2]),
    )
    def test_boxes(self, boxes, places, version):
        """Boxes that are not chunks are read unchanged, in one piece or several."""
        for box in boxes:
            box[b"_answer"] = b"1"
        wire = b"".join(
            piece for box in boxes for piece in encodeBox(sorted(box.items()), version)
        )
        reading = parser(version)
        self.assertEqual(readAll(reading, cut(wire, places)), boxes)
        self.assertTrue(reading.isBetweenBoxes)

    def test_limits(self):
        """A box that arrives in one piece is held to the limits."""
        for reading, box in (
            (parser(maxBoxSize=1024), [(b"_answer", bytes(1100))]),
            (BoxParser(1, 1024, 2), [(b"%d" % key, b"") for key in range(3)]),
        ):
            reading.feed(b"".join(encodeBox(box, 1)))
            self.assertRaises(FramingError, reading.read)
        for wire in (b"\x00\x00", b"\x01\x00" + bytes(300)):
            for version in (1, 2):
                reading = parser(version)
                reading.feed(wire)
                self.assertRaises(FramingError, reading.read)

    def test_atTheLimit(self):
        """A box whose keys and values have exactly the allowed bytes is read."""
        reading = parser(maxBoxSize=1024)
        box = {b"_answer": bytes(1024 - 7)}
        reading.feed(b"".join(encodeBox(box.items(), 1)))
        self.assertEqual(reading.read(), box)

    @given(st.lists(st.integers(0, 10**6), max_size=30), st.binary(max_size=200))
    def test_garbage(self, places, noise):
        """For any bytes, C{read} accepts exactly what C{next} accepts."""
        wire = b"".join(encodeChunk(7, 100, b"abc"))
        place = (places or [0])[0] % len(wire)
        wire = SMALL + wire[:place] + noise + wire[place:] + SMALL
        results = []
        for read in (BoxParser.read, BoxParser.next):
            reading = parser()
            boxes = []
            try:
                for part in cut(wire, places):
                    reading.feed(part)
                    while (item := read(reading)) is not None:
                        boxes.append(boxOf(item))
            except FramingError:
                boxes.append("error")
            results.append(boxes)
        one, other = (
            inOne(box for box in boxes if box != "error") for boxes in results
        )
        self.assertEqual(one, other)
        self.assertEqual(results[0][-1:] == ["error"], results[1][-1:] == ["error"])


class FaultyFrameTests(SynchronousTestCase):
    """A frame that is refused leaves the connection alone."""

    def test_protocol(self):
        """
        A peer's mistake in a plain chunk fails its stream, and the
        connection goes on.
        """
        pair = connectInMemory(Server(), Server())
        pair.flush()
        stream = pair.server.streams.accept(0)
        collected = stream.collect()
        pair.client.transport.write(b"".join(encodeChunk(0, 300_000, b"abc")))
        pair.flush()
        self.assertEqual(
            self.failureResultOf(collected).value.code, b"STREAM_FLOW_CONTROL"
        )
        self.assertFalse(pair.server.transport.disconnecting)
        sending = pair.server.streams.send(VALUE)
        value = pair.client.streams.accept(sending.id).collect()
        pair.flush()
        self.assertEqual(self.successResultOf(value), VALUE)

    def test_consumerRaises(self):
        """
        An exception of this program while it handles a frame is logged, and the
        connection goes on.
        """
        pair = connectInMemory(Server(), Server())
        pair.flush()
        incoming = pair.server.streams._demultiplexer
        self.patch(incoming._receiveStreams, "receive", lambda *a, **kw: 1 / 0)
        pair.client.transport.write(b"".join(encodeChunk(0, 0, b"abc")))
        pair.flush()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertFalse(pair.server.transport.disconnecting)

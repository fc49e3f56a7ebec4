# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests for L{amp_stream._outgoing} and L{amp_stream._outgoing}."""

from __future__ import annotations

import codecs
import gc
import gzip
import io
import mmap
import os
import tempfile
from array import array
from unittest import skipUnless

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock, Cooperator
from twisted.python.failure import Failure
from twisted.python.filepath import FilePath
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import FileBodyProducer

from amp_stream._outgoing import asSource
from amp_stream.errors import UsageError
from tests.pairs import VALUE, TestProducer, pieces


class Oops(Exception):
    """What a source raises."""


class Reading:
    """A source that was started, and what became of it."""

    def __init__(self, value, most=65_535):
        self.source = asSource(value)
        self.most = most
        self.data = b""
        self.ready = 0
        self.failures = []
        self.ended = False
        self.source.start(self.noteReady, self.failures.append)

    def noteReady(self):
        self.ready += 1

    def readOne(self):
        """@return: Whether there were bytes, or the end."""
        read = self.source.read(self.most)
        if read is None:
            return False
        data, self.ended = read
        assert len(data) <= self.most
        self.data += data
        return True

    def readAll(self):
        """
        Read until there is nothing now, or the end.

        @return: What was read until now.
        """
        while not self.ended and self.readOne():
            pass
        if self.ended:
            self.source.close()
        return self.data


class CountingFile(io.BytesIO):
    """A file that counts how often it is closed."""

    closings = 0

    def close(self):
        self.closings += 1
        super().close()


class SourceTestCase(SynchronousTestCase):
    """Tests that read."""

    def assertReads(self, value, expected, size):
        """Check what comes out of a source, whatever the pieces."""
        reading = Reading(value)
        self.assertEqual(reading.source.size, size)
        self.assertEqual(reading.readAll(), expected)
        self.assertTrue(reading.ended)

    def path(self, content=VALUE):
        """Make a file."""
        path = FilePath(self.mktemp())
        path.setContent(content)
        return path


class BytesTests(SourceTestCase):
    """Values that are in memory."""

    def test_bytesLike(self):
        """
        C{bytes}, C{bytearray} and C{memoryview} are sent as they are, with their
        size.
        """
        for kind in (bytes, bytearray, memoryview):
            self.assertReads(kind(VALUE), VALUE, len(VALUE))
            self.assertReads(kind(b""), b"", 0)

    def test_parts(self):
        """
        No read returns more than was asked for, and only the last says that it
        is.
        """
        source = asSource(b"abcde")
        reads = [source.read(2), source.read(2), source.read(2)]
        self.assertEqual(reads, [(b"ab", False), (b"cd", False), (b"e", True)])

    def test_otherItems(self):
        """
        A buffer of other items than bytes is sent as the bytes that it consists
        of, whether it is an array, has several dimensions, or is empty.
        """
        numbers = array("I", range(1000))
        expected = numbers.tobytes()
        for value in (
            numbers,
            memoryview(numbers),
            memoryview(expected).cast("I", (10, 100)),
        ):
            self.assertReads(value, expected, len(expected))
        self.assertReads(array("I"), b"", 0)

    def test_notContiguous(self):
        """A view that skips bytes is sent without those."""
        self.assertReads(memoryview(b"a-b-c-")[::2], b"abc", 3)

    def test_letGo(self):
        """A C{bytearray} that was sent can be resized again."""
        value = bytearray(b"abc")
        reading = Reading(value)
        with self.assertRaises(BufferError):
            value.append(1)
        reading.readAll()
        value.append(1)


class FileTests(SourceTestCase):
    """Files."""

    def test_filePath(self):
        """A C{FilePath} is opened, announced with its size, read and closed."""
        self.assertReads(self.path(), VALUE, len(VALUE))

    def test_noSuchFile(self):
        """A C{FilePath} that cannot be opened raises what C{open} does."""
        with self.assertRaises(FileNotFoundError):
            asSource(FilePath(self.mktemp()))
        path = FilePath(self.mktemp())
        path.makedirs()
        with self.assertRaises(IsADirectoryError):
            asSource(path)

    def test_fromWhereItStands(self):
        """An open file is sent from where it stands, buffered or not."""
        path = self.path()
        for buffering in (-1, 0):
            with open(path.path, "rb", buffering=buffering) as file:
                file.seek(1000)
                self.assertReads(file, VALUE[1000:], len(VALUE) - 1000)
                self.assertTrue(file.closed)

    def test_beyondItsEnd(self):
        """A file that stands behind its end has no bytes."""
        with open(self.path(b"abc").path, "rb") as file:
            file.seek(10)
            self.assertReads(file, b"", 0)
        file = io.BytesIO(b"abc")
        file.seek(10)
        self.assertReads(file, b"", 0)

    def test_random(self):
        """A file that is open for reading and writing is sent, too."""
        with tempfile.TemporaryFile(dir=".") as file:
            file.write(VALUE)
            file.seek(0)
            self.assertReads(file, VALUE, len(VALUE))

    def test_inMemory(self):
        """A C{BytesIO} is a file, and is closed once."""
        file = CountingFile(VALUE)
        file.seek(3)
        self.assertReads(file, VALUE[3:], len(VALUE) - 3)
        self.assertEqual(file.closings, 1)

    def test_empty(self):
        """
        An empty file is an empty stream.  Its size is not promised: it may be a
        file of the system that has bytes nevertheless.
        """
        self.assertReads(self.path(b""), b"", None)

    @skipUnless(os.path.exists("/proc/self/status"), "there is no /proc")
    def test_proc(self):
        """A file of /proc, which says that it is empty, is sent whole."""
        reading = Reading(FilePath("/proc/self/status"))
        self.assertIsNone(reading.source.size)
        self.assertIn(b"Name:", reading.readAll())

    def test_pipe(self):
        """What cannot say how much there is, and cannot seek, is read to its end."""
        readEnd, writeEnd = os.pipe()
        os.write(writeEnd, b"abc")
        os.close(writeEnd)
        with open(readEnd, "rb") as file:
            self.assertReads(file, b"abc", None)

    def test_shortReads(self):
        """A file may give less than it is asked for."""

        class Slow(io.FileIO):
            def read(self, size=-1):
                return super().read(min(size, 1000))

        self.assertReads(Slow(self.path().path), VALUE, len(VALUE))

    def test_growing(self):
        """What is added to a file later is not sent."""
        path = self.path()
        reading = Reading(path)
        with path.open("a") as file:
            file.write(b"more")
        self.assertEqual(reading.readAll(), VALUE)

    def test_shrinking(self):
        """A file that has become shorter is an error, and no shorter value."""
        path = self.path()
        reading = Reading(path, most=10_000)
        reading.readOne()
        os.truncate(path.path, 100_000)
        with self.assertRaises(EOFError) as caught:
            reading.readAll()
        self.assertIn(f"{len(VALUE) - 100_000} bytes", str(caught.exception))
        self.assertFalse(reading.ended)
        reading.source.close()

    def test_decompressing(self):
        """A compressed file is not cut off at the size of what is on the disk."""
        path = FilePath(self.mktemp())
        with gzip.open(path.path, "wb") as file:
            file.write(VALUE)
        self.assertLess(path.getsize(), len(VALUE))
        with gzip.open(path.path, "rb") as file:
            self.assertReads(file, VALUE, None)
        with gzip.open(path.path, "rb") as file:
            self.assertReads(io.BufferedReader(file), VALUE, None)

    def test_mapped(self):
        """A mapped file is a file, and is closed."""
        with self.path().open("r") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.assertReads(mapped, VALUE, None)
        self.assertTrue(mapped.closed)

    def test_ownFile(self):
        """Anything with C{read} and C{close} is a file."""

        class OwnFile:
            def __init__(self):
                self.left = [b"abc", b"de"]
                self.closings = 0

            def read(self, size):
                return self.left.pop(0) if self.left else b""

            def close(self):
                self.closings += 1

        file = OwnFile()
        self.assertReads(file, b"abcde", None)
        self.assertEqual(file.closings, 1)

    def test_closed(self):
        """A closed file is refused at once."""
        file = io.BytesIO(b"abc")
        file.close()
        with self.assertRaises(UsageError) as caught:
            asSource(file)
        self.assertIn("closed", str(caught.exception))

    def test_text(self):
        """Text, and a file of text, are refused at once with words that help."""
        with open(self.path(b"abc").path) as file:
            for value in ("abc", io.StringIO("abc"), file):
                with self.assertRaises(UsageError) as caught:
                    asSource(value)
                self.assertIn("bytes", str(caught.exception))

    def test_hiddenText(self):
        """A file of text that does not look like one is refused when it is read."""
        reading = Reading(codecs.getreader("ascii")(io.BytesIO(b"abc")))
        with self.assertRaises(UsageError) as caught:
            reading.readAll()
        self.assertIn("gave str", str(caught.exception))

    def test_notBlocking(self):
        """
        A file that has nothing now, and would have more later, is an error and not
        an end.
        """
        readEnd, writeEnd = os.pipe()
        self.addCleanup(os.close, writeEnd)
        os.set_blocking(readEnd, False)
        with open(readEnd, "rb", buffering=0) as file:
            reading = Reading(file)
            with self.assertRaises(UsageError) as caught:
                reading.readAll()
        self.assertIn("blocking", str(caught.exception))

    def test_tooMuch(self):
        """
        A file that gives more than it is asked for is an error: the bytes would not
        fit into the credit of the stream.
        """

        class Greedy:
            def read(self, size):
                return b"x" * (size + 1)

        with self.assertRaises(UsageError):
            Reading(Greedy()).readOne()


class OtherTests(SourceTestCase):
    """What is none of these."""

    def test_refused(self):
        """What bytes cannot be made from is refused, with its type."""
        for value in (None, 5, object(), len):
            with self.assertRaises(UsageError) as caught:
                asSource(value)
            self.assertIn(type(value).__name__, str(caught.exception))

    def test_later(self):
        """
        A value that is not there yet is refused; a fired Deferred, which is an
        iterable of nothing, does not become an empty stream.
        """

        async def later():
            return b"abc"

        coroutine = later()
        self.addCleanup(coroutine.close)
        for value in (succeed(b"abc"), Deferred(), coroutine):
            with self.assertRaises(UsageError) as caught:
                asSource(value)
            self.assertIn("await", str(caught.exception))


class IterableTests(SourceTestCase):
    """Iterables."""

    def test_anyPieces(self):
        """
        Pieces of any size, and of any bytes-like kind, become chunks that are as
        large as they may be.
        """
        for size in (11, 2048, 65_535, 65_536, 200_000):
            for kind in (bytes, bytearray, memoryview):
                reading = Reading(kind(piece) for piece in pieces(VALUE, size))
                self.assertIsNone(reading.source.size)
                reading.readOne()
                self.assertEqual(len(reading.data), 65_535)
                self.assertEqual(reading.readAll(), VALUE)

    def test_otherItems(self):
        """A piece that is a view of other items than bytes counts as its bytes."""
        numbers = memoryview(array("I", [1, 2, 3]))
        expected = array("I", [1, 2, 3, 1, 3]).tobytes()
        self.assertReads([numbers, numbers[::2]], expected, None)

    def test_kinds(self):
        """Any iterable will do."""
        for value in (
            [b"a", b"b"],
            (b"a", b"b"),
            iter([b"a", b"b"]),
            {b"a": 1, b"b": 2},
        ):
            self.assertReads(value, b"ab", None)

    def test_empty(self):
        """No pieces, and empty pieces, are an empty stream."""
        for value in ([], [b""], [b"", b"", b""]):
            self.assertReads(value, b"", None)

    def test_many(self):
        """A hundred thousand pieces are no trouble."""
        self.assertReads([b"abc"] * 100_000, b"abc" * 100_000, None)

    def test_onDemand(self):
        """No more pieces are made than are needed for what is read."""
        made = []

        def generate():
            for number in range(10):
                made.append(number)
                yield b"ab"

        reading = Reading(generate(), most=3)
        self.assertEqual(made, [])
        reading.readOne()
        self.assertEqual(made, [0, 1])

    def test_notBytes(self):
        """A piece that is not of bytes is an error that names its type."""
        for piece in ("text", 5, None, [b"a"]):
            reading = Reading([b"a", piece])
            with self.assertRaises(UsageError) as caught:
                reading.readAll()
            self.assertIn(type(piece).__name__, str(caught.exception))

    def test_closed(self):
        """A generator that is not read to its end is closed."""
        closed = []

        def generate():
            try:
                yield b"abc"
            finally:
                closed.append(True)

        reading = Reading(generate(), most=1)
        reading.readOne()
        reading.source.close()
        self.assertEqual(closed, [True])


class AsyncIterableTests(SourceTestCase):
    """Async iterables."""

    def setUp(self):
        self.gates = []
        self.cancelled = []
        self.made = 0
        self.closed = 0

    def gate(self):
        """@return: A Deferred for the generator to wait on."""
        self.gates.append(Deferred(self.cancelled.append))
        return self.gates[-1]

    async def generate(self, count):
        """Make pieces, each when its gate is opened."""
        try:
            for _ in range(count):
                self.made += 1
                yield await self.gate()
        finally:
            self.closed += 1

    def test_synchronous(self):
        """
        Pieces that are there at once, a hundred thousand of them, are read like
        those of a list, without a wait and without deep recursion.
        """

        async def generate():
            for _ in range(100_000):
                yield b"abc"

        self.assertReads(generate(), b"abc" * 100_000, None)

    def test_empty(self):
        """No pieces, and empty pieces, are an empty stream."""

        async def generate(values):
            for value in values:
                yield value

        for values in ([], [b""], [b"", b""]):
            self.assertReads(generate(values), b"", None)

    def test_oneByOne(self):
        """
        Nothing is asked for before somebody reads; then one piece, and the reader
        hears when it is there.
        """
        reading = Reading(self.generate(3))
        self.assertEqual(self.made, 0)
        self.assertFalse(reading.readOne())
        self.assertFalse(reading.readOne())
        self.assertEqual((self.made, reading.ready), (1, 0))
        self.gates[0].callback(b"ab")
        self.assertEqual((self.made, reading.ready), (1, 1))
        self.assertTrue(reading.readOne())
        self.assertEqual((self.made, reading.data), (2, b"ab"))
        self.gates[1].callback(b"cd")
        reading.readOne()
        self.gates[2].callback(b"ef")
        self.assertEqual(reading.ready, 3)
        self.assertEqual(reading.readAll(), b"abcdef")
        self.assertTrue(reading.ended)
        self.assertEqual((self.closed, reading.failures), (1, []))

    def test_lateEnd(self):
        """An end that takes its time is announced like a piece."""

        async def generate():
            yield b"abc"
            await self.gate()

        reading = Reading(generate())
        reading.readOne()
        self.assertFalse(reading.readOne())
        self.gates[0].callback(None)
        self.assertEqual(reading.ready, 1)
        self.assertTrue(reading.readOne())
        self.assertTrue(reading.ended)
        self.assertEqual(reading.data, b"abc")

    def test_manyLate(self):
        """
        A reader that reads whenever it hears that there is something gets
        everything, without deep recursion.
        """
        clock = Clock()

        async def generate():
            for number in range(5000):
                if number % 2:
                    gate = Deferred()
                    clock.callLater(0, gate.callback, None)
                    await gate
                yield b"ab"

        reading = Reading(generate())
        while not reading.ended:
            reading.readAll()
            clock.advance(0)
        self.assertEqual(reading.data, b"ab" * 5000)

    def test_failsAtOnce(self):
        """What the iterable raises while it is read, the reader gets."""

        async def generate():
            yield b"abc"
            raise Oops

        reading = Reading(generate())
        with self.assertRaises(Oops):
            reading.readAll()
        self.assertEqual(reading.failures, [])

    def test_failsLater(self):
        """What it raises later is reported at once, and once."""
        reading = Reading(self.generate(3))
        reading.readOne()
        self.gates[0].errback(Oops())
        self.assertEqual([failure.type for failure in reading.failures], [Oops])
        self.assertEqual(reading.ready, 0)
        with self.assertRaises(Oops):
            reading.readOne()

    def test_notBytes(self):
        """A piece that is not of bytes is an error, at once or later."""
        reading = Reading(self.generate(1))
        reading.readOne()
        self.gates[0].callback("text")
        self.assertEqual([failure.type for failure in reading.failures], [UsageError])

    def test_closedMidPiece(self):
        """
        The piece that is being made when the stream ends is cancelled, the
        generator is closed, and nobody hears of it.
        """
        reading = Reading(self.generate(3))
        reading.readOne()
        reading.source.close()
        self.assertEqual(self.cancelled, self.gates)
        self.assertEqual((self.closed, self.made), (1, 1))
        self.assertEqual((reading.ready, reading.failures), (0, []))

    def test_closedBetweenPieces(self):
        """A generator that waits for the next piece to be wanted is closed."""

        async def generate():
            try:
                yield b"abc"
            finally:
                self.closed += 1

        reading = Reading(generate(), most=1)
        reading.readOne()
        reading.source.close()
        self.assertEqual(self.closed, 1)

    def test_closedUnread(self):
        """A generator that nobody read from is closed without a word."""
        # What other tests have left is not its business.
        gc.collect()
        self.flushWarnings()
        reading = Reading(self.generate(3))
        reading.source.close()
        self.assertEqual((self.made, self.closed), (0, 0))
        del reading
        gc.collect()
        self.assertEqual(self.flushWarnings(), [])

    def test_stubborn(self):
        """
        A generator that goes on after it was cancelled is closed when it has made
        its piece, which nobody gets.
        """

        async def generate():
            try:
                try:
                    await self.gate()
                except CancelledError:
                    await self.gate()
                yield b"abc"
            finally:
                self.closed += 1

        reading = Reading(generate())
        reading.readOne()
        reading.source.close()
        self.assertEqual((len(self.gates), self.closed), (2, 0))
        self.gates[1].callback(None)
        self.assertEqual((self.closed, reading.ready), (1, 0))

    def test_closedFromInside(self):
        """
        A generator may end the stream that it feeds: it is closed as soon as it
        has made the piece that it is at.
        """

        async def generate():
            try:
                await self.gate()
                reading.source.close()
                yield b"abc"
            finally:
                self.closed += 1

        reading = Reading(generate())
        reading.readOne()
        self.gates[0].callback(None)
        self.assertEqual((self.closed, reading.ready, reading.failures), (1, 0, []))

    def test_closingFails(self):
        """What a generator raises when it is closed is logged."""

        async def generate():
            try:
                yield b"abc"
            finally:
                raise Oops

        reading = Reading(generate(), most=1)
        reading.readOne()
        reading.source.close()
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)

    def test_ownIterator(self):
        """An iterator that cannot be closed need not be."""

        class Pieces:
            def __init__(self):
                self.left = [b"abc", b"de"]

            def __aiter__(self):
                return self

            async def __anext__(self):
                if not self.left:
                    raise StopAsyncIteration
                return self.left.pop(0)

        self.assertReads(Pieces(), b"abcde", None)


class ProducerTests(SourceTestCase):
    """Body producers."""

    def setUp(self):
        self.producer = TestProducer()
        self.producer.done = Deferred()

    def test_fileBodyProducer(self):
        """
        The body producer that comes with Twisted is sent whole, with its length,
        and paused while nobody reads.
        """
        clock = Clock()
        cooperator = Cooperator(
            scheduler=lambda call: clock.callLater(0, call),
            terminationPredicateFactory=lambda: lambda: True,
        )
        file = CountingFile(VALUE * 2)
        reading = Reading(FileBodyProducer(file, cooperator, readSize=10_000))
        self.assertEqual(reading.source.size, len(VALUE) * 2)
        clock.pump([0] * 100)
        self.assertLess(file.tell(), 150_000)
        while not reading.ended:
            reading.readAll()
            clock.advance(0)
        self.assertEqual(reading.data, VALUE * 2)
        self.assertEqual(file.closings, 1)

    def test_length(self):
        """The length of a producer is the size of the stream, if it knows it."""
        self.assertIsNone(asSource(self.producer).size)
        self.assertEqual(asSource(TestProducer(length=0)).size, 0)

    def test_writes(self):
        """Each write is announced, and the end, too."""
        reading = Reading(self.producer)
        self.assertFalse(reading.readOne())
        self.producer.consumer.write(b"abc")
        self.producer.consumer.write(memoryview(b"de"))
        self.assertEqual(reading.ready, 2)
        self.assertEqual(reading.readAll(), b"abcde")
        self.producer.done.callback(None)
        self.assertEqual(reading.ready, 3)
        self.assertEqual(reading.readAll(), b"abcde")
        self.assertTrue(reading.ended)
        self.assertEqual(self.producer.calls, ["start"])

    def test_synchronous(self):
        """A producer may write everything, and end, before it has begun."""
        self.producer.onStart = lambda: self.producer.consumer.write(VALUE)
        self.producer.done = succeed(None)
        self.assertReads(self.producer, VALUE, None)
        self.assertNotIn("stop", self.producer.calls)

    def test_empty(self):
        """A producer that writes nothing is an empty stream."""
        self.producer.done = succeed(None)
        self.assertReads(self.producer, b"", None)

    def test_pauses(self):
        """
        A producer is paused while nobody reads, and resumed when most of what it
        wrote is gone.
        """
        reading = Reading(self.producer, most=10_000)
        for _ in range(20):
            self.producer.consumer.write(bytes(10_000))
        self.assertEqual(self.producer.calls, ["start", "pause"])
        while "resume" not in self.producer.calls:
            reading.readOne()
        self.assertGreater(len(reading.data), 130_000)
        self.assertEqual(self.producer.calls, ["start", "pause", "resume"])

    def test_notPausedInVain(self):
        """A producer whose bytes are read as they are written is never paused."""
        reading = Reading(self.producer)
        reading.noteReady = reading.readOne
        reading.source.start(reading.noteReady, reading.failures.append)
        for _ in range(4):
            self.producer.consumer.write(bytes(65_535))
        self.assertEqual(len(reading.data), 4 * 65_535)
        self.assertNotIn("pause", self.producer.calls)

    def test_resumeWrites(self):
        """
        A producer may write, and end, at once when it is resumed; its bytes come
        behind those before.
        """

        def resumed():
            self.producer.consumer.write(b"the end")
            self.producer.done.callback(None)

        self.producer.onResume = resumed
        reading = Reading(self.producer)
        self.producer.consumer.write(VALUE)
        self.assertEqual(reading.readAll(), VALUE + b"the end")
        self.assertEqual(self.producer.calls, ["start", "pause", "resume"])

    def test_endsPaused(self):
        """A producer that has ended although it was paused is not resumed."""
        reading = Reading(self.producer)
        self.producer.consumer.write(VALUE)
        self.producer.done.callback(None)
        self.assertEqual(reading.readAll(), VALUE)
        self.assertEqual(self.producer.calls, ["start", "pause"])

    def test_fails(self):
        """
        The failure of a producer is reported, and it is not stopped after it, at
        once or later.
        """
        reading = Reading(self.producer)
        self.producer.done.errback(Oops())
        self.assertEqual([failure.type for failure in reading.failures], [Oops])
        reading.source.close()
        self.producer.done = fail(Failure(Oops()))
        reading = Reading(self.producer)
        self.assertEqual([failure.type for failure in reading.failures], [Oops])
        reading.source.close()
        self.assertNotIn("stop", self.producer.calls)

    def test_stopped(self):
        """
        A producer that has not ended is stopped once, and what it says later is not
        heard.
        """
        reading = Reading(self.producer)
        self.producer.consumer.write(b"abc")
        reading.source.close()
        self.assertEqual(self.producer.calls, ["start", "stop"])
        self.producer.consumer.write(b"abc")
        self.producer.done.callback(None)
        self.assertEqual((reading.ready, reading.failures), (1, []))

    def test_failsAfterItWasStopped(self):
        """Nor is a failure."""
        reading = Reading(self.producer)
        reading.source.close()
        self.producer.done.errback(Oops())
        self.assertEqual(reading.failures, [])

    def test_stoppedAtAWrite(self):
        """A producer that is stopped by what it writes is not paused as well."""
        reading = Reading(self.producer)
        reading.source.start(reading.source.close, reading.failures.append)
        self.producer.consumer.write(VALUE)
        self.assertNotIn("pause", self.producer.calls)

    def test_neverStarted(self):
        """A producer that never began is not stopped: it may be used again."""
        asSource(self.producer).close()
        self.assertEqual(self.producer.calls, [])

    def test_startFails(self):
        """What C{startProducing} raises is raised, and the producer is not stopped."""

        def fails():
            raise Oops

        self.producer.onStart = fails
        source = asSource(self.producer)
        with self.assertRaises(Oops):
            source.start(None, None)
        source.close()
        self.assertEqual(self.producer.calls, ["start"])

    def test_notBytes(self):
        """
        A producer that writes something else than bytes makes the stream fail; it
        is not left to go on without them.
        """
        reading = Reading(self.producer)
        self.producer.consumer.write("text")
        self.assertEqual([failure.type for failure in reading.failures], [UsageError])

    def test_registers(self):
        """
        A producer may register with what it writes to, though that is nothing that
        it needs to do.
        """
        self.producer.onStart = lambda: self.producer.consumer.registerProducer(
            self.producer, True
        )
        self.producer.done = succeed(None)
        reading = Reading(self.producer)
        self.producer.consumer.unregisterProducer()
        reading.readAll()
        self.assertTrue(reading.ended)

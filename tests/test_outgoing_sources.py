# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests for L{amp_stream._outgoing}: the sources of streams."""

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
from tests.simulation import exploration


class Oops(Exception):
    """The exception of a failing source."""


class Reading:
    """A source that was started, and the bytes read from it."""

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
        Read until the source has nothing now, or has ended.

        @return: The bytes read so far.
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
    """Tests that read sources."""

    def assertReads(self, value, expected, size):
        """Check the bytes of a source, in any pieces."""
        reading = Reading(value)
        self.assertEqual(reading.source.size, size)
        self.assertEqual(reading.readAll(), expected)
        self.assertTrue(reading.ended)

    def path(self, content=VALUE):
        """Make a file with some content."""
        path = FilePath(self.mktemp())
        path.setContent(content)
        return path


class BytesTests(SourceTestCase):
    """Values in memory as sources."""

    def test_bytesLike(self):
        """
        C{bytes}, C{bytearray} and C{memoryview} are sent as they are, with
        their size.
        """
        for kind in (bytes, bytearray, memoryview):
            self.assertReads(kind(VALUE), VALUE, len(VALUE))
            self.assertReads(kind(b""), b"", 0)

    def test_parts(self):
        """
        A read returns at most the bytes that were asked for, and only the
        last one ends.
        """
        source = asSource(b"abcde")
        reads = [source.read(2), source.read(2), source.read(2)]
        self.assertEqual(reads, [(b"ab", False), (b"cd", False), (b"e", True)])

    def test_otherItems(self):
        """
        A buffer of items larger than bytes is sent as its bytes, whether an array, of
        several dimensions, or empty.
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
        """A strided view is sent without the bytes that it skips."""
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
    """Files as sources."""

    def test_filePath(self):
        """A C{FilePath} is opened, announced with its size, read and closed."""
        self.assertReads(self.path(), VALUE, len(VALUE))

    def test_noSuchFile(self):
        """A C{FilePath} that cannot be opened raises the error of C{open}."""
        with self.assertRaises(FileNotFoundError):
            asSource(FilePath(self.mktemp()))
        path = FilePath(self.mktemp())
        path.makedirs()
        with self.assertRaises(IsADirectoryError):
            asSource(path)

    def test_fromWhereItStands(self):
        """An open file is sent from its current position, buffered or not."""
        path = self.path()
        for buffering in (-1, 0):
            with open(path.path, "rb", buffering=buffering) as file:
                file.seek(1000)
                self.assertReads(file, VALUE[1000:], len(VALUE) - 1000)
                self.assertTrue(file.closed)

    def test_beyondItsEnd(self):
        """A file whose position is behind its end makes an empty stream."""
        with open(self.path(b"abc").path, "rb") as file:
            file.seek(10)
            self.assertReads(file, b"", 0)
        file = io.BytesIO(b"abc")
        file.seek(10)
        self.assertReads(file, b"", 0)

    def test_random(self):
        """A file that is open for reading and writing is sent."""
        with tempfile.TemporaryFile(dir=".") as file:
            file.write(VALUE)
            file.seek(0)
            self.assertReads(file, VALUE, len(VALUE))

    def test_inMemory(self):
        """A C{BytesIO} is sent as a file, and closed once."""
        file = CountingFile(VALUE)
        file.seek(3)
        self.assertReads(file, VALUE[3:], len(VALUE) - 3)
        self.assertEqual(file.closings, 1)

    def test_empty(self):
        """
        An empty file makes an empty stream of unknown size, as it may be a system file
        that has bytes nevertheless.
        """
        self.assertReads(self.path(b""), b"", None)

    @skipUnless(os.path.exists("/proc/self/status"), "there is no /proc")
    def test_proc(self):
        """A file in /proc, which reports size 0, is sent whole."""
        reading = Reading(FilePath("/proc/self/status"))
        self.assertIsNone(reading.source.size)
        self.assertIn(b"Name:", reading.readAll())

    def test_pipe(self):
        """A pipe, which has no size and cannot seek, is read to its end."""
        readEnd, writeEnd = os.pipe()
        os.write(writeEnd, b"abc")
        os.close(writeEnd)
        with open(readEnd, "rb") as file:
            self.assertReads(file, b"abc", None)

    def test_shortReads(self):
        """A file may return fewer bytes than it was asked for."""

        class Slow(io.FileIO):
            def read(self, size=-1):
                return super().read(min(size, 1000))

        self.assertReads(Slow(self.path().path), VALUE, len(VALUE))

    def test_growing(self):
        """Bytes that are added to a file after its start are not sent."""
        path = self.path()
        reading = Reading(path)
        with path.open("a") as file:
            file.write(b"more")
        self.assertEqual(reading.readAll(), VALUE)

    def test_shrinking(self):
        """A file that has become shorter fails instead of sending a shorter value."""
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
        """A compressed file is sent whole, not cut at its size on the disk."""
        path = FilePath(self.mktemp())
        with gzip.open(path.path, "wb") as file:
            file.write(VALUE)
        self.assertLess(path.getsize(), len(VALUE))
        with gzip.open(path.path, "rb") as file:
            self.assertReads(file, VALUE, None)
        with gzip.open(path.path, "rb") as file:
            self.assertReads(io.BufferedReader(file), VALUE, None)

    def test_mapped(self):
        """A C{mmap} is sent as a file, and closed."""
        with self.path().open("r") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.assertReads(mapped, VALUE, None)
        self.assertTrue(mapped.closed)

    def test_ownFile(self):
        """An object with C{read} and C{close} is sent as a file."""

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
        """
        Text and text files are refused at once with an error that says
        what to do.
        """
        with open(self.path(b"abc").path) as file:
            for value in ("abc", io.StringIO("abc"), file):
                with self.assertRaises(UsageError) as caught:
                    asSource(value)
                self.assertIn("bytes", str(caught.exception))

    def test_hiddenText(self):
        """A text file that looks binary is refused when it is read."""
        reading = Reading(codecs.getreader("ascii")(io.BytesIO(b"abc")))
        with self.assertRaises(UsageError) as caught:
            reading.readAll()
        self.assertIn("gave str", str(caught.exception))

    def test_notBlocking(self):
        """A non-blocking file that has nothing now is an error, not an end."""
        readEnd, writeEnd = os.pipe()
        self.addCleanup(os.close, writeEnd)
        os.set_blocking(readEnd, False)
        with open(readEnd, "rb", buffering=0) as file:
            reading = Reading(file)
            with self.assertRaises(UsageError) as caught:
                reading.readAll()
        self.assertIn("blocking", str(caught.exception))

    def test_tooMuch(self):
        """A file that returns more bytes than it was asked for is an error."""

        class Greedy:
            def read(self, size):
                return b"x" * (size + 1)

        with self.assertRaises(UsageError):
            Reading(Greedy()).readOne()


class OtherTests(SourceTestCase):
    """Values that are not sources."""

    def test_refused(self):
        """
        An object that is not a source is refused with an error that
        names its type.
        """
        for value in (None, 5, object(), len):
            with self.assertRaises(UsageError) as caught:
                asSource(value)
            self.assertIn(type(value).__name__, str(caught.exception))

    def test_later(self):
        """
        Deferreds, also fired ones, and coroutines are refused with an error that says
        to await them.
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
    """Iterables as sources."""

    def test_anyPieces(self):
        """
        Pieces of any size and bytes-like type are joined to chunks of the
        largest size.
        """
        for size in (11, 2048, 65_535, 65_536, 200_000):
            for kind in (bytes, bytearray, memoryview):
                reading = Reading(kind(piece) for piece in pieces(VALUE, size))
                self.assertIsNone(reading.source.size)
                reading.readOne()
                self.assertEqual(len(reading.data), 65_535)
                self.assertEqual(reading.readAll(), VALUE)

    def test_otherItems(self):
        """A piece that is a view of larger items counts as its bytes."""
        numbers = memoryview(array("I", [1, 2, 3]))
        expected = array("I", [1, 2, 3, 1, 3]).tobytes()
        self.assertReads([numbers, numbers[::2]], expected, None)

    def test_kinds(self):
        """Lists, tuples, iterators and dictionaries of bytes are sent."""
        for value in (
            [b"a", b"b"],
            (b"a", b"b"),
            iter([b"a", b"b"]),
            {b"a": 1, b"b": 2},
        ):
            self.assertReads(value, b"ab", None)

    def test_empty(self):
        """An iterable without pieces, or with empty ones, makes an empty stream."""
        for value in ([], [b""], [b"", b"", b""]):
            self.assertReads(value, b"", None)

    def test_many(self):
        """An iterable of a hundred thousand pieces is read without deep recursion."""
        self.assertReads([b"abc"] * 100_000, b"abc" * 100_000, None)

    def test_onDemand(self):
        """An iterable is asked for no more pieces than a read needs."""
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
        """A piece that is not bytes is an error that names its type."""
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
    """Async iterables as sources."""

    def setUp(self):
        self.gates = []
        self.cancelled = []
        self.made = 0
        self.closed = 0

    def gate(self):
        """@return: A Deferred that the generator waits for."""
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

    @exploration
    def test_synchronous(self):
        """
        A hundred thousand pieces that are ready at once are read without a wait or deep
        recursion.
        """

        async def generate():
            for _ in range(100_000):
                yield b"abc"

        self.assertReads(generate(), b"abc" * 100_000, None)

    def test_empty(self):
        """
        An async iterable without pieces, or with empty ones, makes an
        empty stream.
        """

        async def generate(values):
            for value in values:
                yield value

        for values in ([], [b""], [b"", b""]):
            self.assertReads(generate(values), b"", None)

    def test_oneByOne(self):
        """
        An async iterable is asked for its first piece by the first read, and the reader
        is told when the piece is there.
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
        """A late end is announced to the reader like a piece."""

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
        A reader that reads at each announcement gets every piece, without deep
        recursion.
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
        """An exception raised while the reader asks is raised to the reader."""

        async def generate():
            yield b"abc"
            raise Oops

        reading = Reading(generate())
        with self.assertRaises(Oops):
            reading.readAll()
        self.assertEqual(reading.failures, [])

    def test_failsLater(self):
        """An exception raised later is announced, at once and once."""
        reading = Reading(self.generate(3))
        reading.readOne()
        self.gates[0].errback(Oops())
        self.assertEqual([failure.type for failure in reading.failures], [Oops])
        self.assertEqual(reading.ready, 0)
        with self.assertRaises(Oops):
            reading.readOne()

    def test_notBytes(self):
        """
        A late piece of an async iterable that is not bytes is announced
        as an error.
        """
        reading = Reading(self.generate(1))
        reading.readOne()
        self.gates[0].callback("text")
        self.assertEqual([failure.type for failure in reading.failures], [UsageError])

    def test_closedMidPiece(self):
        """
        Closing a source cancels the piece in progress and closes the generator, without
        telling the reader.
        """
        reading = Reading(self.generate(3))
        reading.readOne()
        reading.source.close()
        self.assertEqual(self.cancelled, self.gates)
        self.assertEqual((self.closed, self.made), (1, 1))
        self.assertEqual((reading.ready, reading.failures), (0, []))

    def test_closedBetweenPieces(self):
        """Closing a source closes a generator that waits between two pieces."""

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
        """Closing a source that was not read closes its generator silently."""
        # Garbage of other tests would be logged here as well.
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
        A generator that ignores its cancellation is closed after its piece, which
        is dropped.
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
        A generator that ends its own stream is closed as soon as its current
        piece is made.
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
        """An exception of a generator's closing is logged."""

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
        """An iterator without C{aclose} is not closed."""

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
    """Body producers as sources."""

    def setUp(self):
        self.producer = TestProducer()
        self.producer.done = Deferred()

    def test_fileBodyProducer(self):
        """
        Twisted's C{FileBodyProducer} is sent whole, with its length, and paused while
        it is not read.
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
        """The length of a producer, if known, is the size of the stream."""
        self.assertIsNone(asSource(self.producer).size)
        self.assertEqual(asSource(TestProducer(length=0)).size, 0)

    def test_writes(self):
        """Each write of a producer, and its end, is announced to the reader."""
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
        """A producer may write everything and end inside C{startProducing}."""
        self.producer.onStart = lambda: self.producer.consumer.write(VALUE)
        self.producer.done = succeed(None)
        self.assertReads(self.producer, VALUE, None)
        self.assertNotIn("stop", self.producer.calls)

    def test_empty(self):
        """A producer that writes nothing makes an empty stream."""
        self.producer.done = succeed(None)
        self.assertReads(self.producer, b"", None)

    def test_pauses(self):
        """
        A producer is paused while it is not read, and resumed when most of its
        bytes are gone.
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
        A producer may write and end inside C{resumeProducing}; its bytes follow the
        earlier ones.
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
        """A producer that has ended while paused is not resumed."""
        reading = Reading(self.producer)
        self.producer.consumer.write(VALUE)
        self.producer.done.callback(None)
        self.assertEqual(reading.readAll(), VALUE)
        self.assertEqual(self.producer.calls, ["start", "pause"])

    def test_fails(self):
        """
        A producer's failure, at once or later, is raised to the reader, and the
        producer is not stopped.
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
        A producer that has not ended is stopped once, and its later calls
        are ignored.
        """
        reading = Reading(self.producer)
        self.producer.consumer.write(b"abc")
        reading.source.close()
        self.assertEqual(self.producer.calls, ["start", "stop"])
        self.producer.consumer.write(b"abc")
        self.producer.done.callback(None)
        self.assertEqual((reading.ready, reading.failures), (1, []))

    def test_failsAfterItWasStopped(self):
        """A producer's failure after it was stopped is ignored."""
        reading = Reading(self.producer)
        reading.source.close()
        self.producer.done.errback(Oops())
        self.assertEqual(reading.failures, [])

    def test_stoppedAtAWrite(self):
        """A producer that is stopped during a write is not paused as well."""
        reading = Reading(self.producer)
        reading.source.start(reading.source.close, reading.failures.append)
        self.producer.consumer.write(VALUE)
        self.assertNotIn("pause", self.producer.calls)

    def test_neverStarted(self):
        """A producer that never started is not stopped, as it may be used again."""
        asSource(self.producer).close()
        self.assertEqual(self.producer.calls, [])

    def test_startFails(self):
        """
        C{startProducing}'s exception is raised to the caller, and the producer is
        not stopped.
        """

        def fails():
            raise Oops

        self.producer.onStart = fails
        source = asSource(self.producer)
        with self.assertRaises(Oops):
            source.start(None, None)
        source.close()
        self.assertEqual(self.producer.calls, ["start"])

    def test_notBytes(self):
        """A producer that writes anything but bytes fails the stream."""
        reading = Reading(self.producer)
        self.producer.consumer.write("text")
        self.assertEqual([failure.type for failure in reading.failures], [UsageError])

    def test_registers(self):
        """A producer may register with its consumer, although it need not."""
        self.producer.onStart = lambda: self.producer.consumer.registerProducer(
            self.producer, True
        )
        self.producer.done = succeed(None)
        reading = Reading(self.producer)
        self.producer.consumer.unregisterProducer()
        reading.readAll()
        self.assertTrue(reading.ended)

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests for L{amp_stream.files._threads}."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IConsumer
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer
from zope.interface.verify import verifyObject

from amp_stream.files._threads import ThreadedSource, dedicatedThread, writeInThread


class Threads:
    """Threads that work when they are told to."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def __call__(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Remember a call."""
        result: Deferred[Any] = Deferred()

        def call() -> None:
            try:
                outcome = function(*args)
            except Exception:
                result.errback(Failure())
            else:
                result.callback(outcome)

        self.calls.append(call)
        return result

    def work(self) -> None:
        """Make the calls that are waiting, but not those that follow from them."""
        calls, self.calls = self.calls, []
        for call in calls:
            call()


@implementer(IConsumer)
class Consumer:
    """A consumer that remembers."""

    def __init__(self) -> None:
        self.data: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Keep the bytes for the test."""
        self.data.append(data)

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """Not called."""

    def unregisterProducer(self) -> None:
        """Not called."""


class SourceTests(SynchronousTestCase):
    """L{ThreadedSource}"""

    def setUp(self) -> None:
        """Make threads that the test runs, and a consumer."""
        self.threads = Threads()
        self.pieces: list[bytes] = []
        self.consumer = Consumer()
        self.left: list[bytes] = []

    def read(self, size: int) -> bytes:
        """Read the file."""
        return self.pieces.pop(0) if self.pieces else b""

    def source(self, size: int | None = None) -> ThreadedSource:
        """Make a source of a file of three pieces."""
        self.pieces = [b"a", b"bb", b"ccc"]
        source = ThreadedSource(self.read, size, self.threads)
        source.onWrite = self.left.append
        return source

    def test_interface(self) -> None:
        """A source is an IBodyProducer with the length that it was given."""
        self.assertTrue(verifyObject(IBodyProducer, self.source()))
        self.assertEqual(self.source(6).length, 6)
        self.assertEqual(self.source().length, UNKNOWN_LENGTH)

    def test_toTheEnd(self) -> None:
        """
        A source of unknown size delivers and reports all pieces in order, and its
        Deferred fires when a read finds the end of the file.
        """
        self.assertReadsAll(None, 4)

    def test_toItsSize(self) -> None:
        """
        A source of known size delivers and reports all pieces in order, and its
        Deferred fires with the last of them, without a further read.
        """
        self.assertReadsAll(6, 3)

    def assertReadsAll(self, size: int | None, reads: int) -> None:
        """
        Read a source to its end.

        @param reads: How many reads it takes.
        """
        done = self.source(size).startProducing(self.consumer)
        for _ in range(reads):
            self.assertNoResult(done)
            self.threads.work()
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(self.consumer.data, [b"a", b"bb", b"ccc"])
        self.assertEqual(self.left, self.consumer.data)

    def test_onRead(self) -> None:
        """onRead is called with each piece, in the thread that has read it."""
        seen: list[bytes] = []
        source = self.source()
        source.onRead = seen.append
        source.startProducing(self.consumer)
        self.assertEqual(seen, [])
        self.threads.work()
        self.assertEqual(seen, [b"a"])

    def test_paused(self) -> None:
        """A paused source reads one piece ahead and writes none."""
        source = self.source()
        source.startProducing(self.consumer)
        source.pauseProducing()
        for _ in range(3):
            self.threads.work()
        self.assertEqual((self.consumer.data, self.pieces), ([], [b"bb", b"ccc"]))
        source.resumeProducing()
        self.assertEqual(self.consumer.data, [b"a"])
        source.pauseProducing()
        source.resumeProducing()
        self.threads.work()
        self.assertEqual(self.consumer.data, [b"a", b"bb"])

    def test_stopped(self) -> None:
        """
        A source that was stopped neither writes nor fires, whether a thread still
        reads bytes or finds the end.
        """
        for pieces in ([b"a"], []):
            source = self.source()
            self.pieces[:] = pieces
            done = source.startProducing(self.consumer)
            source.stopProducing()
            self.threads.work()
            self.assertNoResult(done)
        self.assertEqual((self.consumer.data, self.threads.calls), ([], []))

    def test_stoppedByItsConsumer(self) -> None:
        """A consumer may stop the source in the middle of a write."""
        source = self.source()
        self.consumer.write = lambda data: source.stopProducing()  # type: ignore[method-assign]
        source.startProducing(self.consumer)
        self.threads.work()
        self.assertEqual(self.threads.calls, [])

    def test_fails(self) -> None:
        """An error of the file fails the Deferred of a source that was not stopped."""

        def broken(size: int) -> bytes:
            raise OSError("broken")

        source = ThreadedSource(broken, None, self.threads)
        done = source.startProducing(self.consumer)
        self.threads.work()
        self.failureResultOf(done, OSError)
        source = ThreadedSource(broken, None, self.threads)
        done = source.startProducing(self.consumer)
        source.stopProducing()
        self.threads.work()
        self.assertNoResult(done)

    def test_closes(self) -> None:
        """
        A source closes its file once and in a thread: at its end, after an error, and
        when it is stopped, even before it was started.
        """
        closed: list[str] = []

        def broken(size: int) -> bytes:
            raise OSError("broken")

        def source(read: Callable[[int], bytes], name: str) -> ThreadedSource:
            return ThreadedSource(
                read, None, self.threads, close=lambda: closed.append(name)
            )

        def work() -> None:
            while self.threads.calls:
                self.threads.work()

        self.pieces = [b"a"]
        source(self.read, "at the end").startProducing(self.consumer)
        work()
        failing = source(broken, "after an error").startProducing(self.consumer)
        work()
        self.failureResultOf(failing, OSError)
        unwanted = source(self.read, "unwanted")
        unwanted.startProducing(self.consumer)
        unwanted.stopProducing()
        work()
        unbegun = source(self.read, "unbegun")
        unbegun.stopProducing()
        self.assertNotIn("unbegun", closed)
        work()
        unbegun.stopProducing()
        work()
        self.assertEqual(
            closed, ["at the end", "after an error", "unwanted", "unbegun"]
        )

    def test_tooShort(self) -> None:
        """A file that ends before its announced size fails the Deferred."""
        done = self.source(7).startProducing(self.consumer)
        for _ in range(4):
            self.threads.work()
        failure = self.failureResultOf(done, OSError)
        self.assertIn("1 bytes too early", str(failure.value))


class WriteTests(SynchronousTestCase):
    """L{writeInThread}"""

    def setUp(self) -> None:
        """Make a stream that the test feeds."""
        self.threads = Threads()
        self.asked: Deferred[bytes | None] | None = None
        self.written: list[bytes] = []

    async def stream(self) -> AsyncIterator[bytes]:
        """Give what the test feeds."""
        while True:
            self.asked = Deferred()
            data = await self.asked
            if data is None:
                return
            yield data

    def feed(self, data: bytes | None) -> None:
        """Give the stream its next piece, or its end."""
        assert self.asked is not None
        asked, self.asked = self.asked, None
        asked.callback(data)

    def begin(self, write: Callable[[bytes], object] | None = None) -> Deferred[None]:
        """Begin to write the stream."""
        return ensureDeferred(
            writeInThread(self.stream(), write or self.written.append, self.threads)
        )

    def test_gathers(self) -> None:
        """The pieces that arrive while a thread writes are written together."""
        writing = self.begin()
        for data in (b"a", b"b", b"c"):
            self.feed(data)
        self.threads.work()
        self.assertEqual(self.written, [b"a"])
        self.threads.work()
        self.assertEqual(self.written, [b"a", b"bc"])
        self.feed(b"d")
        self.feed(None)
        self.assertNoResult(writing)
        self.threads.work()
        self.assertIsNone(self.successResultOf(writing))
        self.assertEqual(self.written, [b"a", b"bc", b"d"])

    def test_empty(self) -> None:
        """A stream without bytes makes no call in a thread."""
        writing = self.begin()
        self.feed(None)
        self.assertIsNone(self.successResultOf(writing))

    def test_backPressure(self) -> None:
        """
        Once 512 KiB wait for the thread, no more is taken from the stream until it
        has written.
        """
        writing = self.begin()
        self.feed(b"a")
        count = 0
        while self.asked is not None:
            self.feed(bytes(65_536))
            count += 1
        self.assertEqual(count * 65_536, 524_288)
        self.threads.work()
        self.assertIsNotNone(self.asked)
        self.feed(None)
        self.threads.work()
        self.assertIsNone(self.successResultOf(writing))
        self.assertEqual(sum(map(len, self.written)), 1 + count * 65_536)

    def test_fails(self) -> None:
        """
        An error of a write is raised at the next piece, at the end, or at once
        if the writer waits for the thread.
        """

        def broken(data: bytes) -> None:
            raise OSError("broken")

        writing = self.begin(broken)
        self.feed(b"a")
        self.threads.work()
        self.feed(b"b")
        self.failureResultOf(writing, OSError)

        writing = self.begin(broken)
        self.feed(b"a")
        self.feed(None)
        self.threads.work()
        self.failureResultOf(writing, OSError)

        writing = self.begin(broken)
        self.feed(b"a")
        self.threads.work()
        self.feed(None)
        self.failureResultOf(writing, OSError)

        writing = self.begin(broken)
        self.feed(b"a")
        self.feed(bytes(1_000_000))
        self.threads.work()
        self.failureResultOf(writing, OSError)
        self.assertEqual(self.threads.calls, [])


class DedicatedThreadTests(TestCase):
    """L{dedicatedThread}"""

    timeout = 30

    def test_oneThread(self) -> Deferred[None]:
        """
        A dedicated thread makes its calls one after the other, does not keep the
        process from ending, and delivers results and errors.
        """

        async def test() -> None:
            inThread = dedicatedThread()
            first = await inThread(threading.current_thread)
            second = await inThread(threading.current_thread)
            self.assertIs(first, second)
            self.assertTrue(first.daemon)
            self.assertIsNot(first, threading.current_thread())
            await self.assertFailure(inThread(int, "x"), ValueError)

        return ensureDeferred(test())

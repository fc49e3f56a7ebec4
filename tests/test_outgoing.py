# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests for L{amp_stream._outgoing}: the sender's view, over a connection in memory."""

from __future__ import annotations

import gc
import hashlib
import io
import os

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.python.filepath import FilePath

from amp_stream import Limits
from amp_stream._outgoing import Announcement, asSource
from amp_stream.errors import (
    CallFailed,
    SourceFailed,
    StreamAborted,
    StreamCancelled,
    StreamRefused,
    UsageError,
)
from tests.commands import Store, Swap
from tests.pairs import VALUE, PausingConsumer, StreamTestCase, TestProducer, pieces

WINDOW = Limits().initialWindow
"""
How much of a stream may be sent to a peer that takes nothing of it (bytes).
"""


class Oops(Exception):
    """The exception of a failing source."""


class CountingFile(io.BytesIO):
    """A file that counts how often it is closed."""

    closings = 0

    def close(self):
        self.closings += 1
        super().close()


class Recorder:
    """A generator of pieces that notes that it was closed."""

    def __init__(self, count=1000):
        self.count = count
        self.closings = 0

    def __iter__(self):
        try:
            for _ in range(self.count):
                yield bytes(1000)
        finally:
            self.closings += 1

    async def __aiter__(self):
        try:
            for _ in range(self.count):
                yield bytes(1000)
        finally:
            self.closings += 1


class SendingTests(StreamTestCase):
    """Streams that arrive."""

    def chunks(self):
        """
        Let everything be sent.

        @return: The boxes of the chunks.
        """
        boxes = self.pair.sent(self.pair.client)
        while self.pair.step():
            boxes += self.pair.sent(self.pair.client)
        return [box for box in boxes if b"data" in box]

    def test_everyKind(self):
        """
        The value of every kind of source arrives, and C{done} fires
        with its size.
        """
        path = FilePath(self.mktemp())
        path.setContent(VALUE)
        producer = TestProducer()
        producer.done = Deferred()
        producer.onStart = lambda: producer.consumer.write(VALUE)
        producer.onResume = lambda: producer.done.callback(None)

        async def generate():
            for piece in pieces(VALUE, 10_000):
                yield piece

        for source in (
            VALUE,
            bytearray(VALUE),
            path,
            path.open(),
            pieces(VALUE, 7),
            generate(),
            producer,
        ):
            self.assertEqual(self.transfer(source), VALUE)

    def test_emptyOfEveryKind(self):
        """An empty source of every kind makes an empty stream."""
        path = FilePath(self.mktemp())
        path.setContent(b"")
        producer = TestProducer(length=0)
        producer.done = succeed(None)

        async def generate():
            for piece in ():
                yield piece

        for source in (b"", bytearray(), path, [], [b""], generate(), producer):
            self.assertEqual(self.transfer(source), b"")

    def test_attributes(self):
        """
        A stream's C{id}, C{size}, C{sent} and C{repr} tell its number, its size if
        known, and the bytes sent.
        """
        first, _ = self.send(VALUE)
        second, _ = self.send(iter([VALUE]))
        self.assertNotEqual(first.id, second.id)
        self.assertEqual((first.size, second.size), (len(VALUE), None))
        self.pair.flush()
        self.assertEqual(first.sent, len(VALUE))
        self.assertEqual(
            repr(first), f"<OutgoingStream {first.id}: 251000 of 251000 bytes>"
        )
        self.assertEqual(
            repr(second), f"<OutgoingStream {second.id}: 251000 of ? bytes>"
        )

    def test_doneBeforeItIsRead(self):
        """
        C{done} fires when the peer has every byte, whether or not they were
        taken there.
        """
        sending, receiving = self.send(VALUE)
        self.pair.flush()
        self.assertEqual(self.successResultOf(sending.done), len(VALUE))
        self.assertEqual(self.successResultOf(receiving.collect()), VALUE)

    def test_fileClosed(self):
        """A file is closed, once, when its last byte has been sent."""
        file = CountingFile(VALUE)
        self.transfer(file)
        self.assertEqual(file.closings, 1)

    def test_generatorClosed(self):
        """A generator is closed, once, when it has given its last piece."""
        source = Recorder(3)
        self.transfer(iter(source))
        self.assertEqual(source.closings, 1)
        self.transfer(source.__aiter__())
        self.assertEqual(source.closings, 2)

    def test_window(self):
        """
        The sender reads and sends the window, not a byte more, in chunks that are
        not empty.
        """
        file = io.BytesIO(bytes(2_000_000))
        sending, receiving = self.send(file)
        self.pair.flush()
        self.assertEqual((sending.sent, file.tell()), (WINDOW, WINDOW))
        self.assertFalse(sending.done.called)
        receiving.collect()
        self.pair.flush()
        self.assertEqual(self.successResultOf(sending.done), 2_000_000)

    def test_eagerProducer(self):
        """
        A producer that writes and ends as soon as it is resumed causes no empty chunk,
        and nothing beyond the window.
        """
        producer = TestProducer()
        producer.done = Deferred()
        producer.onStart = lambda: producer.consumer.write(bytes(WINDOW - 1))

        def resumed():
            if producer.calls.count("resume") == 1:
                producer.consumer.write(bytes(200_000))
            else:
                producer.done.callback(None)

        producer.onResume = resumed
        sending, receiving = self.send(producer)
        sizes = [len(box[b"data"]) for box in self.chunks()]
        self.assertEqual(sum(sizes), sending.sent)
        self.assertEqual(sending.sent, WINDOW)
        self.assertNotIn(0, sizes)
        consumer = PausingConsumer()
        written = receiving.writeTo(consumer)
        while consumer.producer is not None:
            consumer.resume()
            self.pair.flush()
        self.assertEqual(self.successResultOf(written), WINDOW + 199_999)
        self.assertEqual(self.successResultOf(sending.done), WINDOW + 199_999)

    def test_slowProducer(self):
        """
        A stream whose producer has nothing to write waits, and other streams go on
        meanwhile.
        """
        producer = TestProducer()
        producer.done = Deferred()
        sending, receiving = self.send(producer)
        collected = receiving.collect()
        self.pair.flush()
        self.assertEqual(self.transfer(VALUE), VALUE)
        producer.consumer.write(b"abc")
        self.pair.flush()
        self.assertEqual(sending.sent, 3)
        producer.done.callback(None)
        self.pair.flush()
        self.assertEqual(self.successResultOf(collected), b"abc")

    def test_digest(self):
        """
        With a digest, the first chunk announces it, and the last carries the SHA-256 of
        the whole.
        """
        self.pair.client.streams.send(VALUE, digest=True)
        digests = [box.get(b"sha256") for box in self.chunks()]
        self.assertEqual(digests[0], b"")
        self.assertEqual(digests[-1], hashlib.sha256(VALUE).digest())
        self.assertEqual(set(digests[1:-1]), {None})

    def test_digestOfNothing(self):
        """An empty stream carries the digest of no bytes."""
        self.pair.client.streams.send(b"", digest=True)
        (box,) = self.pair.sent(self.pair.client)
        self.assertEqual(box[b"sha256"], hashlib.sha256(b"").digest())


class FailingSourceTests(StreamTestCase):
    """Sources that fail."""

    def broken(self):
        """A generator that raises an exception."""
        yield VALUE
        raise Oops("no more")

    def test_raises(self):
        """
        A source's exception is the cause of L{SourceFailed} at the sender; the receiver
        fails with L{SourceFailed} and gets no truncated value.
        """
        error = self.fails(self.broken(), SourceFailed)
        self.assertIsInstance(error.__cause__, Oops)
        self.assertIn("no more", str(error))

    def test_raisesAsynchronously(self):
        """
        An async iterable's exception, at once or later, fails the stream with
        L{SourceFailed}.
        """
        gate = Deferred()

        async def late():
            yield VALUE
            await gate

        async def atOnce():
            raise Oops
            yield b""

        self.assertIsInstance(self.fails(atOnce(), SourceFailed).__cause__, Oops)
        sending, receiving = self.send(late())
        collected = receiving.collect()
        self.pair.flush()
        gate.errback(Oops())
        self.pair.flush()
        self.failureResultOf(collected, SourceFailed)
        error = self.failureResultOf(sending.done, SourceFailed).value
        self.assertIsInstance(error.__cause__, Oops)

    def test_notBytes(self):
        """A piece that is not bytes fails the stream with L{SourceFailed}."""
        error = self.fails([b"abc", "text"], SourceFailed)
        self.assertIsInstance(error.__cause__, UsageError)

    def test_producerFails(self):
        """
        A producer's failure, at once or later, fails the stream with
        L{SourceFailed}.
        """
        producer = TestProducer()
        producer.done = fail(Failure(Oops()))
        self.assertIsInstance(self.fails(producer, SourceFailed).__cause__, Oops)
        producer.done = Deferred()
        sending, receiving = self.send(producer)
        collected = receiving.collect()
        producer.consumer.write(b"abc")
        self.pair.flush()
        producer.done.errback(Oops())
        self.pair.flush()
        self.failureResultOf(collected, SourceFailed)
        self.failureResultOf(sending.done, SourceFailed)

    def test_startProducingRaises(self):
        """
        A producer whose C{startProducing} raises, or returns no Deferred, fails its
        stream; in the second case it is stopped.
        """
        producer = TestProducer()
        producer.onStart = lambda: 1 / 0
        error = self.fails(producer, SourceFailed)
        self.assertIsInstance(error.__cause__, ZeroDivisionError)
        self.assertEqual(producer.calls, ["start"])
        producer = TestProducer()
        self.fails(producer, SourceFailed)
        self.assertEqual(producer.calls, ["start", "stop"])

    def test_startProducingRaisesInACall(self):
        """
        A producer whose C{startProducing} raises fails the call that it is an
        argument of.
        """
        producer = TestProducer()
        producer.onStart = lambda: 1 / 0
        failures = []
        result = self.pair.client.callRemote(Store, name="x", body=producer)
        result.addErrback(failures.append)
        self.pair.flush()
        failures[0].trap(SourceFailed)
        self.assertIsInstance(failures[0].value.__cause__, ZeroDivisionError)

    def test_resumeProducingRaises(self):
        """
        A producer whose C{resumeProducing} raises fails its stream, and
        is stopped.
        """
        producer = TestProducer()
        producer.done = Deferred()
        producer.onStart = lambda: producer.consumer.write(VALUE)
        producer.onResume = lambda: 1 / 0
        self.fails(producer, SourceFailed)
        self.assertEqual(producer.calls, ["start", "pause", "resume", "stop"])

    def test_producerWritesText(self):
        """
        A producer that writes text is stopped and its stream fails, even if it goes on
        to write bytes.
        """
        producer = TestProducer()
        producer.done = Deferred()

        def started():
            for data in (b"abc", "text", b"def"):
                producer.consumer.write(data)

        producer.onStart = started
        self.fails(producer, SourceFailed)
        self.assertEqual(producer.calls, ["start", "stop"])

    def test_otherSize(self):
        """A source with more or fewer bytes than its stated size fails."""
        for source, size in (([b"abc"], 2), ([b"abc"], 4), (b"abc", 2), (b"", 1)):
            error = self.fails(source, SourceFailed, size=size)
            self.assertIn(f"{size} bytes", str(error))
        for length in (2, 4):
            producer = TestProducer(length=length)
            producer.done = succeed(None)
            producer.onStart = lambda producer=producer: producer.consumer.write(b"abc")
            self.fails(producer, SourceFailed)

    def test_thatSize(self):
        """A source with exactly its stated size is sent."""
        self.assertEqual(self.transfer([b"abc"], size=3), b"abc")

    def test_shrinkingFile(self):
        """A file that becomes shorter while it is sent fails the stream."""
        path = FilePath(self.mktemp())
        path.setContent(bytes(1_000_000))
        sending, receiving = self.send(path)
        self.pair.step()
        os.truncate(path.path, 100_000)
        collected = receiving.collect()
        self.pair.flush()
        self.failureResultOf(collected, SourceFailed)
        error = self.failureResultOf(sending.done, SourceFailed).value
        self.assertIsInstance(error.__cause__, EOFError)

    def test_closeFails(self):
        """
        An exception from a source's C{close} is logged; the stream's outcome and the
        connection are not affected.
        """

        class Stubborn(io.BytesIO):
            def close(self):
                raise Oops

        self.assertEqual(self.transfer(Stubborn(VALUE)), VALUE)
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)
        sending, _ = self.send(Stubborn(VALUE))
        sending.abort()
        self.failureResultOf(sending.done, StreamAborted)
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)


class EndingTests(StreamTestCase):
    """Streams that end early."""

    def test_abort(self):
        """
        C{abort} stops the stream at both ends with its code, the package's or the
        application's, and closes the source once.
        """
        for code, error in (
            (b"STREAM_ABORTED", StreamAborted),
            (b"STREAM_REFUSED", StreamRefused),
            (b"MY_OWN", StreamAborted),
        ):
            file = CountingFile(bytes(1_000_000))
            sending, receiving = self.send(file)
            collected = receiving.collect()
            self.pair.step()
            sending.abort(code)
            self.assertEqual(file.closings, 1)
            self.assertEqual(self.failureResultOf(sending.done, error).value.code, code)
            self.pair.flush()
            self.assertEqual(self.failureResultOf(collected, error).value.code, code)
            sending.abort()
            self.assertEqual(file.closings, 1)

    def test_abortTooLate(self):
        """C{abort} has no effect when the peer has every byte."""
        sending, receiving = self.send(VALUE)
        self.pair.flush()
        sending.abort()
        self.assertEqual(self.successResultOf(sending.done), len(VALUE))
        self.assertEqual(self.successResultOf(receiving.collect()), VALUE)

    def test_abortBeforeItIsAcknowledged(self):
        """
        A stream whose last byte is on its way can be aborted until it is
        acknowledged.
        """
        sending, receiving = self.send(b"abc")
        sending.abort()
        self.failureResultOf(sending.done, StreamAborted)
        self.pair.flush()
        self.failureResultOf(receiving.collect(), StreamAborted)

    def test_badCode(self):
        """C{abort} refuses a code that the peer could not read."""
        sending, _ = self.send(VALUE)
        for code in (b"", b"x" * 256, "STREAM_ABORTED"):
            with self.assertRaises(UsageError):
                sending.abort(code)
        sending.abort(b"x" * 255)
        self.failureResultOf(sending.done, StreamAborted)

    def test_cancel(self):
        """
        Cancelling C{done} stops the stream at both ends, and closes the
        source once.
        """
        file = CountingFile(bytes(1_000_000))
        sending, receiving = self.send(file)
        collected = receiving.collect()
        self.pair.step()
        sending.done.cancel()
        self.failureResultOf(sending.done, CancelledError)
        self.assertEqual(file.closings, 1)
        self.pair.flush()
        self.failureResultOf(collected, StreamCancelled)

    def test_peerCancels(self):
        """
        When the peer cancels its consumer, C{done} fails with L{StreamCancelled},
        sending stops, and the source is closed once.
        """
        for kind in (iter, lambda source: source.__aiter__()):
            source = Recorder()
            sending, receiving = self.send(kind(source))
            collected = receiving.collect()
            self.pair.step()
            collected.cancel()
            self.failureResultOf(collected, CancelledError)
            self.pair.flush()
            self.failureResultOf(sending.done, StreamCancelled)
            self.assertEqual(source.closings, 1)
            self.assertLess(sending.sent, 1_000_000)

    def test_connectionLost(self):
        """
        A lost connection fails C{done} with its reason and closes the source once;
        later calls on the stream have no effect.
        """
        file = CountingFile(bytes(1_000_000))
        sending, _ = self.send(file)
        self.pair.step()
        self.pair.lose()
        self.failureResultOf(sending.done, ConnectionDone)
        self.assertEqual(file.closings, 1)
        sending.abort()
        sending.done.cancel()
        self.assertEqual(file.closings, 1)

    def test_connectionLostBefore(self):
        """
        A stream that begins after the connection was lost fails at once, and its source
        is closed.
        """
        self.pair.lose()
        file = CountingFile(VALUE)
        sending = self.pair.client.streams.send(file)
        self.failureResultOf(sending.done, ConnectionDone)
        self.assertEqual(file.closings, 1)

    def test_lateTurn(self):
        """A turn after the end of a stream sends nothing."""
        sending, _ = self.send(VALUE)
        self.pair.flush()
        self.assertFalse(sending.sendChunk())
        self.assertEqual(self.successResultOf(sending.done), len(VALUE))

    def test_lateProducer(self):
        """A producer that goes on after its stream has ended has no effect."""
        producer = TestProducer()
        producer.done = Deferred()
        sending, _ = self.send(producer)
        sending.abort()
        self.failureResultOf(sending.done, StreamAborted)
        producer.consumer.write(b"abc")
        producer.done.callback(None)
        self.assertEqual(self.transfer(VALUE), VALUE)


class FromInsideTests(StreamTestCase):
    """Sources that end their own stream."""

    def assertAborted(self, sending, receiving):
        """Check that the stream was aborted at both ends."""
        collected = receiving.collect()
        self.pair.flush()
        self.failureResultOf(sending.done, StreamAborted)
        self.failureResultOf(collected, StreamAborted)

    def test_generator(self):
        """A generator may abort the stream that it feeds."""
        closed = []

        def generate():
            try:
                yield VALUE
                sending.abort()
                yield VALUE
            finally:
                closed.append(True)

        sending, receiving = self.send(generate())
        self.assertAborted(sending, receiving)
        self.assertEqual(closed, [True])

    def test_asyncGenerator(self):
        """An async generator may abort the stream that it feeds, at once or later."""
        closed = []

        async def generate(gate):
            try:
                yield VALUE
                await gate
                sending.abort()
                yield VALUE
            finally:
                closed.append(True)

        sending, receiving = self.send(generate(succeed(None)))
        self.assertAborted(sending, receiving)
        gate = Deferred()
        sending, receiving = self.send(generate(gate))
        self.pair.flush()
        gate.callback(None)
        self.assertAborted(sending, receiving)
        self.assertEqual(closed, [True, True])

    def test_producer(self):
        """
        A producer may abort its stream while it is resumed, and is stopped
        after it returns.
        """
        producer = TestProducer()
        producer.done = Deferred()
        producer.onStart = lambda: producer.consumer.write(VALUE)

        def resumed():
            sending.abort()
            self.assertNotIn("stop", producer.calls)

        producer.onResume = resumed
        sending, receiving = self.send(producer)
        self.assertAborted(sending, receiving)
        self.assertEqual(producer.calls[-1], "stop")

    def test_closedDuringStart(self):
        """
        A producer whose first bytes are wrong is stopped after it returns from
        C{startProducing}, not before.
        """
        producer = TestProducer(length=2)
        producer.done = Deferred()

        def started():
            producer.consumer.write("text")
            self.assertNotIn("stop", producer.calls)

        producer.onStart = started
        self.fails(producer, SourceFailed)
        self.assertEqual(producer.calls, ["start", "stop"])


class RelayTests(StreamTestCase):
    """Streams whose source is an incoming stream."""

    def relay(self, source):
        """
        Send a stream, and send it back from the server.

        @return: The client's outgoing stream, the server's, and the client's incoming
            one.
        """
        sending, middle = self.send(source)
        back = self.pair.server.streams.send(middle)
        return sending, back, self.pair.client.streams.accept(back.id)

    def test_relay(self):
        """An incoming stream can be sent on, whole."""
        value = VALUE * 20
        for source in (value, b""):
            sending, back, receiving = self.relay(source)
            collected = receiving.collect()
            self.pair.flush()
            self.assertEqual(self.successResultOf(collected), source)
            self.assertEqual(self.successResultOf(sending.done), len(source))
            self.assertEqual(self.successResultOf(back.done), len(source))

    def test_backPressure(self):
        """A relay stops its sender while its receiver takes nothing."""
        sending, back, receiving = self.relay(bytes(5_000_000))
        self.pair.flush()
        self.assertLess(sending.sent, 2 * WINDOW + 200_000)
        self.assertEqual(back.sent, WINDOW)
        receiving.collect()
        self.pair.flush()
        self.assertEqual(self.successResultOf(sending.done), 5_000_000)

    def test_beginningFails(self):
        """When the first stream of a relay fails, so does the second."""
        sending, back, receiving = self.relay(bytes(5_000_000))
        collected = receiving.collect()
        self.pair.step()
        sending.abort()
        self.pair.flush()
        self.failureResultOf(sending.done, StreamAborted)
        self.failureResultOf(back.done, SourceFailed)
        self.failureResultOf(collected, SourceFailed)

    def test_endFails(self):
        """
        When the second stream of a relay fails, while it waits for a piece or between
        two, the first is stopped.
        """
        gate = Deferred()

        async def wait():
            await gate
            yield b""

        for source in (bytes(5_000_000), wait()):
            sending, back, receiving = self.relay(source)
            self.pair.flush()
            receiving.abort()
            self.pair.flush()
            self.failureResultOf(back.done, StreamAborted)
            self.failureResultOf(sending.done, StreamCancelled)

    def test_taken(self):
        """An incoming stream that has a consumer cannot be sent on."""
        _, receiving = self.send(VALUE)
        collected = receiving.collect()
        with self.assertRaises(UsageError):
            self.pair.server.streams.send(receiving)
        self.pair.flush()
        self.assertEqual(self.successResultOf(collected), VALUE)


class AnnouncementTests(StreamTestCase):
    """The announcement that stands for a stream in a box before it is sent."""

    def test_neverSent(self):
        """The source of a stream whose box is never sent is closed once."""
        file = CountingFile(VALUE)
        announcement = Announcement(asSource(file), False, lambda *parts: self.fail())
        announcement.begin()
        announcement.giveUp(CallFailed())
        announcement.giveUp(CallFailed())
        self.assertEqual(file.closings, 1)

    def test_otherValueFails(self):
        """
        When another value of a box cannot be written, the source of its stream
        is closed.
        """
        for other in (FilePath(self.mktemp()), 5):
            file = CountingFile(VALUE)
            call = self.pair.client.callRemote(Swap, left=file, right=other)
            self.failureResultOf(call, SourceFailed, UsageError)
            gc.collect()
            self.assertEqual(file.closings, 1)

    def test_notWritable(self):
        """An announcement can be written only by a connection with streams."""
        with self.assertRaises(UsageError):
            len(Announcement(asSource(VALUE), False, lambda *parts: self.fail()))

    def test_callFails(self):
        """A call that fails stops its stream, and closes the source once."""
        file = CountingFile(bytes(1_000_000))

        def refuse(name, body):
            raise ValueError

        self.pair.server.take = refuse
        failures = []
        result = self.pair.client.callRemote(Store, name="x", body=file)
        result.addErrback(failures.append)
        self.pair.flush()
        self.assertEqual([failure.type for failure in failures], [ValueError])
        self.assertEqual(file.closings, 1)

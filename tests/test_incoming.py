# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Tests for L{amp_stream._incoming}: the receiver's view, over a
connection in memory.
"""

from __future__ import annotations

import gc
import io

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, succeed
from twisted.internet.error import ConnectionDone

from amp_stream import Limits
from amp_stream.errors import (
    CallFailed,
    DigestMismatch,
    StreamAborted,
    StreamCancelled,
    StreamRefused,
    UsageError,
)
from tests.codes import classOf
from tests.commands import Fetch, Store, collect
from tests.pairs import VALUE, PausingConsumer, StreamTestCase
from tests.test_incoming_consumers import Recording

WINDOW = Limits().initialWindow
LONG = bytes(5_000_000)
"""
A value that needs several windows.
"""


class Oops(Exception):
    """The exception of a failing loop."""


class StreamTests(StreamTestCase):
    """Attributes and methods of every incoming stream."""

    def test_attributes(self):
        """
        A stream's C{id}, C{size}, C{received} and C{repr} tell its number, its size
        once known, and the bytes that have arrived.
        """
        sending, receiving = self.send(iter([VALUE]))
        self.assertEqual(receiving.id, sending.id)
        self.assertEqual((receiving.size, receiving.received), (None, 0))
        self.assertEqual(
            repr(receiving), f"<IncomingStream {sending.id}: 0 of ? bytes>"
        )
        self.pair.flush()
        self.assertEqual((receiving.size, receiving.received), (251_000, 251_000))
        self.assertEqual(
            repr(receiving), f"<IncomingStream {sending.id}: 251000 of 251000 bytes>"
        )

    def test_announcedSize(self):
        """A stream announced with its size knows the size before its first byte."""
        sizes = []

        def note(name, body):
            sizes.append(body.size)
            return body.collect().addCallback(lambda value: {"size": len(value)})

        self.pair.server.take = note
        for body in (VALUE, b"", iter([VALUE])):
            result = self.pair.client.callRemote(Store, name="x", body=body)
            self.pair.flush()
            self.successResultOf(result)
        self.assertEqual(sizes, [len(VALUE), 0, None])

    def test_oneConsumer(self):
        """
        A stream has one consumer at a time: another is refused, and the first gets
        every byte.
        """
        for value in (VALUE, LONG):
            sending, receiving = self.send(value)
            collected = receiving.collect()
            if value is VALUE:
                self.pair.flush()
            self.assertRefusesAll(receiving)
            self.pair.flush()
            self.assertEqual(self.successResultOf(collected), value)
            self.assertRefusesAll(receiving)
            self.assertEqual(self.successResultOf(sending.done), len(value))

    def assertRefusesAll(self, receiving):
        """Check that a stream refuses every kind of consumer."""
        self.failureResultOf(receiving.collect(), UsageError)
        self.failureResultOf(receiving.collect(maxSize=0), UsageError)
        consumer = PausingConsumer()
        for target in (io.BytesIO(), consumer):
            self.failureResultOf(receiving.writeTo(target), UsageError)
        protocol = Recording()
        with self.assertRaises(UsageError):
            receiving.deliverTo(protocol)
        with self.assertRaises(UsageError):
            aiter(receiving)
        self.assertEqual((consumer.calls, protocol.connected), ([], 0))

    def test_abort(self):
        """
        C{abort} stops the stream at both ends with its code; the consumer, if any, and
        later ones fail with that error.
        """
        for code, error in (
            (b"STREAM_ABORTED", StreamAborted),
            (b"STREAM_REFUSED", StreamRefused),
            (b"MY_OWN", StreamAborted),
        ):
            for taken in (False, True):
                sending, receiving = self.send(LONG)
                results = [receiving.collect()] if taken else []
                self.pair.step()
                receiving.abort(code)
                results.append(receiving.collect())
                results.append(receiving.writeTo(io.BytesIO()))
                results.append(receiving.writeTo(PausingConsumer()))
                results.append(ensureDeferred(gather(receiving)))
                self.pair.flush()
                for result in (*results, sending.done):
                    failure = self.failureResultOf(result, error)
                    self.assertEqual(failure.value.code, code)
                receiving.abort()

    def test_abortTooLate(self):
        """C{abort} has no effect on a stream that was collected."""
        sending, receiving = self.send(VALUE)
        collected = receiving.collect()
        self.pair.flush()
        receiving.abort()
        self.assertEqual(self.successResultOf(collected), VALUE)
        self.assertEqual(self.successResultOf(sending.done), len(VALUE))

    def test_abortComplete(self):
        """C{abort} drops the bytes of a complete stream that was not taken."""
        _, receiving = self.send(VALUE)
        self.pair.flush()
        receiving.abort()
        self.failureResultOf(receiving.collect(), StreamAborted)

    def test_badCode(self):
        """C{abort} refuses a code that the peer could not read."""
        _, receiving = self.send(VALUE)
        for code in (b"", b"x" * 256, "STREAM_ABORTED"):
            with self.assertRaises(UsageError):
                receiving.abort(code)
        collected = receiving.collect()
        self.pair.flush()
        self.assertEqual(self.successResultOf(collected), VALUE)

    def test_corrupted(self):
        """Bytes that do not match their digest fail the stream at both ends."""
        sending = self.pair.client.streams.send(b"abc", digest=True)
        stream = self.pair.client.transport.stream
        stream[:] = [b"".join(stream).replace(b"abc", b"abd")]
        collected = collect(self.pair.server, sending.id)
        self.pair.flush()
        self.failureResultOf(collected, DigestMismatch)
        self.failureResultOf(sending.done, DigestMismatch)


class LostTests(StreamTestCase):
    """Incoming streams when the connection is lost."""

    def test_fails(self):
        """
        A lost connection fails incomplete streams with its reason, at once, for present
        and later consumers.
        """
        sent, streams = zip(*(self.send(LONG) for _ in range(5)), strict=True)
        results = [
            streams[0].collect(),
            streams[1].writeTo(io.BytesIO()),
            streams[2].writeTo(PausingConsumer()),
            ensureDeferred(gather(streams[3])),
        ]
        self.pair.step()
        self.pair.lose()
        for result in (*results, streams[4].collect()):
            self.failureResultOf(result, ConnectionDone)
        for sending in sent:
            self.failureResultOf(sending.done, ConnectionDone)

    def test_complete(self):
        """A complete stream can be taken after the connection was lost."""
        sending, first = self.send(VALUE)
        _, second = self.send(VALUE)
        self.pair.flush()
        self.pair.lose()
        self.assertEqual(self.successResultOf(sending.done), len(VALUE))
        self.assertEqual(self.successResultOf(first.collect()), VALUE)
        gathered = ensureDeferred(gather(second))
        self.assertEqual(self.successResultOf(gathered), VALUE)
        self.failureResultOf(first.collect(), UsageError)

    def test_completeAndPaused(self):
        """
        A paused consumer of a complete stream gets the rest after the
        connection was lost.
        """
        consumer = PausingConsumer()
        _, first = self.send(VALUE)
        written = first.writeTo(consumer)
        _, second = self.send(VALUE)
        gate = Deferred()
        gathered = ensureDeferred(gather(second, gate))
        self.pair.flush()
        consumer.resume()
        self.pair.lose()
        self.assertNoResult(written)
        while consumer.producer is not None:
            consumer.resume()
        self.assertEqual(self.successResultOf(written), len(VALUE))
        self.assertEqual(consumer.data, VALUE)
        gate.callback(None)
        self.assertEqual(self.successResultOf(gathered), VALUE)

    def test_completeAndUnwanted(self):
        """
        A complete stream can be aborted, cancelled or refused after the
        connection was lost.
        """
        _, first = self.send(VALUE)
        _, second = self.send(VALUE)
        _, third = self.send(VALUE)
        written = second.writeTo(PausingConsumer())
        self.pair.flush()
        self.pair.lose()
        first.abort()
        self.failureResultOf(first.collect(), StreamAborted)
        written.cancel()
        self.failureResultOf(written, CancelledError)
        self.failureResultOf(third.collect(maxSize=3), classOf(b"STREAM_TOO_LONG"))


async def gather(stream, gate=None):
    """
    Take a stream piece by piece.

    @param gate: A Deferred to wait for after each piece.
    """
    value = b""
    async for data in stream:
        value += data
        if gate is not None:
            await gate
    return value


class IterationTests(StreamTestCase):
    """C{async for} over an incoming stream."""

    def test_values(self):
        """C{async for} gets every byte of a value, in pieces that are not empty."""
        sizes = []

        async def measure(stream):
            return b"".join([sizes.append(len(data)) or data async for data in stream])

        for value in (b"", b"abc", VALUE, LONG):
            for arrived in (False, True):
                _, receiving = self.send(value)
                if arrived:
                    self.pair.flush()
                gathered = ensureDeferred(measure(receiving))
                self.pair.flush()
                self.assertEqual(self.successResultOf(gathered), value)
        self.assertNotIn(0, sizes)

    def test_manyPieces(self):
        """C{async for} over a long stream that has arrived causes no deep recursion."""

        async def generate():
            for _ in range(20_000):
                yield b"a"
                await succeed(None)

        _, receiving = self.send(generate())
        gathered = ensureDeferred(gather(receiving))
        self.pair.flush()
        self.assertEqual(self.successResultOf(gathered), b"a" * 20_000)

    def test_slowLoop(self):
        """While the body of an C{async for} waits, the peer sends a window at most."""
        gate = Deferred()
        sending, receiving = self.send(LONG)
        gathered = ensureDeferred(gather(receiving, gate))
        self.pair.flush()
        self.assertLess(sending.sent, WINDOW + 100_000)
        gate.callback(None)
        self.pair.flush()
        self.assertEqual(self.successResultOf(gathered), LONG)

    def test_break(self):
        """
        The consumer after a loop that was left gets the remaining bytes, at
        once or later.
        """

        async def first(stream):
            async for data in stream:
                return data
            raise Oops

        async def firstAndRest(stream):
            return await first(stream) + await stream.collect()

        async def twoLoops(stream):
            return await first(stream) + await gather(stream)

        for take in (firstAndRest, twoLoops):
            sending, receiving = self.send(LONG)
            result = ensureDeferred(take(receiving))
            self.pair.flush()
            self.assertEqual(self.successResultOf(result), LONG)
            self.assertEqual(self.successResultOf(sending.done), len(LONG))
        _, receiving = self.send(LONG)
        start = ensureDeferred(first(receiving))
        self.pair.flush()
        rest = receiving.collect()
        self.pair.flush()
        value = self.successResultOf(start) + self.successResultOf(rest)
        self.assertEqual(value, LONG)

    def test_raise(self):
        """The consumer after a loop that raised gets the remaining bytes."""

        async def fails(stream):
            async for _ in stream:
                raise Oops

        _, receiving = self.send(LONG)
        result = ensureDeferred(fails(receiving))
        self.pair.flush()
        self.failureResultOf(result, Oops)
        rest = receiving.collect()
        self.pair.flush()
        self.assertGreater(len(self.successResultOf(rest)), 4_900_000)

    def test_unstarted(self):
        """
        An iterator that is deleted before its first piece leaves every byte to the
        next consumer.
        """
        _, receiving = self.send(VALUE)
        self.pair.flush()
        iterator = aiter(receiving)
        self.failureResultOf(receiving.collect(), UsageError)
        self.assertIs(aiter(iterator), iterator)
        del iterator
        gc.collect()
        self.assertEqual(self.successResultOf(receiving.collect()), VALUE)

    def test_fails(self):
        """
        A stream's failure is raised in its loop, while it waits or at the next piece,
        and again at each further piece.
        """
        gate = Deferred()
        for wait in (None, gate):
            sending, receiving = self.send(LONG)
            gathered = ensureDeferred(gather(receiving, wait))
            self.pair.step()
            sending.abort()
            self.pair.flush()
            if wait is not None:
                self.assertNoResult(gathered)
                wait.callback(None)
            self.failureResultOf(gathered, StreamAborted)
            self.failureResultOf(sending.done, StreamAborted)
        sending, receiving = self.send(LONG)
        iterator = aiter(receiving)
        receiving.abort()
        for _ in range(2):
            piece = ensureDeferred(anext(iterator))
            self.failureResultOf(piece, StreamAborted)
        self.pair.flush()
        self.failureResultOf(sending.done, StreamAborted)

    def test_end(self):
        """An iterator that has ended stays at its end."""
        _, receiving = self.send(b"")
        self.pair.flush()
        iterator = aiter(receiving)
        for _ in range(2):
            self.assertEqual(
                self.successResultOf(ensureDeferred(anext(iterator, None))), None
            )

    def test_oneAfterTheOther(self):
        """Asking for a piece while another request waits raises L{UsageError}."""
        _, receiving = self.send(VALUE)
        iterator = aiter(receiving)
        first = ensureDeferred(anext(iterator))
        self.failureResultOf(ensureDeferred(anext(iterator)), UsageError)
        self.pair.flush()
        self.assertGreater(len(self.successResultOf(first)), 0)

    def test_cancelled(self):
        """
        Cancelling the Deferred of a coroutine that waits for a piece stops the stream
        at both ends.
        """
        gate = Deferred()

        async def late():
            yield b"abc"
            await gate

        sending, receiving = self.send(late())
        gathered = ensureDeferred(gather(receiving))
        self.pair.flush()
        gathered.cancel()
        self.failureResultOf(gathered, CancelledError)
        self.pair.flush()
        self.failureResultOf(sending.done, StreamCancelled)
        self.failureResultOf(receiving.collect(), StreamCancelled)

    def test_closed(self):
        """
        Closing an iterator, as C{contextlib.aclosing} does, stops the stream at both
        ends, while it waits for a piece or between two.
        """
        for waiting in (False, True):
            sending, receiving = self.send(LONG)
            iterator = aiter(receiving)
            if waiting:
                piece = ensureDeferred(anext(iterator))
            self.successResultOf(ensureDeferred(iterator.aclose()))
            self.successResultOf(ensureDeferred(iterator.aclose()))
            if waiting:
                self.failureResultOf(piece, CancelledError)
            self.pair.flush()
            self.failureResultOf(sending.done, StreamCancelled)
            next = ensureDeferred(anext(iterator))
            self.failureResultOf(next, StreamCancelled)

    def test_closedAfterIt(self):
        """An iterator that has ended does not disturb the stream when it is closed."""
        _, receiving = self.send(b"abc")
        iterator = aiter(receiving)
        piece = ensureDeferred(anext(iterator))
        self.pair.flush()
        self.assertEqual(self.successResultOf(piece), b"abc")
        self.successResultOf(ensureDeferred(gather(iterator)))
        self.successResultOf(ensureDeferred(iterator.aclose()))
        self.failureResultOf(receiving.collect(), UsageError)


class CallTests(StreamTestCase):
    """The streams of a call when it is answered."""

    def call(self, take, body=LONG):
        """
        Call with a stream.

        @return: A list that gets the result.
        """
        results = []
        self.pair.server.take = take
        call = self.pair.client.callRemote(Store, name="x", body=body)
        call.addBoth(results.append)
        self.pair.flush()
        return results

    def test_taken(self):
        """A stream with a consumer goes on after its call was answered."""
        file = io.BytesIO()

        def take(name, body):
            self.written = body.writeTo(file)
            return {"size": 0}

        self.assertEqual(self.call(take), [{"size": 0}])
        self.assertEqual(self.successResultOf(self.written), len(LONG))

    def test_untouched(self):
        """
        A stream without a consumer is refused when its call is answered,
        complete or not.
        """
        for value in (LONG, b"abc", b""):

            def take(name, body):
                self.body = body
                return {"size": 0}

            self.assertEqual(self.call(take, value), [{"size": 0}])
            self.failureResultOf(self.body.collect(), StreamRefused)

    def test_read(self):
        """A stream that was read before the answer stays read."""
        self.assertEqual(self.call(self.pair.server.collectIt), [{"size": len(LONG)}])
        self.failureResultOf(self.pair.server.taken["x"].collect(), UsageError)

    def test_failed(self):
        """
        A call that fails stops its stream, and its consumer fails with
        C{CallFailed}.
        """

        def take(name, body):
            self.collected = body.collect()
            raise ValueError

        (failure,) = self.call(take)
        failure.trap(ValueError)
        self.failureResultOf(self.collected, CallFailed)

    def test_droppedAfterIt(self):
        """
        A loop that ends after the answer, before the stream does, stops
        the stream.
        """
        gate = Deferred()
        closed = []

        async def some(body):
            async for _ in body:
                await gate
                return

        def take(name, body):
            self.body = body
            self.loop = ensureDeferred(some(body))
            return {"size": 0}

        def source():
            try:
                while True:
                    yield bytes(10_000)
            finally:
                closed.append(True)

        self.assertEqual(self.call(take, source()), [{"size": 0}])
        self.assertEqual(closed, [])
        gate.callback(None)
        self.pair.flush()
        self.assertEqual(closed, [True])
        self.failureResultOf(self.body.collect(), StreamRefused)

    def test_response(self):
        """A caller can take the stream of a response at any time."""
        self.pair.server.stored["x"] = VALUE
        call = self.pair.client.callRemote(Fetch, name="x")
        self.pair.flush()
        body = self.successResultOf(call)["body"]
        self.assertEqual(body.size, len(VALUE))
        self.assertEqual(self.successResultOf(body.collect()), VALUE)

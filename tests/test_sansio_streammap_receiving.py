# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The rules of L{amp_stream._sansio.streammap}."""

from __future__ import annotations

import gc
import tracemalloc

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from amp_stream._sansio.frames import MaxStreamData, StopSending
from amp_stream._sansio.limits import INITIAL_MAXIMUM, MAX_CHUNK, Limits
from amp_stream._sansio.stream import ReceiveState
from amp_stream._sansio.streammap import ReceiveStreams, SendStreams
from amp_stream.errors import (
    StreamAborted,
    StreamCancelled,
    StreamError,
    StreamRefused,
    StreamTimedOut,
)
from tests.codes import classOf
from tests.rules import VALUE, Wire, pieces

MEBIBYTE = 1_048_576


def readAll(inbound, stream):
    """Read every byte that is ready, and note the end."""
    return b"".join(iter(lambda: inbound.read(stream), b""))


class ReceiveStreamsTests(SynchronousTestCase):
    """Tests of an L{ReceiveStreams}."""

    limits = Limits()
    timeout: float | None = None

    def setUp(self):
        self.inbound = ReceiveStreams(self.limits, self.timeout)

    def frames(self):
        """Take the frames out."""
        frames, self.inbound.frames = self.inbound.frames, []
        return frames

    def assertNothingHeld(self):
        """Check that no stream is left, and that the byte counts are zero."""
        inbound = self.inbound
        self.assertEqual(inbound.streams, {})
        self.assertEqual((inbound.unaccepted, inbound.reserved), (0, 0))


class InlineTests(ReceiveStreamsTests):
    """Streams whose bytes came inside a box."""

    limits = Limits(maxStreams=1)

    def test_read(self):
        """The bytes are read once, and then the stream ends."""
        stream = self.inbound.takeInline(b"abc")
        self.assertEqual((stream.size, stream.received, stream.held), (3, 3, 3))
        self.assertEqual(self.inbound.reserved, 3)
        self.assertEqual(self.inbound.readInline(stream), b"abc")
        self.assertFalse(stream.isEnded)
        self.assertEqual(self.inbound.readInline(stream), b"")
        self.assertIs(stream.state, ReceiveState.DATA_READ)
        self.assertEqual(self.inbound.readInline(stream), b"")
        self.assertNothingHeld()
        self.assertEqual(self.inbound.inline, set())

    def test_stop(self):
        """A stream that is stopped holds nothing; a second stop changes nothing."""
        stream = self.inbound.takeInline(b"abc")
        first, second = StreamCancelled(), StreamRefused()
        self.inbound.stopInline(stream, first)
        self.inbound.stopInline(stream, second)
        self.assertIs(stream.error, first)
        self.assertEqual(self.inbound.readInline(stream), b"")
        self.assertNothingHeld()
        self.assertEqual(self.frames(), [])

    def test_bounds(self):
        """The streams in boxes are held to the bounds of size and number."""
        self.assertRaises(
            classOf(b"STREAM_TOO_LONG"), self.inbound.takeInline, b"abc", 2
        )
        self.inbound.takeInline(b"abc")
        self.assertRaises(classOf(b"STREAM_TOO_MANY"), self.inbound.takeInline, b"d")
        self.assertRaises(classOf(b"STREAM_TOO_MANY"), self.inbound.accept, 7)

    def test_connectionLost(self):
        """The bytes can be read when the connection is gone."""
        stream = self.inbound.takeInline(b"abc")
        self.inbound.clear()
        self.assertNothingHeld()
        self.assertEqual(self.inbound.readInline(stream), b"abc")
        self.assertNothingHeld()


class StreamTests(ReceiveStreamsTests):
    """How streams begin and end."""

    def test_claimFirst(self):
        """A stream can be claimed before its first chunk."""
        stream = self.inbound.accept(3)
        self.assertTrue(stream.accepted)
        self.assertIs(self.inbound.receive(3, 0, b"abc", True), stream)
        self.assertEqual(readAll(self.inbound, stream), b"abc")
        self.assertTrue(stream.isEnded)
        self.assertNothingHeld()

    def test_claimAfterwards(self):
        """A stream can be claimed after its last chunk."""
        stream = self.inbound.receive(3, 0, b"abc", True)
        self.assertFalse(stream.accepted)
        self.assertEqual(self.inbound.unaccepted, 3)
        self.assertIs(self.inbound.accept(3), stream)
        self.assertEqual(self.inbound.unaccepted, 0)
        self.assertEqual(readAll(self.inbound, stream), b"abc")
        self.assertNothingHeld()

    def test_empty(self):
        """A stream without bytes waits for its claim, like any other."""
        self.inbound.receive(3, 0, b"", True)
        stream = self.inbound.accept(3, 0)
        self.assertTrue(stream.isComplete)
        self.assertEqual(self.inbound.read(stream), b"")
        self.assertNothingHeld()

    def test_claimTwice(self):
        """A stream can be claimed once, also after it has been read."""
        stream = self.inbound.accept(3)
        self.assertRaises(classOf(b"STREAM_REUSED"), self.inbound.accept, 3)
        self.assertFalse(stream.isEnded)
        self.inbound.receive(3, 0, b"abc", True)
        readAll(self.inbound, stream)
        self.assertRaises(classOf(b"STREAM_REUSED"), self.inbound.accept, 3)

    def test_readWhenGone(self):
        """A complete stream can still be read after the connection is lost."""
        stream = self.inbound.accept(3)
        self.inbound.receive(3, 0, b"abc", True)
        self.assertEqual(self.inbound.clear(), [stream])
        self.assertNothingHeld()
        self.assertEqual(readAll(self.inbound, stream), b"abc")
        self.assertTrue(stream.isEnded)
        self.assertNothingHeld()

    def test_clear(self):
        """Clearing the streams of a lost connection leaves nothing behind."""
        self.inbound.receive(1, 0, b"abc")
        self.inbound.accept(2)
        self.inbound.refuse(3, StreamAborted())
        self.assertEqual([stream.id for stream in self.inbound.clear()], [1, 2])
        self.assertEqual(self.inbound.frames, [])
        self.assertEqual(len(self.inbound._ended), 0)
        self.assertNothingHeld()

    def test_independent(self):
        """The error of one stream does not affect another."""
        good, bad = self.inbound.accept(1), self.inbound.accept(2)
        self.inbound.receive(1, 0, b"abc")
        self.inbound.receive(2, 0, b"abc")
        self.assertRaises(
            classOf(b"STREAM_CONFLICT"), self.inbound.receive, 2, 0, b"xyz"
        )
        self.assertIsInstance(bad.error, classOf(b"STREAM_CONFLICT"))
        self.assertEqual(self.frames(), [StopSending(2, b"STREAM_CONFLICT")])
        self.inbound.receive(1, 3, b"def", True)
        self.assertEqual(readAll(self.inbound, good), b"abcdef")
        self.assertNothingHeld()

    def test_announcement(self):
        """
        An announcement is checked against the bytes that have arrived; the sender of a
        stream that breaks it is told to stop.
        """
        self.inbound.receive(1, 0, b"abc")
        self.assertRaises(classOf(b"STREAM_FINAL_SIZE"), self.inbound.accept, 1, 2)
        self.assertRaises(classOf(b"STREAM_TOO_LONG"), self.inbound.accept, 2, 5, 4)
        self.assertEqual(
            self.frames(),
            [StopSending(1, b"STREAM_FINAL_SIZE"), StopSending(2, b"STREAM_TOO_LONG")],
        )
        self.assertNothingHeld()
        self.assertRaises(classOf(b"STREAM_FINAL_SIZE"), self.inbound.accept, 1)
        self.assertRaises(classOf(b"STREAM_TOO_LONG"), self.inbound.accept, 2)


class GiveUpTests(ReceiveStreamsTests):
    """Streams that end before their bytes do."""

    def test_stop(self):
        """
        The sender of a stopped stream is told once, and bytes that still arrive
        are dropped.
        """
        stream = self.inbound.accept(3)
        self.inbound.receive(3, 0, b"abc")
        self.inbound.stop(stream, StreamCancelled())
        self.inbound.stop(stream, StreamAborted())
        self.assertEqual(self.frames(), [StopSending(3, b"STREAM_CANCELLED")])
        self.assertIsInstance(stream.error, StreamCancelled)
        self.assertNothingHeld()
        self.assertIsNone(self.inbound.receive(3, 3, b"def"))
        self.assertIsNone(self.inbound.receive(3, 10**9, b"def", True))
        self.assertIsNone(self.inbound.reset(3, StreamAborted(), 6))
        self.assertEqual(self.frames(), [])
        self.assertNothingHeld()

    def test_stopComplete(self):
        """The sender of a complete stream is not told that the stream was stopped."""
        stream = self.inbound.receive(3, 0, b"abc", True)
        self.inbound.stop(stream, StreamAborted())
        self.assertEqual(self.frames(), [])
        self.assertNothingHeld()

    def test_stopQuietly(self):
        """
        C{stop(tell=False)} does not tell the sender, who learns it from
        an answer.
        """
        stream = self.inbound.accept(3)
        self.inbound.stop(stream, StreamAborted(), tell=False)
        self.assertEqual(self.frames(), [])

    def test_reset(self):
        """
        A stream that its sender resets is forgotten; a later claim gets the
        reset's error.
        """
        stream = self.inbound.receive(3, 0, b"abc")
        error = StreamAborted("no more", b"MY_CODE")
        self.assertIs(self.inbound.reset(3, error, 3), stream)
        self.assertIs(stream.error, error)
        self.assertNothingHeld()
        raised = self.assertRaises(StreamAborted, self.inbound.accept, 3)
        self.assertEqual((raised.code, str(raised)), (b"MY_CODE", "no more"))

    def test_resetUnknown(self):
        """
        A reset before the first chunk makes a later claim fail with the
        reset's error.
        """
        self.assertIsNone(self.inbound.reset(3, StreamCancelled(), 0))
        self.assertRaises(StreamCancelled, self.inbound.accept, 3)
        self.assertIsNone(self.inbound.receive(3, 0, b"abc"))
        self.assertIsNone(self.inbound.reset(3, StreamAborted(), 0))
        self.assertRaises(StreamCancelled, self.inbound.accept, 3)

    def test_refuse(self):
        """
        A stream can be refused before its first chunk or while it is open; after its
        end the first error stands.
        """
        self.inbound.refuse(1, StreamAborted())
        stream = self.inbound.accept(2)
        self.inbound.refuse(2, StreamAborted())
        self.assertTrue(stream.isEnded)
        self.inbound.refuse(3, StreamAborted(), tell=False)
        for id in (1, 2, 3):
            self.inbound.refuse(id, StreamCancelled())
            error = self.assertRaises(StreamAborted, self.inbound.accept, id)
            self.assertEqual(error.code, b"STREAM_ABORTED")
        self.assertEqual(
            self.frames(),
            [StopSending(1, b"STREAM_ABORTED"), StopSending(2, b"STREAM_ABORTED")],
        )

    def test_lateChunks(self):
        """Chunks of a stream that was read to its end do not open it again."""
        stream = self.inbound.accept(3)
        self.inbound.receive(3, 0, b"abc", True)
        readAll(self.inbound, stream)
        for asked in (False, True):
            self.assertIsNone(self.inbound.receive(3, 0, b"abc", True, asked=asked))
        self.assertEqual(self.frames(), [])
        self.assertNothingHeld()


class AskedTests(ReceiveStreamsTests):
    """Senders that wait for each answer."""

    limits = Limits(initialWindow=300_000, maxStreams=2)

    def ask(self, offset, data, fin=False, id=0):
        """Let a chunk arrive whose sender waits for an answer."""
        return self.inbound.receive(id, offset, data, fin, asked=True)

    def test_errorIsTheAnswer(self):
        """
        When a sender waits for answers, a stream's error is raised for each answer, and
        no frame is sent.
        """
        self.ask(0, b"abc")
        for _ in range(3):
            error = self.assertRaises(classOf(b"STREAM_CONFLICT"), self.ask, 0, b"xyz")
            self.assertIn("at offset 0", str(error))
        self.assertEqual(self.frames(), [])
        self.assertNothingHeld()

    def test_tooMany(self):
        """
        When a sender waits for answers, a stream too many is refused
        without a frame.
        """
        self.ask(0, b"abc", id=1)
        self.ask(0, b"abc", id=2)
        self.assertRaises(classOf(b"STREAM_TOO_MANY"), self.ask, 0, b"abc", id=3)
        self.assertEqual(self.frames(), [])

    def test_stopped(self):
        """
        A sender that waits for answers learns of a stop with its next chunk; until then
        the stopped stream takes no place.
        """
        for id in range(10):
            stream = self.ask(0, b"abc", id=id)
            self.inbound.stop(stream, StreamCancelled())
            self.assertNothingHeld()
            self.assertRaises(StreamCancelled, self.ask, 3, b"def", id=id)

    def test_heldToWhatFits(self):
        """
        A sender that waits for answers need not know the credit, but may not exceed
        the window.
        """
        self.ask(0, bytes(262_144))
        self.ask(262_144, bytes(37_856))
        self.assertRaises(classOf(b"STREAM_FLOW_CONTROL"), self.ask, 300_000, b"x")

    def test_windowedIsHeldToWhatItKnows(self):
        """
        A sender that does not wait for answers may not exceed its credit, even if the
        stream was read before its first chunk.
        """
        self.inbound.read(self.inbound.accept(0))
        stream = self.inbound.receive(0, 0, bytes(262_144))
        self.assertFalse(stream.awaitsAnswer)
        self.assertRaises(
            classOf(b"STREAM_FLOW_CONTROL"),
            self.inbound.receive,
            0,
            262_144,
            b"x",
            False,
        )

    def test_stopAndWait(self):
        """
        A sender that waits for room after each chunk can send a stream of any size, and
        no chunk is refused, however slowly it is read.
        """
        value = VALUE[:1_000_000]
        stream = self.inbound.accept(0)
        taken = b""
        for offset, data, fin in pieces(value, MAX_CHUNK):
            self.ask(offset, data, fin)
            while not stream.hasRoom:
                more = self.inbound.read(stream)
                self.assertTrue(more)
                taken += more
            self.assertGreaterEqual(self.inbound.tellMaximum(stream), offset)
        taken += readAll(self.inbound, stream)
        self.assertEqual(taken, value)
        self.assertNothingHeld()

    def test_anyOrder(self):
        """
        A sender that sends the last chunk of the window first gets an answer, so that
        it can send the missing bytes.
        """
        stream = self.inbound.accept(0)
        parts = pieces(VALUE[:300_000], 50_000)
        for offset, data, _ in reversed(parts):
            self.ask(offset, data)
            self.assertEqual(stream.hasRoom, offset > 0)
        self.assertEqual(self.inbound.read(stream), parts[0][1])
        self.assertFalse(stream.hasRoom)
        self.assertEqual(self.inbound.read(stream), parts[1][1])
        self.assertTrue(stream.hasRoom)

    def test_answerIsKept(self):
        """
        The room promised in an answer stays available, whatever other
        streams use.
        """
        self.limits = Limits(initialWindow=600_000, maxBufferedBytes=700_000)
        self.setUp()
        stream = self.inbound.accept(0)
        end = 0
        while stream.hasRoom:
            self.ask(end, bytes(MAX_CHUNK))
            end += MAX_CHUNK
        for id in (1, 2):
            self.inbound.accept(id)
        while not stream.hasRoom:
            self.assertTrue(self.inbound.read(stream))
        # There would have been room long ago in a window as large as before.
        self.assertLess(stream.held, 200_000)
        self.assertGreaterEqual(self.inbound.tellMaximum(stream), end + MAX_CHUNK)
        self.inbound.accept(3)
        self.ask(0, b"x", id=3)
        self.ask(end, bytes(MAX_CHUNK))

    def test_fewMessages(self):
        """A sender that learns its credit from answers is sent no frames."""
        stream = self.inbound.accept(0)
        for offset, data, fin in pieces(VALUE, MAX_CHUNK):
            self.ask(offset, data, fin)
            self.inbound.tellMaximum(stream)
            readAll(self.inbound, stream)
        self.assertEqual(self.frames(), [])
        self.assertNothingHeld()

    def test_changesItsMind(self):
        """
        A sender that waits for some answers only is sent frames for the credit that no
        answer could carry.
        """
        stream = self.inbound.accept(0)
        self.ask(0, bytes(250_000))
        self.inbound.tellMaximum(stream)
        self.inbound.receive(0, 250_000, bytes(50_000))
        self.inbound.read(stream)
        self.assertEqual(self.frames(), [MaxStreamData(0, 550_000)])
        self.ask(300_000, bytes(250_000))
        self.assertEqual(self.inbound.tellMaximum(stream), 550_000)
        readAll(self.inbound, stream)
        self.assertEqual(self.frames(), [MaxStreamData(0, 850_000)])


class GrantTests(ReceiveStreamsTests):
    """How receivers grant credit."""

    def transfer(self, size, announced=None, ends=True):
        """
        Send a stream whose bytes are read as they arrive.

        @return: The grants.
        """
        wire = Wire(SendStreams(), self.inbound)
        sender = wire.open(size)
        stream = self.inbound.accept(sender.id, announced)
        moved = True
        while moved:
            moved = wire.sendOne() or wire.arriveOne() or wire.answerOne()
            while self.inbound.read(stream):
                pass
        self.assertTrue(stream.isEnded)
        self.assertTrue(sender.isEnded)
        self.assertEqual(wire.outbound.streams, {})
        self.assertNothingHeld()
        return wire.advertisedMax

    def test_rare(self):
        """A stream of 64 MiB takes one grant for each half of its window."""
        advertisedMax = self.transfer(64 * MEBIBYTE)
        self.assertLessEqual(len(advertisedMax), 128)
        self.assertGreaterEqual(len(advertisedMax), 64)

    def test_noneForSmallStreams(self):
        """
        A stream that fits into the initial 262,144 bytes is granted no credit, if its
        size is known; if not, one of half that size.
        """
        for size in (0, 1, 131_071, 200_000, 262_144):
            self.setUp()
            self.assertEqual(self.transfer(size, size), [])
        self.setUp()
        self.assertEqual(self.transfer(131_071), [])

    def test_noneBeyondTheEnd(self):
        """A stream gets no more grants once its credit covers its size."""
        advertisedMax = self.transfer(MEBIBYTE, MEBIBYTE)
        self.assertEqual(len(advertisedMax), 1)
        self.assertGreaterEqual(advertisedMax[0].maximum, MEBIBYTE)

    def test_endWithoutBytes(self):
        """
        A sender that has used up its credit is granted more, so that it can
        send its fin.
        """
        stream = self.inbound.accept(0, INITIAL_MAXIMUM)
        self.inbound.receive(0, 0, bytes(INITIAL_MAXIMUM))
        self.assertEqual(self.frames(), [])
        self.inbound.read(stream)
        (frame,) = self.frames()
        self.assertGreater(frame.maximum, INITIAL_MAXIMUM)

    def test_notUnread(self):
        """Unread bytes are not credited."""
        self.inbound.accept(0)
        self.inbound.receive(0, 0, bytes(INITIAL_MAXIMUM))
        self.assertEqual(self.frames(), [])
        self.assertRaises(
            classOf(b"STREAM_FLOW_CONTROL"),
            self.inbound.receive,
            0,
            INITIAL_MAXIMUM,
            b"x",
        )

    def test_window(self):
        """A grant lets exactly the window wait for the consumer."""
        stream = self.inbound.accept(0)
        self.inbound.receive(0, 0, bytes(200_000))
        self.inbound.read(stream)
        self.assertEqual(self.frames(), [MaxStreamData(0, 200_000 + MEBIBYTE)])

    def test_shared(self):
        """
        When streams reach the connection's limit, a grant is the rest of it, but never
        less than the initial credit.
        """
        self.limits = Limits(maxBufferedBytes=1_000_000)
        self.setUp()
        maxData = []
        for id in range(4):
            stream = self.inbound.accept(id)
            self.inbound.receive(id, 0, bytes(200_000))
            self.inbound.read(stream)
            maxData += [frame.maximum - 200_000 for frame in self.frames()]
        self.assertEqual(maxData, [1_000_000, 262_144, 262_144, 262_144])
        self.assertEqual(self.inbound.reserved, 1_000_000 + 3 * 262_144)

    def test_returned(self):
        """A stream that ends returns its credit to the other streams."""
        self.limits = Limits(maxBufferedBytes=1_000_000)
        for end in (
            lambda stream: self.inbound.stop(stream, StreamAborted()),
            lambda stream: self.inbound.reset(stream.id, StreamAborted(), 200_000),
            lambda stream: self.inbound.receive(0, 200_000, b"", True),
        ):
            self.setUp()
            for id in range(2):
                stream = self.inbound.accept(id)
                self.inbound.receive(id, 0, bytes(200_000))
                self.inbound.read(stream)
                self.assertEqual(len(self.frames()), 1)
                if id == 0:
                    end(stream)
                    self.frames()
            self.assertEqual(self.inbound.reserved, 1_000_000)


class LimitTests(ReceiveStreamsTests):
    """Limits on a peer."""

    limits = Limits(
        maxStreams=3, maxUnacceptedBytes=100_000, maxGaps=2, maxStreamSize=500_000
    )

    def test_tooManyStreams(self):
        """
        A stream over C{maxStreams} is refused, and those before it go on; a stream that
        ends frees a place.
        """
        streams = [self.inbound.receive(id, 0, b"abc") for id in range(2)]
        self.inbound.accept(2)
        error = self.assertRaises(
            classOf(b"STREAM_TOO_MANY"), self.inbound.receive, 3, 0, b"abc"
        )
        self.assertIn("3 streams", str(error))
        self.assertEqual(self.frames(), [StopSending(3, b"STREAM_TOO_MANY")])
        self.inbound.receive(0, 3, b"", True)
        self.inbound.accept(0)
        self.assertEqual(readAll(self.inbound, streams[0]), b"abc")
        self.assertIsNone(self.inbound.receive(3, 3, b"def"))
        self.assertIsNotNone(self.inbound.receive(4, 0, b"abc"))

    def test_tooManyClaims(self):
        """
        Announced streams count towards C{maxStreams}; claiming an open stream is
        always possible.
        """
        self.inbound.receive(0, 0, b"abc")
        for id in (1, 2):
            self.inbound.accept(id)
        self.inbound.accept(0)
        self.assertRaises(classOf(b"STREAM_TOO_MANY"), self.inbound.accept, 3)
        self.assertEqual(self.frames(), [StopSending(3, b"STREAM_TOO_MANY")])
        self.assertRaises(classOf(b"STREAM_TOO_MANY"), self.inbound.accept, 3)
        self.assertEqual(len(self.inbound.streams), 3)

    def test_flood(self):
        """
        A flood of streams is held to C{maxStreams}, and the memory of refused streams
        is bounded.
        """
        for id in range(3):
            self.inbound.accept(id)
        for id in range(3, 5000):
            self.assertRaises(
                classOf(b"STREAM_TOO_MANY"), self.inbound.receive, id, 0, b"abc"
            )
            self.inbound.reset(-id, StreamAborted(), 0)
        self.assertEqual(list(self.inbound.streams), [0, 1, 2])
        self.assertEqual(len(self.inbound._ended), 1024)
        self.assertEqual(self.inbound.unaccepted, 0)

    def test_remembersTheLatest(self):
        """
        The latest ended streams are remembered, as many as may be open, and at
        least 1,024.
        """
        for maxStreams, remembered in ((1, 1024), (2000, 2000)):
            inbound = ReceiveStreams(Limits(maxStreams=maxStreams))
            for id in range(remembered + 1):
                inbound.reset(id, StreamCancelled(), 0)
            for id in (1, remembered):
                self.assertRaises(StreamCancelled, inbound.accept, id)
            self.assertIsNotNone(inbound.accept(0))

    def test_rememberedErrorsKeepNothingAlive(self):
        """
        A remembered error keeps no chunk alive, and does not grow when it is
        raised again.
        """
        tracemalloc.start()
        try:
            for id in range(200):
                self.inbound.receive(id, 0, b"abc", asked=True)
                for _ in range(3):
                    chunk = bytes(MAX_CHUNK)
                    try:
                        self.inbound.receive(id, 0, chunk, asked=True)
                    except classOf(b"STREAM_CONFLICT"):
                        pass
                    else:
                        self.fail("not refused")
            del chunk
            gc.collect()
            size, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertLess(size, 200 * 2000)
        for _ in range(20):
            try:
                self.inbound.accept(5)
            except classOf(b"STREAM_CONFLICT") as error:
                traceback, depth = error.__traceback__, 0
                while traceback is not None:
                    traceback, depth = traceback.tb_next, depth + 1
        self.assertLess(depth, 5)

    def test_unclaimed(self):
        """
        The unclaimed bytes of all streams are bounded; the stream that exceeds the
        bound fails, and claimed streams do not count.
        """
        accepted = self.inbound.accept(0)
        self.inbound.receive(0, 0, bytes(200_000))
        self.inbound.receive(1, 0, bytes(60_000))
        self.inbound.receive(2, 0, bytes(40_000))
        self.assertEqual(self.inbound.unaccepted, 100_000)
        self.assertRaises(
            classOf(b"STREAM_UNACCEPTED"), self.inbound.receive, 2, 40_000, b"x"
        )
        self.assertEqual(self.frames(), [StopSending(2, b"STREAM_UNACCEPTED")])
        self.assertEqual(self.inbound.unaccepted, 60_000)
        self.inbound.accept(1)
        self.assertEqual(self.inbound.unaccepted, 0)
        self.assertRaises(classOf(b"STREAM_UNACCEPTED"), self.inbound.accept, 2)
        self.assertTrue(accepted.isOpen)

    def test_unclaimedComplete(self):
        """The bytes of complete streams count as unclaimed until their claim."""
        self.inbound.receive(0, 0, bytes(60_000), True)
        self.assertRaises(
            classOf(b"STREAM_UNACCEPTED"),
            self.inbound.receive,
            1,
            0,
            bytes(60_000),
            True,
        )
        self.assertEqual(self.frames(), [])
        self.assertRaises(
            classOf(b"STREAM_UNACCEPTED"),
            self.inbound.receive,
            2,
            0,
            bytes(60_000),
            asked=True,
        )
        self.assertEqual(self.frames(), [])

    def test_gaps(self):
        """A stream with too many gaps fails."""
        for offset in (2, 4):
            self.inbound.receive(0, offset, b"x")
        self.assertRaises(
            classOf(b"STREAM_FRAGMENTED"), self.inbound.receive, 0, 6, b"x"
        )
        self.assertNothingHeld()

    def test_length(self):
        """A stream that grows beyond C{maxStreamSize} fails."""
        self.assertRaises(
            classOf(b"STREAM_TOO_LONG"), self.inbound.receive, 0, 500_000, b"x"
        )
        self.assertNothingHeld()

    def test_promise(self):
        """
        A peer that uses all its credit makes the connection hold no more than the
        limits allow.
        """
        inbound = ReceiveStreams(Limits(maxStreams=20, maxBufferedBytes=4_000_000))
        streams = []
        for id in range(20):
            stream = inbound.accept(id)
            inbound.receive(id, 0, bytes(200_000))
            inbound.read(stream)
            streams.append(stream)
        for stream in streams:
            end = stream.window.highestOffset
            inbound.receive(stream.id, end, bytes(stream.window.advertisedMax - end))
        held = sum(stream.held for stream in streams)
        self.assertEqual(held, inbound.reserved)
        self.assertGreater(held, 4_000_000)
        self.assertLessEqual(held, 4_000_000 + 20 * INITIAL_MAXIMUM)


class ExpiryTests(ReceiveStreamsTests):
    """Streams that expire."""

    timeout = 60

    def pass_(self, *times):
        """
        Let time pass.

        @return: The streams that were given up.
        """
        return [stream.id for now in times for stream in self.inbound.expire(now)]

    def test_waiting(self):
        """A stream without progress expires, and its sender is told."""
        self.assertEqual(self.inbound.interval, 15)
        stream = self.inbound.accept(1)
        self.inbound.receive(1, 0, b"abc")
        self.assertEqual(self.pass_(0, 15, 30, 45), [])
        self.assertEqual(self.pass_(60), [1])
        self.assertIsInstance(stream.error, StreamTimedOut)
        self.assertEqual(self.frames(), [StopSending(1, b"STREAM_TIMED_OUT")])
        self.assertNothingHeld()
        self.assertEqual(self.pass_(75, 1000), [])
        self.assertRaises(StreamTimedOut, self.inbound.accept, 1)

    def test_truncated(self):
        """
        A stream that expires after its fin, with bytes missing, fails with
        L{ProtocolViolation}.
        """
        stream = self.inbound.accept(1)
        self.inbound.receive(1, 3, b"def", True)
        self.assertEqual(self.pass_(0, 60), [1])
        self.assertIsInstance(stream.error, classOf(b"STREAM_TRUNCATED"))

    def test_neverClaimed(self):
        """An unclaimed stream expires, complete or not."""
        self.inbound.receive(1, 0, b"abc", True)
        self.inbound.receive(2, 0, b"abc")
        self.assertEqual(self.pass_(0, 60), [1, 2])
        self.assertEqual(self.frames(), [StopSending(2, b"STREAM_TIMED_OUT")])
        self.assertNothingHeld()

    def test_pausedConsumer(self):
        """A stream does not expire while its consumer has bytes to take."""
        stream = self.inbound.accept(1)
        stream.hasConsumer = True
        self.inbound.receive(1, 0, b"abc")
        self.assertEqual(self.pass_(0, 60, 120), [])
        self.inbound.read(stream)
        self.assertEqual(self.pass_(120, 150), [])
        self.inbound.receive(1, 3, b"def", True)
        self.inbound.read(stream)
        self.assertEqual(self.pass_(180, 240, 300), [])
        self.assertEqual(self.inbound.read(stream), b"")
        self.assertIs(stream.state, ReceiveState.DATA_READ)

    def test_never(self):
        """Without a timeout a stream never expires."""
        self.timeout = None
        self.setUp()
        self.assertIsNone(self.inbound.interval)
        self.inbound.accept(1)
        self.assertEqual(self.pass_(0, 1e9), [])


# The first ones are busier than the others.
SLOTS = st.sampled_from([0, 0, 0, 0, 1, 1, 2, 3])
SIZES = st.sampled_from([65_535, 50_000, 1])
LIMITS = Limits(
    initialWindow=400_000,
    maxStreams=3,
    maxUnacceptedBytes=150_000,
    maxBufferedBytes=900_000,
    maxGaps=3,
)


class Receiving(RuleBasedStateMachine):
    """
    A peer that sends anything, and an application that does anything, with a few
    streams at a time, one more than allowed.
    """

    def __init__(self):
        super().__init__()
        self.inbound = ReceiveStreams(LIMITS, 20)
        self.now = 0.0
        self.ids = list(range(4))
        # By id: all streams that there ever were, what was read of them, which
        # maximum their senders know, how long they may get.
        self.seen = {}
        self.read = {}
        self.advertisedMax = {}
        self.allowed = {}

    def at(self, slot):
        """@return: The number of a stream, and the stream if there is or was one."""
        id = self.ids[slot]
        return id, self.seen.get(id)

    def bound(self, stream):
        """@return: The stream's size limit."""
        size = len(VALUE) if stream.size is None else stream.size
        return min(size, self.allowed.get(stream.id, len(VALUE)))

    def note(self, stream):
        if stream is not None:
            assert self.seen.setdefault(stream.id, stream) is stream
            self.read.setdefault(stream.id, 0)
            self.advertisedMax.setdefault(stream.id, INITIAL_MAXIMUM)

    def take(self, id, offset, data, fin=False, asked=False):
        """@return: Whether a chunk was accepted."""
        known = self.seen.get(id)
        try:
            stream = self.inbound.receive(id, offset, bytes(data), fin, asked=asked)
        except StreamError as error:
            assert id not in self.inbound.streams
            if known is not None:
                assert (error.code, str(error)) == (known.error.code, str(known.error))
            return False
        if known is not None and known.error is not None:
            assert stream is None
            assert not asked
        self.note(stream)
        return True

    @rule(slot=SLOTS)
    def renew(self, slot):
        if self.ids[slot] not in self.inbound.streams:
            self.ids[slot] = max(self.ids) + 1

    @rule(slot=SLOTS, times=st.integers(1, 6), size=SIZES)
    def keepsWindow(self, slot, times, size):
        """
        Check that chunks within the known credit are accepted while the stream
        is wanted.
        """
        id, stream = self.at(slot)
        for _ in range(times):
            if stream is None or not stream.isOpen or not stream.accepted:
                break
            start = stream.window.highestOffset
            end = min(start + size, self.advertisedMax[id], self.bound(stream))
            assert self.take(id, start, VALUE[start:end])

    @rule(slot=SLOTS, times=st.integers(1, 6), size=SIZES)
    def waitsForAnswers(self, slot, times, size):
        """Check that chunks of a sender that waits for answers are accepted."""
        id, stream = self.at(slot)
        for _ in range(times):
            if stream is None or not stream.isOpen or not stream.accepted:
                break
            if stream.window.highestOffset and not (
                stream.awaitsAnswer and stream.hasRoom
            ):
                break
            start = stream._reassembly.end
            end = min(start + size, self.bound(stream))
            if start < stream.window.highestOffset:
                # First it has to fill the gaps.
                end = min(end, stream.window.highestOffset)
            assert self.take(id, start, VALUE[start:end], asked=True)

    @rule(slot=SLOTS, times=st.integers(1, 4), asked=st.booleans())
    def flows(self, slot, times, asked):
        """The life of most streams."""
        if self.at(slot)[1] is None:
            self.accept(slot, None, None, True)
        for _ in range(times):
            if asked:
                self.waitsForAnswers(slot, 3, 65_535)
            else:
                self.keepsWindow(slot, 3, 65_535)
            self.readSome(slot, 2)

    @rule(slot=SLOTS, fin=st.booleans(), asked=st.booleans())
    def begins(self, slot, fin, asked):
        self.take(self.ids[slot], 0, VALUE[:60_000], fin, asked)

    @rule(slot=SLOTS)
    def ends(self, slot):
        id, stream = self.at(slot)
        if stream is not None:
            self.take(id, stream.window.highestOffset, b"", fin=True)

    @rule(slot=SLOTS, offset=st.integers(0, 300_000), size=SIZES, asked=st.booleans())
    def anyChunk(self, slot, offset, size, asked):
        self.take(self.ids[slot], offset, VALUE[offset : offset + size], False, asked)

    @rule(slot=SLOTS, asked=st.booleans())
    def differs(self, slot, asked):
        id, stream = self.at(slot)
        if stream is not None and (stream.accepted or stream.held):
            start = self.read[id]
            if start == len(VALUE):
                return
            wrong = bytes([VALUE[start] ^ 255])
            if stream._reassembly.end > start:
                assert not self.take(id, start, wrong, False, asked)

    @rule(data=st.data(), asked=st.booleans())
    def comesLate(self, data, asked):
        if self.seen:
            id = data.draw(st.sampled_from(sorted(self.seen)))
            self.take(id, 0, VALUE[:1000], False, asked)

    @rule(
        slot=SLOTS,
        size=st.one_of(st.none(), st.integers(0, 600_000)),
        maxSize=st.one_of(st.none(), st.integers(0, 600_000)),
        plain=st.booleans(),
    )
    def accept(self, slot, size, maxSize, plain):
        id, known = self.at(slot)
        try:
            if plain:
                self.note(self.inbound.accept(id))
            else:
                self.note(self.inbound.accept(id, size, maxSize))
                if maxSize is not None:
                    self.allowed[id] = maxSize
        except classOf(b"STREAM_REUSED"):
            assert known.accepted
        except StreamError as error:
            if known is not None:
                assert (error.code, str(error)) == (known.error.code, str(known.error))

    @rule(slot=SLOTS, times=st.integers(1, 10))
    def readSome(self, slot, times):
        id, stream = self.at(slot)
        if stream is None or not stream.accepted:
            return
        for _ in range(times):
            data = self.inbound.read(stream)
            start = self.read[id]
            assert data == VALUE[start : start + len(data)]
            self.read[id] += len(data)
        if stream.isComplete and not stream.held:
            assert self.read[id] == stream.size

    @rule(slot=SLOTS)
    def answer(self, slot):
        id, stream = self.at(slot)
        if stream is not None:
            maximum = self.inbound.tellMaximum(stream)
            assert maximum >= self.advertisedMax[id]
            self.advertisedMax[id] = maximum

    @rule(slot=SLOTS, hasConsumer=st.booleans())
    def attend(self, slot, hasConsumer):
        _, stream = self.at(slot)
        if stream is not None:
            stream.hasConsumer = hasConsumer

    @rule(
        slot=SLOTS,
        how=st.sampled_from(["reset", "stop", "refuse"]),
        further=st.integers(-1, 1),
        tell=st.booleans(),
        sure=st.sampled_from([False] * 3 + [True]),
    )
    def giveUp(self, slot, how, further, tell, sure):
        if not sure:
            return
        id, stream = self.at(slot)
        wasOpen = stream is not None and stream.isOpen
        if how == "reset":
            end = 0 if stream is None else stream.window.highestOffset
            self.inbound.reset(id, StreamAborted("no more"), max(0, end + further))
        elif how == "refuse":
            self.inbound.refuse(id, StreamCancelled(), tell)
        elif stream is not None:
            self.inbound.stop(stream, StreamCancelled(), tell)
            stopped = StopSending(id, b"STREAM_CANCELLED") in self.inbound.frames
            assert stopped == (wasOpen and tell)
        assert id not in self.inbound.streams

    @rule(seconds=st.floats(0, 3))
    def wait(self, seconds):
        self.now += seconds
        for stream in self.inbound.expire(self.now):
            assert stream.isEnded

    @invariant()
    def isRight(self):
        inbound = self.inbound
        streams = inbound.streams.values()
        assert inbound.reserved == sum(stream.reserved for stream in streams)
        assert inbound.unaccepted == sum(
            stream.held for stream in streams if not stream.accepted
        )
        assert 0 <= inbound.unaccepted <= LIMITS.maxUnacceptedBytes
        held = sum(stream.held for stream in streams)
        entitled = INITIAL_MAXIMUM * len(streams)
        assert held <= inbound.reserved <= LIMITS.maxBufferedBytes + entitled
        assert len(streams) <= LIMITS.maxStreams
        for stream in streams:
            assert not stream.isEnded
            assert 0 <= stream.held <= stream.reserved <= LIMITS.initialWindow
        for id, stream in self.seen.items():
            assert stream.isEnded == (id not in inbound.streams)

    @invariant()
    def framesAreRight(self):
        for frame in self.inbound.frames:
            if isinstance(frame, MaxStreamData):
                assert self.advertisedMax[frame.id] < frame.maximum
                assert frame.maximum <= self.seen[frame.id].window.maxData
                self.advertisedMax[frame.id] = frame.maximum
        self.inbound.frames = []

    def teardown(self):
        for stream in list(self.inbound.streams.values()):
            self.inbound.stop(stream, StreamAborted())
        assert (self.inbound.reserved, self.inbound.unaccepted) == (0, 0)
        assert self.inbound.streams == {}


class ReceivingTests(SynchronousTestCase):
    """The state machine above, as a test."""

    exploration = True

    def test_anything(self):
        """
        For any chunks and claims, the byte counts and bounds hold, the bytes are right,
        and nothing is left when all streams have ended.
        """
        run_state_machine_as_test(
            Receiving,
            settings=settings(max_examples=120, stateful_step_count=50, deadline=None),
        )

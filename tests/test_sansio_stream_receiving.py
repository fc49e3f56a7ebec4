# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The rules of L{amp_stream._sansio.stream}."""

from __future__ import annotations

from hashlib import sha256

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from amp_stream._sansio.limits import MAX_CHUNK, MAX_NUMBER, Limits
from amp_stream._sansio.stream import ReceiveState, ReceiveStream
from amp_stream._sansio.window import ReceiveWindow
from amp_stream.errors import DigestMismatch, StreamAborted, StreamError
from tests.codes import classOf
from tests.rules import VALUE


class StreamTests(SynchronousTestCase):
    """Tests of a L{ReceiveStream}."""

    limits = Limits()

    def setUp(self):
        self.stream = ReceiveStream(7, self.limits)

    def receive(self, offset, data, fin=False, digest=None, asked=False):
        """Let a chunk arrive."""
        self.stream.receive(offset, data, fin, digest, asked)

    def assertRefused(self, error, *args, **kw):
        """Check that a chunk is refused with an error."""
        return self.assertRaises(error, self.receive, *args, **kw)

    def readAll(self):
        """Read every byte that is ready."""
        return b"".join(iter(self.stream.read, b""))


class ReceiveTests(StreamTests):
    """The receiving half of a stream."""

    def test_life(self):
        """A stream ends when its fin has arrived and its last byte has been read."""
        stream = self.stream
        self.receive(0, b"abc")
        self.assertEqual((stream.received, stream.held, stream.size), (3, 3, None))
        self.receive(3, b"de", True)
        self.assertEqual((stream.received, stream.held, stream.size), (5, 5, 5))
        self.assertTrue(stream.isComplete)
        self.assertFalse(stream.isOpen or stream.isEnded)
        self.assertEqual(stream.read(), b"abcde")
        self.assertFalse(stream.isEnded)
        self.assertEqual(stream.read(), b"")
        self.assertTrue(stream.isEnded and stream.isComplete)
        self.assertIsNone(stream.error)

    def test_empty(self):
        """A stream without bytes is complete with its fin."""
        self.receive(0, b"", True)
        self.assertEqual((self.stream.size, self.stream.isComplete), (0, True))
        self.assertEqual(self.stream.read(), b"")
        self.assertTrue(self.stream.isEnded)

    def test_lateEnd(self):
        """The fin may arrive in an empty chunk, and before bytes that precede it."""
        self.receive(4, b"", True)
        self.assertIs(self.stream.state, ReceiveState.SIZE_KNOWN)
        self.receive(2, b"cd")
        self.assertFalse(self.stream.isComplete)
        self.receive(0, b"ab")
        self.assertTrue(self.stream.isComplete)
        self.assertEqual(self.readAll(), b"abcd")

    def test_afterTheEnd(self):
        """Chunks, resets and stops after a stream's end are ignored, right or wrong."""
        self.receive(0, b"abc", True)
        self.readAll()
        self.receive(0, b"abc", True)
        self.receive(1, b"xyz")
        self.receive(MAX_NUMBER - 1, b"x")
        self.stream.reset(StreamAborted(), 1)
        self.stream.stop(StreamAborted())
        self.assertIs(self.stream.state, ReceiveState.DATA_READ)
        self.assertIsNone(self.stream.error)
        self.assertEqual((self.stream.held, self.stream.received), (0, 3))

    def test_reset(self):
        """
        A reset drops the bytes, also of a complete stream, so that they are never taken
        for the whole value.
        """
        for fin in (False, True):
            self.setUp()
            self.receive(0, b"abc", fin)
            error = StreamAborted()
            self.stream.reset(error, 3)
            self.assertIs(self.stream.error, error)
            self.assertTrue(self.stream.isEnded)
            self.assertFalse(self.stream.isComplete)
            self.assertEqual((self.stream.held, self.stream.read()), (0, b""))

    def test_stop(self):
        """C{stop} ends a stream at once, with its first error."""
        for fin in (False, True):
            self.setUp()
            self.receive(0, b"abc", fin)
            error = StreamAborted()
            self.stream.stop(error)
            self.stream.stop(StreamAborted())
            self.assertIs(self.stream.error, error)
            self.assertTrue(self.stream.isEnded)
            self.assertEqual((self.stream.held, self.stream.read()), (0, b""))

    def test_truncation(self):
        """After the fin, missing bytes are reported as L{ProtocolViolation}."""
        self.assertIsNone(self.stream.truncation())
        self.receive(0, b"ab")
        self.assertIsNone(self.stream.truncation())
        self.receive(5, b"f", True)
        error = self.stream.truncation()
        self.assertIsInstance(error, classOf(b"STREAM_TRUNCATED"))
        self.assertIn("bytes from 2 on are missing", str(error))
        self.receive(2, b"cde")
        self.assertIsNone(self.stream.truncation())

    def test_windowViolation(self):
        """Bytes beyond the credit are refused."""
        self.receive(0, bytes(262_144))
        self.assertRefused(classOf(b"STREAM_FLOW_CONTROL"), 262_144, b"x")

    def test_idle(self):
        """A stream is idle while it is not taken, or its consumer waits for bytes."""
        stream = self.stream
        self.assertTrue(stream.isIdle)
        stream.hasConsumer = True
        self.assertTrue(stream.isIdle)
        self.receive(5, b"fgh")
        self.assertTrue(stream.isIdle)
        self.receive(0, b"abcde")
        self.assertFalse(stream.isIdle)
        stream.hasConsumer = False
        self.assertTrue(stream.isIdle)

    def test_notIdleAtTheEnd(self):
        """
        A stream is not idle while its consumer takes its time with the last bytes, nor
        after its end.
        """
        stream = self.stream
        stream.hasConsumer = True
        self.receive(0, b"abc", True)
        stream.read()
        self.assertFalse(stream.isIdle)
        stream.read()
        stream.hasConsumer = False
        self.assertTrue(stream.isEnded)
        self.assertFalse(stream.isIdle)

    def test_progress(self):
        """
        Bytes that arrive or are read, also behind a gap, and a fin are progress; bytes
        that arrive again are not.
        """
        stream = self.stream
        seen = {stream.progress}
        for offset, data, fin in ((3, b"d", False), (0, b"abc", False), (4, b"", True)):
            self.receive(offset, data, fin)
            self.assertNotIn(stream.progress, seen)
            seen.add(stream.progress)
            self.receive(offset, data, fin)
            self.assertIn(stream.progress, seen)
        stream.read()
        self.assertNotIn(stream.progress, seen)


class FinalSizeTests(StreamTests):
    """RFC 9000, section 4.5: the end of a stream does not move."""

    def test_bytesBeyondTheEnd(self):
        """
        Bytes after the fin's offset are refused, whether or not those before it
        have arrived.
        """
        for offset in (0, 2):
            self.setUp()
            self.receive(offset, b"abcde"[offset:], True)
            self.assertRefused(classOf(b"STREAM_FINAL_SIZE"), 5, b"f")
            self.assertRefused(classOf(b"STREAM_FINAL_SIZE"), 4, b"ef")
            self.assertRefused(classOf(b"STREAM_FINAL_SIZE"), 6, b"")
            self.receive(5, b"")

    def test_endBeforeBytes(self):
        """A fin before bytes that have arrived is refused."""
        self.receive(0, b"abcde")
        self.assertRefused(classOf(b"STREAM_FINAL_SIZE"), 0, b"abcd", True)
        self.receive(0, b"abcde", True)

    def test_endMoves(self):
        """A second fin at another offset is refused."""
        for offset in (0, 2):
            self.setUp()
            self.receive(offset, b"abcde"[offset:], True)
            self.assertRefused(classOf(b"STREAM_FINAL_SIZE"), 5, b"f", True)
            self.assertRefused(classOf(b"STREAM_FINAL_SIZE"), 0, b"abcd", True)
            self.receive(5, b"", True)

    def test_announced(self):
        """A stream must have exactly the announced size."""
        self.stream.expect(5, None)
        self.assertEqual(self.stream.size, 5)
        self.assertRefused(classOf(b"STREAM_FINAL_SIZE"), 3, b"def")
        self.assertRefused(classOf(b"STREAM_FINAL_SIZE"), 0, b"abcd", True)
        self.receive(0, b"abcde")
        self.assertFalse(self.stream.isComplete)
        self.receive(5, b"", True)
        self.assertTrue(self.stream.isComplete)

    def test_announcedAfterwards(self):
        """
        An announcement of fewer bytes than have arrived, or of another size than the
        fin's, is refused.
        """
        self.receive(0, b"abc")
        self.assertRaises(classOf(b"STREAM_FINAL_SIZE"), self.stream.expect, 2, None)
        self.receive(3, b"de", True)
        self.assertRaises(classOf(b"STREAM_FINAL_SIZE"), self.stream.expect, 6, None)
        self.stream.expect(5, None)
        self.assertEqual(self.stream.size, 5)

    def resetAt(self, finalSize):
        """
        @return: The class of the error that a reset leads to, or None
            for its own.
        """
        error = StreamAborted()
        self.stream.reset(error, finalSize)
        return None if self.stream.error is error else type(self.stream.error)

    def test_resetBeforeBytes(self):
        """A reset's final size below the bytes that have arrived is refused."""
        for finalSize, error in (
            (2, classOf(b"STREAM_FINAL_SIZE")),
            (3, None),
            (MAX_NUMBER, None),
        ):
            self.setUp()
            self.receive(0, b"abc")
            self.assertIs(self.resetAt(finalSize), error)

    def test_resetElsewhere(self):
        """A reset with another final size than the fin's is refused."""
        for offset in (0, 2):
            for finalSize, error in (
                (4, classOf(b"STREAM_FINAL_SIZE")),
                (5, None),
                (6, classOf(b"STREAM_FINAL_SIZE")),
            ):
                self.setUp()
                self.receive(offset, b"abcde"[offset:], True)
                self.assertIs(self.resetAt(finalSize), error)

    def test_resetOfAnnounced(self):
        """A reset's final size may be below the announced size, not above it."""
        for finalSize, error in (
            (0, None),
            (5, None),
            (6, classOf(b"STREAM_FINAL_SIZE")),
        ):
            self.setUp()
            self.stream.expect(5, None)
            self.assertIs(self.resetAt(finalSize), error)


class LengthTests(StreamTests):
    """The limits on a stream's size."""

    limits = Limits(maxStreamSize=10)

    def test_limit(self):
        """A stream may have C{maxStreamSize} bytes, and no more."""
        self.receive(0, b"0123456789")
        self.assertRefused(classOf(b"STREAM_TOO_LONG"), 10, b"x")
        self.assertRefused(classOf(b"STREAM_TOO_LONG"), 11, b"")
        self.receive(10, b"", True)

    def test_stricter(self):
        """A claim can lower the limit of the connection, and not raise it."""
        self.stream.expect(None, 100)
        error = self.assertRefused(classOf(b"STREAM_TOO_LONG"), 10, b"x")
        self.assertIn("10 are allowed", str(error))
        self.stream.expect(None, 5)
        self.receive(0, b"01234")
        self.assertRefused(classOf(b"STREAM_TOO_LONG"), 5, b"x")

    def test_announced(self):
        """An announced size over the limit is refused before the first byte."""
        self.assertRaises(classOf(b"STREAM_TOO_LONG"), self.stream.expect, 11, None)
        self.setUp()
        self.stream.expect(10, None)
        self.assertRaises(classOf(b"STREAM_TOO_LONG"), self.stream.expect, 10, 9)

    def test_alreadyTooLong(self):
        """Bytes that arrived before the claim count towards its limit."""
        self.receive(0, b"abc")
        self.assertRaises(classOf(b"STREAM_TOO_LONG"), self.stream.expect, None, 2)

    def test_noLimit(self):
        """Without C{maxStreamSize}, only the claim's limit holds."""
        stream = ReceiveStream(7, Limits())
        stream.receive(MAX_CHUNK, b"x", False, None, False)
        stream.expect(MAX_NUMBER, None)
        self.assertRaises(classOf(b"STREAM_TOO_LONG"), stream.expect, None, 5)


class DigestTests(StreamTests):
    """The digest of a stream."""

    def test_right(self):
        """
        A digest covers the bytes in order of their offsets, whatever order they
        arrived in.
        """
        self.receive(3, b"def", True, sha256(b"abcdef").digest())
        self.receive(0, b"abc")
        self.assertTrue(self.stream.isComplete)

    def test_late(self):
        """
        A digest that comes with the end of a stream, and was not announced, is refused
        with words that say how to announce it.
        """
        self.receive(0, b"abc")
        error = self.assertRefused(
            classOf(b"STREAM_INVALID_CHUNK"),
            3,
            b"def",
            True,
            sha256(b"abcdef").digest(),
        )
        self.assertIn("first chunk", str(error))

    def test_lateAfterAnswers(self):
        """
        A sender that waits for its first answer and not for the next ones must announce
        its digest as well.
        """
        self.receive(0, b"abc", asked=True)
        self.receive(3, b"def")
        self.assertRefused(
            classOf(b"STREAM_INVALID_CHUNK"), 6, b"", True, sha256(b"abcdef").digest()
        )

    def test_wrong(self):
        """
        A stream whose last missing byte completes a wrong value fails with
        C{DigestMismatch}.
        """
        self.receive(3, b"def", True, sha256(b"abcdeX").digest())
        self.assertRefused(DigestMismatch, 0, b"abc")
        self.assertFalse(self.stream.isComplete)

    def test_duplicates(self):
        """Bytes that arrive twice are hashed once."""
        self.receive(0, b"abc", digest=b"")
        self.receive(0, b"abcd", digest=b"")
        self.receive(0, b"abcdef", True, sha256(b"abcdef").digest())
        self.receive(0, b"abcdef", True, sha256(b"abcdef").digest())
        self.assertRefused(DigestMismatch, 6, b"", True, bytes(32))

    def test_missing(self):
        """A stream whose announced digest is missing fails."""
        self.receive(0, b"abc", digest=b"")
        self.assertRefused(DigestMismatch, 3, b"def", True)

    def test_askedNeedsNoNotice(self):
        """
        A sender that waits for answers may give its digest with the fin without notice,
        at any length.
        """
        value = VALUE[:1_500_000]
        for offset in range(0, len(value), 50_000):
            piece = value[offset : offset + 50_000]
            fin = offset + 50_000 == len(value)
            digest = sha256(value).digest() if fin else None
            self.stream.grant(1_048_576)
            self.receive(offset, piece, fin, digest, asked=True)
            self.stream.read()
        self.assertTrue(self.stream.isComplete)


class RoomTests(StreamTests):
    """When a chunk of a sender that waits for answers is answered."""

    def test_room(self):
        """A chunk is answered as long as another of the largest size would fit."""
        last = 262_144 - MAX_CHUNK
        self.receive(0, bytes(last))
        self.assertTrue(self.stream.hasRoom)
        self.receive(last, b"x")
        self.assertFalse(self.stream.hasRoom)
        self.stream.grant(262_145)
        self.assertTrue(self.stream.hasRoom)

    def test_gap(self):
        """
        A chunk is answered while bytes are missing before it, even without room, as the
        sender must send those.
        """
        self.receive(1, bytes(262_143))
        self.assertTrue(self.stream.hasRoom)
        self.receive(0, b"x")
        self.assertFalse(self.stream.hasRoom)

    def test_gapBeforeNothing(self):
        """A fin whose earlier bytes are missing is answered."""
        self.receive(0, bytes(200_000))
        self.receive(262_144, b"", True)
        self.assertTrue(self.stream.hasRoom)

    def test_end(self):
        """The last chunk, and one for a stopped stream, are answered at once."""
        self.receive(0, bytes(262_144), True)
        self.assertTrue(self.stream.hasRoom)
        self.setUp()
        self.receive(0, bytes(262_144))
        self.stream.stop(StreamAborted())
        self.assertTrue(self.stream.hasRoom)

    def test_asks(self):
        """A stream knows whether its sender waits for the answer to its last chunk."""
        self.receive(0, b"", asked=True)
        self.assertTrue(self.stream.awaitsAnswer)
        self.receive(0, b"")
        self.assertFalse(self.stream.awaitsAnswer)


class PromiseTests(StreamTests):
    """How many bytes a peer may make a stream hold."""

    def test_unknownSize(self):
        """
        Without a known size, a stream may hold its credit less the bytes that
        were read.
        """
        self.assertEqual(self.stream.reserved, 262_144)
        self.receive(0, b"abc")
        self.assertEqual(self.stream.reserved, 262_144)
        self.stream.read()
        self.assertEqual(self.stream.reserved, 262_141)
        self.stream.grant(1_000_000)
        self.assertEqual(self.stream.reserved, 1_000_000)

    def test_knownSize(self):
        """A stream with a known size may hold no more than that."""
        self.stream.expect(10, None)
        self.assertEqual(self.stream.reserved, 10)
        self.receive(0, b"0123456789", True)
        self.assertEqual(self.stream.reserved, 10)
        self.stream.read()
        self.assertEqual(self.stream.reserved, 0)

    def test_failed(self):
        """A stream that has failed may hold nothing."""
        self.stream.stop(StreamAborted())
        self.assertEqual(self.stream.reserved, 0)

    def test_needsMore(self):
        """
        A stream needs more credit until that covers its size, and when all is used up
        before the fin.
        """
        self.assertTrue(self.stream.needsMore)
        self.stream.expect(262_144, None)
        self.receive(0, bytes(262_143))
        self.assertFalse(self.stream.needsMore)
        self.receive(262_143, b"x")
        self.assertTrue(self.stream.needsMore)
        self.setUp()
        self.stream.expect(262_145, None)
        self.assertTrue(self.stream.needsMore)


WINDOW = 200
GAPS = 3
LENGTHS = st.sampled_from([20, 1, 60, 0])


class Receiving(RuleBasedStateMachine):
    """
    A stream beside a dictionary of the bytes that it should hold, and a few numbers;
    after its end another follows.
    """

    def __init__(self):
        super().__init__()
        self.begin()

    def begin(self):
        self.stream = ReceiveStream(1, Limits(maxGaps=GAPS))
        self.stream.window = ReceiveWindow(WINDOW)
        self.bytes = {}
        self.consumed = self.highestOffset = 0
        self.maxData = WINDOW
        self.size = self.maxSize = None
        self.final = self.ended = self.failed = False

    @property
    def end(self):
        end = self.consumed
        while end in self.bytes:
            end += 1
        return end

    @property
    def most(self):
        """@return: Where the next chunk must end."""
        return self.maxData if self.size is None else min(self.maxData, self.size)

    @property
    def complete(self):
        return self.final and self.end == self.size

    def wrong(self, offset, data, fin):
        """@return: The error of a chunk, if it has one."""
        end = offset + len(data)
        if self.size is not None and (end > self.size or (fin and end != self.size)):
            return classOf(b"STREAM_FINAL_SIZE")
        if fin and end < self.highestOffset:
            return classOf(b"STREAM_FINAL_SIZE")
        if self.maxSize is not None and end > self.maxSize:
            return classOf(b"STREAM_TOO_LONG")
        if end > self.maxData:
            return classOf(b"STREAM_FLOW_CONTROL")
        places = dict(enumerate(data, offset))
        if any(self.bytes.get(place, byte) != byte for place, byte in places.items()):
            return classOf(b"STREAM_CONFLICT")
        after = {*self.bytes, *(place for place in places if place >= self.consumed)}
        # The first run of bytes need not be behind a gap.
        runs = sum(place - 1 not in after for place in after)
        if runs - (self.consumed in after) > GAPS:
            return classOf(b"STREAM_FRAGMENTED")
        return None

    def fail(self):
        self.bytes.clear()
        self.ended = self.failed = True

    def refused(self, error):
        """Treat a stream that fails as the connection does."""
        self.stream.stop(error)
        self.fail()

    def take(self, offset, data, fin=False, asked=False):
        expected = None if self.ended else self.wrong(offset, data, fin)
        try:
            self.stream.receive(offset, bytes(data), fin, None, asked)
        except StreamError as error:
            assert type(error) is expected, (error, expected)
            self.refused(error)
            return
        assert expected is None, expected
        if self.ended:
            return
        for place, byte in enumerate(data, offset):
            if place >= self.consumed:
                self.bytes[place] = byte
        self.highestOffset = max(self.highestOffset, offset + len(data))
        if fin:
            self.final = True
            self.size = offset + len(data)

    @rule(place=st.integers(0, 10_000), length=LENGTHS, asked=st.booleans())
    def anywhere(self, place, length, asked):
        if self.ended:
            self.begin()
        offset = place % (self.most + 1)
        end = min(offset + length, self.most)
        self.take(offset, VALUE[offset:end], asked=asked)

    @rule(length=LENGTHS)
    def follows(self, length):
        if self.ended:
            self.begin()
        end = min(self.end + length, self.most)
        self.take(self.end, VALUE[self.end : end])

    @rule()
    def fillsGap(self):
        beyond = [place for place in self.bytes if place > self.end]
        if beyond:
            self.take(self.end, VALUE[self.end : min(beyond)])

    @rule(length=LENGTHS)
    def isLast(self, length):
        offset = max(self.end, self.highestOffset)
        end = self.size if self.size is not None else offset + length
        self.take(offset, VALUE[offset : min(end, self.maxData)], fin=True)

    @rule(beyond=st.integers(0, 3), length=LENGTHS, fin=st.booleans())
    def goesBeyond(self, beyond, length, fin):
        offset = max(0, self.most + beyond - length)
        self.take(offset, VALUE[offset : self.most + beyond], fin)

    @rule(length=st.integers(1, 20), data=st.data())
    def differs(self, length, data):
        if self.bytes:
            offset = data.draw(st.sampled_from(sorted(self.bytes)))
            wrong = bytearray(VALUE[offset : min(offset + length, self.most)])
            wrong[0] ^= 255
            self.take(offset, wrong)

    @rule(fin=st.booleans(), length=LENGTHS)
    def comesAgain(self, fin, length):
        self.take(0, VALUE[: min(length, self.most)], fin and self.size == length)

    @rule(times=st.integers(1, 4))
    def read(self, times):
        for _ in range(times):
            data = self.stream.read()
            assert bool(data) == (not self.ended and self.end > self.consumed)
            for byte in data:
                assert self.bytes.pop(self.consumed) == byte
                self.consumed += 1
            if not data and not self.ended and self.complete:
                self.ended = True

    @rule(size=st.integers(0, 300))
    def grant(self, size):
        self.stream.grant(size)
        self.maxData = max(self.maxData, self.consumed + size)

    @rule(
        size=st.one_of(st.none(), st.integers(WINDOW // 2, 2 * WINDOW)),
        maxSize=st.one_of(st.none(), st.integers(WINDOW // 2, 2 * WINDOW)),
    )
    def expect(self, size, maxSize):
        if self.ended:
            return
        expected = None
        most = min((n for n in (maxSize, self.maxSize) if n is not None), default=None)
        if size is not None and (
            self.highestOffset > size or self.size not in (None, size)
        ):
            expected = classOf(b"STREAM_FINAL_SIZE")
        else:
            length = self.size if size is None else size
            length = self.highestOffset if length is None else length
            if most is not None and length > most:
                expected = classOf(b"STREAM_TOO_LONG")
        try:
            self.stream.expect(size, maxSize)
        except StreamError as error:
            assert type(error) is expected
            self.refused(error)
            return
        assert expected is None
        self.maxSize = most
        self.size = self.size if size is None else size

    @rule(
        further=st.sampled_from([0, 0, 1, -1, 500]),
        sender=st.booleans(),
        sure=st.sampled_from([False] * 3 + [True]),
    )
    def giveUp(self, further, sender, sure):
        if not sure:
            return
        error = StreamAborted()
        if not sender:
            self.stream.stop(error)
        else:
            finalSize = max(0, (self.size or self.highestOffset) + further)
            self.stream.reset(error, finalSize)
            if not self.ended:
                possible = finalSize >= self.highestOffset and (
                    self.size is None
                    or finalSize == self.size
                    or (finalSize < self.size and not self.final)
                )
                assert (self.stream.error is error) == possible
        if not self.ended:
            self.fail()

    @invariant()
    def isRight(self):
        stream = self.stream
        assert stream.held == len(self.bytes)
        assert stream.isEnded == self.ended
        assert (stream.error is not None) == self.failed
        assert stream.isComplete == (self.complete and not self.failed)
        assert stream.isOpen == (not self.complete and not self.ended)
        if self.failed:
            assert stream.reserved == 0
            return
        assert stream.received == self.consumed + len(self.bytes)
        assert stream.size == self.size
        assert stream.reserved == self.most - self.consumed >= stream.held
        if stream.isOpen:
            missing = self.end < self.highestOffset
            assert stream.hasRoom == (
                missing or self.maxData - self.highestOffset >= MAX_CHUNK
            )


class ReceivingTests(SynchronousTestCase):
    """The state machine above, as a test."""

    exploration = True

    def test_anything(self):
        """
        For any chunks in any order, the stream returns the bytes of a dictionary in
        order, and fails exactly when a rule is broken.
        """
        run_state_machine_as_test(
            Receiving,
            settings=settings(max_examples=150, stateful_step_count=40, deadline=None),
        )

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The rules of L{amp_stream._sansio.streammap}."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from amp_stream._sansio.frames import ResetStream
from amp_stream._sansio.limits import INITIAL_MAXIMUM, Limits
from amp_stream._sansio.streammap import ReceiveStreams, SendStreams
from amp_stream.errors import StreamAborted, StreamCancelled, StreamTimedOut
from tests.rules import PERIOD, VALUE, Wire
from tests.simulation import exploration


class SendStreamsTests(SynchronousTestCase):
    """The sending side of a connection."""

    def setUp(self):
        self.outbound = SendStreams(1000, 60)

    def openMany(self, count):
        """Open streams that have bytes to send."""
        streams = [self.outbound.open() for _ in range(count)]
        for stream in streams:
            self.outbound.offer(stream)
        return streams

    def sendAll(self, stream):
        """Use up the credit of a stream."""
        stream.send(stream.window.available, False)

    def test_numbers(self):
        """Each stream has a number of its own, also after others have ended."""
        first = self.outbound.open()
        self.outbound.reset(first.id, StreamAborted())
        second, third = self.outbound.open(), self.outbound.open()
        self.assertEqual([first.id, second.id, third.id], [0, 1, 2])
        self.assertEqual(self.outbound.streams, {1: second, 2: third})

    def test_nothingBeforeItIsOffered(self):
        """A stream gets no turn before it is offered."""
        stream = self.outbound.open()
        self.assertFalse(self.outbound.hasTurn)
        self.assertFalse(self.outbound.grant(stream.id, 1_000_000))
        self.assertIsNone(self.outbound.next())
        self.outbound.offer(stream)
        self.assertTrue(self.outbound.hasTurn)
        self.assertIs(self.outbound.next(), stream)

    def test_roundRobin(self):
        """Offered streams get one turn each, also one that is opened later."""
        first, second = self.openMany(2)
        order = []
        for turn in range(7):
            stream = self.outbound.next()
            order.append(stream)
            self.outbound.offer(stream)
            if turn == 2:
                (third,) = self.openMany(1)
        self.assertEqual(order, [first, second, first, second, first, third, second])

    def test_allowance(self):
        """A turn allows one chunk, or the remaining credit if that is less."""
        (stream,) = self.openMany(1)
        self.assertEqual(self.outbound.allowance(stream), 1000)
        stream.send(262_144 - 300, False)
        self.assertEqual(self.outbound.allowance(stream), 300)

    def test_credit(self):
        """
        A stream without credit gets a turn once it is granted some, whether it was
        offered before or after.
        """
        (stream,) = self.openMany(1)
        self.outbound.next()
        self.sendAll(stream)
        self.outbound.offer(stream)
        self.assertFalse(self.outbound.hasTurn)
        self.assertFalse(self.outbound.grant(stream.id, INITIAL_MAXIMUM))
        self.assertTrue(self.outbound.grant(stream.id, INITIAL_MAXIMUM + 1))
        self.assertIs(self.outbound.next(), stream)
        self.assertEqual(self.outbound.allowance(stream), 1)

    def test_withdraw(self):
        """A withdrawn stream gets no turn, whatever its credit."""
        (stream,) = self.openMany(1)
        self.outbound.withdraw(stream)
        self.assertFalse(self.outbound.hasTurn)
        self.assertFalse(self.outbound.grant(stream.id, 1_000_000))
        self.assertIsNone(self.outbound.next())
        self.outbound.offer(stream)
        self.assertIs(self.outbound.next(), stream)

    def test_offeredInItsTurn(self):
        """
        A stream that is offered in its own turn gets no other one if that turn uses up
        its credit or sends its fin.
        """
        for fin in (False, True):
            first, second = self.openMany(2)
            self.assertIs(self.outbound.next(), first)
            self.outbound.offer(first)
            first.send(first.window.available, fin)
            self.outbound.offer(first)
            self.assertIs(self.outbound.next(), second)
            self.assertIsNone(self.outbound.next())

    def test_acknowledgedWhileItWaits(self):
        """A stream gets no turn after the peer has acknowledged every byte."""
        (stream,) = self.openMany(1)
        self.outbound.next()
        self.outbound.offer(stream)
        stream.send(3, True)
        self.assertIs(self.outbound.acknowledge(stream.id), stream)
        self.assertIsNone(self.outbound.next())

    def test_acknowledge(self):
        """
        A stream ends when the peer acknowledges every byte; another acknowledgement
        is ignored.
        """
        (stream,) = self.openMany(1)
        self.assertIsNone(self.outbound.acknowledge(stream.id))
        stream.send(3, True)
        self.assertIs(self.outbound.acknowledge(stream.id), stream)
        self.assertTrue(stream.isEnded)
        self.assertIsNone(self.outbound.acknowledge(stream.id))
        self.assertIsNone(self.outbound.acknowledge(99))
        self.assertEqual(self.outbound.streams, {})

    def test_reset(self):
        """
        A reset tells the peer the final size, once, and the stream gets no
        more turns.
        """
        (stream,) = self.openMany(1)
        stream.send(300, False)
        error = StreamCancelled()
        self.assertIs(self.outbound.reset(stream.id, error), stream)
        self.assertIsNone(self.outbound.reset(stream.id, StreamAborted()))
        self.assertIs(stream.error, error)
        self.assertEqual(
            self.outbound.frames, [ResetStream(stream.id, b"STREAM_CANCELLED", 300)]
        )
        self.assertFalse(self.outbound.hasTurn)
        self.assertIsNone(self.outbound.next())
        self.outbound.offer(stream)
        self.assertFalse(self.outbound.hasTurn)
        self.assertFalse(self.outbound.grant(stream.id, 1_000_000))

    def test_resetQuietly(self):
        """A peer that has not heard of a stream is not told of its reset."""
        stream = self.outbound.open()
        self.outbound.reset(stream.id, StreamAborted(), tell=False)
        self.assertEqual(self.outbound.frames, [])

    def test_unknown(self):
        """Grants, acknowledgements and resets of unknown streams are ignored."""
        self.assertFalse(self.outbound.grant(5, 1_000_000))
        self.assertIsNone(self.outbound.acknowledge(5))
        self.assertIsNone(self.outbound.reset(5, StreamAborted()))
        self.assertEqual(self.outbound.frames, [])

    def test_clear(self):
        """Clearing the streams of a lost connection leaves nothing behind."""
        streams = self.openMany(2)
        self.outbound.reset(self.outbound.open().id, StreamAborted())
        self.assertEqual(self.outbound.clear(), streams)
        self.assertEqual(self.outbound.streams, {})
        self.assertEqual(self.outbound.frames, [])
        self.assertFalse(self.outbound.hasTurn)
        self.outbound.offer(streams[0])
        self.assertIsNone(self.outbound.next())

    def test_expire(self):
        """
        A stream whose peer grants no credit expires; one that waits for its
        source does not.
        """
        self.assertEqual(self.outbound.interval, 15)
        waiting, other = self.openMany(2)
        self.outbound.withdraw(other)
        self.assertEqual(self.outbound.expire(0), [])
        self.sendAll(waiting)
        for now in (15, 30, 45, 60):
            self.assertEqual(self.outbound.expire(now), [])
        self.assertEqual(self.outbound.expire(75), [waiting])
        self.assertIsInstance(waiting.error, StreamTimedOut)
        self.assertEqual(
            self.outbound.frames,
            [ResetStream(waiting.id, b"STREAM_TIMED_OUT", INITIAL_MAXIMUM)],
        )
        self.assertEqual(self.outbound.streams, {other.id: other})

    def test_expireAfterTheEnd(self):
        """
        A stream whose last chunk is not acknowledged expires, counted from
        that chunk.
        """
        (stream,) = self.openMany(1)
        self.outbound.expire(0)
        stream.send(0, True)
        self.assertEqual(self.outbound.expire(60), [])
        self.assertEqual(self.outbound.expire(120), [stream])

    def test_neverExpire(self):
        """Without a timeout a stream never expires."""
        self.outbound = SendStreams()
        self.openMany(1)
        self.assertIsNone(self.outbound.interval)
        for now in (0, 1e9, 2e9):
            self.assertEqual(self.outbound.expire(now), [])


class FairnessTests(SynchronousTestCase):
    """The fairness of turns."""

    @exploration
    @given(st.lists(st.integers(0, 8000), min_size=1, max_size=8), st.integers(1, 3000))
    def test_equalShares(self, sizes, chunk):
        """
        While two streams both have bytes, neither gets more than one chunk ahead,
        whatever the other streams do.
        """
        wire = Wire(SendStreams(chunk), ReceiveStreams(Limits()))
        streams = [wire.open(size) for size in sizes]
        turns = Counter()
        while wire.sendOne():
            turns[wire.forth[-1][0]] += 1
            sending = [turns[one.id] for one in streams if one.isSending]
            if sending:
                self.assertLessEqual(max(sending) - min(sending), 1)
        for stream, size in zip(streams, sizes, strict=True):
            self.assertEqual(stream.window.offset, size)
            self.assertLessEqual(turns[stream.id], size // chunk + 1)


class Sending(RuleBasedStateMachine):
    """
    Sources and a peer that do anything, checked against a few numbers for
    each stream.
    """

    def __init__(self):
        super().__init__()
        self.outbound = SendStreams(65_535, 4)
        self.streams = []
        self.ended = set()
        self.sent = Counter()
        self.maximum = Counter()
        # By stream: those that got a turn since it began to wait for its own.
        self.waiting = {}
        self.now = 0.0

    def pick(self, data):
        return data.draw(st.sampled_from(self.streams)) if self.streams else None

    def mayHaveTurn(self, stream):
        credit = self.sent[stream.id] < self.maximum[stream.id]
        return stream.isSending and stream.offered and credit

    def end(self, stream):
        self.ended.add(stream)
        self.waiting.pop(stream, None)

    @rule(offered=st.booleans())
    def open(self, offered):
        stream = self.outbound.open()
        assert stream.id == len(self.streams)
        self.streams.append(stream)
        self.maximum[stream.id] = INITIAL_MAXIMUM
        if offered:
            self.outbound.offer(stream)

    @rule(data=st.data())
    def offer(self, data):
        if self.streams:
            self.outbound.offer(self.pick(data))

    @rule(data=st.data())
    def withdraw(self, data):
        stream = self.pick(data)
        if stream is not None:
            self.outbound.withdraw(stream)
            self.waiting.pop(stream, None)

    @rule(
        part=st.floats(0, 1),
        fin=st.sampled_from([False] * 4 + [True]),
        more=st.sampled_from(["before", "after", "none"]),
    )
    def turn(self, part, fin, more):
        expected = [one for one in self.streams if self.mayHaveTurn(one)]
        stream = self.outbound.next()
        if stream is None:
            assert expected == []
            return
        assert stream in expected
        for other, turns in self.waiting.items():
            assert other is stream or stream not in turns
            turns.append(stream)
        self.waiting.pop(stream, None)
        allowance = self.outbound.allowance(stream)
        credit = self.maximum[stream.id] - self.sent[stream.id]
        assert allowance == min(65_535, credit) > 0
        if more == "before":
            self.outbound.offer(stream)
        count = round(part * allowance)
        assert stream.send(count, fin) == self.sent[stream.id]
        self.sent[stream.id] += count
        if more == "none":
            self.outbound.withdraw(stream)
        else:
            self.outbound.offer(stream)

    @rule(data=st.data(), maximum=st.integers(0, 2_000_000))
    def grant(self, data, maximum):
        stream = self.pick(data)
        if stream is None:
            return
        news = maximum > self.maximum[stream.id] and stream not in self.ended
        if news:
            self.maximum[stream.id] = maximum
        result = self.outbound.grant(stream.id, maximum)
        assert result == (news and self.mayHaveTurn(stream))

    @rule(data=st.data())
    def acknowledge(self, data):
        stream = self.pick(data)
        if stream is None:
            return
        news = not stream.isSending and stream not in self.ended
        assert (self.outbound.acknowledge(stream.id) is stream) == news
        if news:
            self.end(stream)

    @rule(data=st.data(), tell=st.booleans())
    def reset(self, data, tell):
        stream = self.pick(data)
        if stream is None:
            return
        news = stream not in self.ended
        result = self.outbound.reset(stream.id, StreamAborted(), tell)
        assert (result is stream) == news
        expected = []
        if news:
            self.end(stream)
            if tell:
                sent = self.sent[stream.id]
                expected = [ResetStream(stream.id, b"STREAM_ABORTED", sent)]
        assert self.outbound.frames == expected
        self.outbound.frames = []

    @rule(seconds=st.floats(0, 3))
    def wait(self, seconds):
        self.now += seconds
        for stream in self.outbound.expire(self.now):
            assert isinstance(stream.error, StreamTimedOut)
            self.end(stream)
        self.outbound.frames = []

    @invariant()
    def isRight(self):
        living = [stream for stream in self.streams if stream not in self.ended]
        assert list(self.outbound.streams.values()) == living
        for stream in self.streams:
            assert stream.isEnded == (stream in self.ended)
            assert stream.window.offset == self.sent[stream.id]
            if self.mayHaveTurn(stream):
                assert self.outbound.hasTurn
                self.waiting.setdefault(stream, [])


class Transfers(RuleBasedStateMachine):
    """The two sides of a connection, with any delay between them."""

    limits = Limits(initialWindow=300_000, maxStreams=5, maxBufferedBytes=500_000)

    def __init__(self):
        super().__init__()
        self.wire = Wire(SendStreams(), ReceiveStreams(self.limits))
        # By stream that is sent: its size, the stream that arrives, what was read.
        self.streams = {}

    @rule(
        size=st.sampled_from([900_000, 262_144, 200_000, 300_001, 5, 0]),
        announced=st.booleans(),
    )
    def open(self, size, announced):
        if len(self.wire.inbound.streams) < 5:
            stream = self.wire.open(size)
            accepted = self.wire.inbound.accept(stream.id, size if announced else None)
            self.streams[stream] = [size, accepted, 0]

    @rule(times=st.integers(1, 20))
    def send(self, times):
        for _ in range(times):
            self.wire.sendOne()

    @rule(times=st.integers(1, 20))
    def arrive(self, times):
        for _ in range(times):
            self.wire.arriveOne()

    @rule(times=st.integers(1, 5))
    def answer(self, times):
        for _ in range(times):
            self.wire.answerOne()

    @rule(data=st.data(), times=st.integers(1, 9))
    def read(self, data, times):
        if self.streams:
            stream = data.draw(st.sampled_from(list(self.streams)))
            for _ in range(times):
                self.readOne(stream)

    @rule(
        data=st.data(),
        atSender=st.booleans(),
        sure=st.sampled_from([False] * 3 + [True]),
    )
    def giveUp(self, data, atSender, sure):
        if self.streams and sure:
            stream = data.draw(st.sampled_from(list(self.streams)))
            if atSender:
                self.wire.outbound.reset(stream.id, StreamAborted())
            else:
                accepted = self.streams[stream][1]
                self.wire.inbound.stop(accepted, StreamAborted())

    def readOne(self, stream):
        state = self.streams[stream]
        data = self.wire.inbound.read(state[1])
        start = state[2] % PERIOD
        assert VALUE[start : start + len(data)] == data
        state[2] += len(data)
        return data

    def teardown(self):
        """Whatever was left unfinished, every stream that was not given up arrives."""
        moved = True
        while moved:
            moved = any(
                [
                    *map(self.readOne, self.streams),
                    self.wire.sendOne(),
                    self.wire.arriveOne(),
                    self.wire.answerOne(),
                ]
            )
        for stream, (size, accepted, read) in self.streams.items():
            assert accepted.isEnded
            assert stream.isEnded
            if accepted.error is None:
                assert read == size
            if stream.error is None:
                # Whoever reads them may have given up since then.
                assert accepted.received == size
        assert self.wire.outbound.streams == self.wire.inbound.streams == {}
        assert (self.wire.inbound.reserved, self.wire.inbound.unaccepted) == (0, 0)


class MachineTests(SynchronousTestCase):
    """The state machines above, as tests."""

    exploration = True

    def test_sending(self):
        """
        For any sources and peer, every stream that may send gets its turn, no other
        does, and none gets two while another waits.
        """
        run_state_machine_as_test(
            Sending,
            settings=settings(max_examples=100, stateful_step_count=50, deadline=None),
        )

    def test_transfers(self):
        """
        With any delays, each stream ends at both ends, with the right bytes or an
        error, and never stalls.
        """
        run_state_machine_as_test(
            Transfers,
            settings=settings(max_examples=60, stateful_step_count=30, deadline=None),
        )

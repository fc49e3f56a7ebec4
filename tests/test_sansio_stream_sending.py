# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The rules of L{amp_stream._sansio.stream}."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from amp_stream._sansio.stream import SendState, SendStream
from amp_stream.errors import StreamAborted, UsageError


class SendStreamTests(SynchronousTestCase):
    """The sending half of a stream."""

    def test_life(self):
        """A stream ends when its fin has been sent and every byte is acknowledged."""
        stream = SendStream(5)
        self.assertEqual(stream.id, 5)
        self.assertEqual(stream.send(10, False), 0)
        self.assertTrue(stream.isSending)
        self.assertEqual(stream.send(0, True), 10)
        self.assertFalse(stream.isSending)
        self.assertFalse(stream.isEnded)
        self.assertTrue(stream.acknowledge())
        self.assertTrue(stream.isEnded)
        self.assertIsNone(stream.error)

    def test_noCredit(self):
        """Sending beyond the credit raises an error and changes nothing."""
        stream = SendStream(0)
        self.assertRaises(UsageError, stream.send, 262_145, True)
        self.assertIs(stream.state, SendState.READY)
        self.assertEqual(stream.send(262_144, True), 0)

    def test_earlyAcknowledgement(self):
        """An acknowledgement before the fin is ignored."""
        stream = SendStream(0)
        for _ in range(2):
            self.assertFalse(stream.acknowledge())
            stream.send(1, False)
        self.assertTrue(stream.isSending)

    def test_resetOnce(self):
        """The first reset counts, and a reset after the acknowledgement is ignored."""
        first, second = StreamAborted(), StreamAborted()
        stream = SendStream(0)
        self.assertTrue(stream.reset(first))
        self.assertFalse(stream.reset(second))
        self.assertIs(stream.error, first)
        stream = SendStream(0)
        stream.send(1, True)
        stream.acknowledge()
        self.assertFalse(stream.reset(first))
        self.assertIsNone(stream.error)

    def test_idle(self):
        """
        A stream is idle while its source has bytes or its last chunk is unacknowledged,
        not while it waits for its source.
        """
        stream = SendStream(0)
        self.assertFalse(stream.isIdle)
        stream.offered = True
        self.assertTrue(stream.isIdle)
        stream.offered = False
        stream.send(1, True)
        self.assertTrue(stream.isIdle)
        stream.acknowledge()
        self.assertFalse(stream.isIdle)

    def test_progress(self):
        """Sent bytes, granted credit and an empty fin are progress."""
        stream = SendStream(0)
        seen = {stream.progress}
        stream.send(3, False)
        seen.add(stream.progress)
        stream.window.grant(300_000)
        seen.add(stream.progress)
        stream.send(0, True)
        seen.add(stream.progress)
        self.assertEqual(len(seen), 4)


class Sending(RuleBasedStateMachine):
    """A stream beside a few numbers that it should agree with."""

    def __init__(self):
        super().__init__()
        self.stream = SendStream(0)
        self.sent = 0
        self.maximum = 262_144
        self.fin = self.arrived = self.given = False

    @rule(count=st.integers(0, 200_000), fin=st.booleans())
    def send(self, count, fin):
        may = not self.fin and not self.given and count <= self.maximum - self.sent
        try:
            assert self.stream.send(count, fin) == self.sent
        except UsageError:
            assert not may
        else:
            assert may
            self.sent += count
            self.fin = fin

    @rule(maximum=st.integers(0, 1_000_000))
    def grant(self, maximum):
        assert self.stream.window.grant(maximum) == (maximum > self.maximum)
        self.maximum = max(maximum, self.maximum)

    @rule()
    def acknowledge(self):
        news = self.fin and not self.given and not self.arrived
        assert self.stream.acknowledge() == news
        self.arrived = self.arrived or news

    @rule()
    def reset(self):
        news = not self.arrived and not self.given
        assert self.stream.reset(StreamAborted()) == news
        self.given = self.given or news

    @invariant()
    def isRight(self):
        stream = self.stream
        assert stream.window.offset == self.sent <= self.maximum
        assert stream.isSending == (not self.fin and not self.given)
        assert stream.isEnded == (self.arrived or self.given)
        assert (stream.error is not None) == self.given


class SendingTests(SynchronousTestCase):
    """The state machine above, as a test."""

    exploration = True

    def test_anything(self):
        """
        For any inputs in any order, no byte is sent without credit or after the end,
        and each stream ends once.
        """
        run_state_machine_as_test(
            Sending, settings=settings(max_examples=60, deadline=None)
        )

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests for L{amp_stream._sansio.pacer}, with links of known rates."""

from __future__ import annotations

from hypothesis import given
from hypothesis.strategies import booleans, floats, lists, none, tuples
from twisted.trial.unittest import SynchronousTestCase

from amp_stream._sansio.limits import MAX_CHUNK
from amp_stream._sansio.pacer import BOX, HEADERS, LONGEST, SHORTEST, SendPacer

FIRST = BOX - HEADERS


def run(pace, rate, turns, busy=0.0, kernel=8192, start=0.0):
    """
    Let a link of a given rate ask, again and again.

    @param rate: The link's speed (bytes a second).

    @param busy: How long the program does something else between two turns (seconds).

    @param kernel: How many bytes the kernel has left when it asks, if it has not sent
        them while the program was busy.

    @param start: When it begins to ask (seconds).
    """
    now = start
    left = 0.0
    for _ in range(turns):
        pace.asked(now, int(left))
        pace.wrote(pace.turn)
        left += pace.turn
        wait = max(busy, 0.00005, (left - kernel) / rate)
        now += wait
        left = max(0.0, left - wait * rate)


class PaceTests(SynchronousTestCase):
    """Turns of a millisecond."""

    def test_atFirst(self):
        """
        Before any measurement, a turn is one chunk whose box has no empty segment in
        version 2.
        """
        pace = SendPacer()
        self.assertEqual((pace.turn, *pace.sizes()), (FIRST, FIRST, 1))
        self.assertEqual(SendPacer(1000).sizes()[0], 1000)

    def test_slow(self):
        """On a slow link, a turn is a millisecond of it, in one chunk."""
        for rate in (5_000_000, 12_500_000):
            pace = SendPacer()
            run(pace, rate, 500)
            self.assertLess(abs(pace.turn - rate * 0.001), rate * 0.00025)
            self.assertEqual(pace.sizes(), (pace.turn, 1))

    def test_verySlow(self):
        """On a very slow link, a turn is not so short that most of it is headers."""
        pace = SendPacer()
        run(pace, 1000, 500)
        self.assertEqual(pace.turn, SHORTEST)

    def test_fast(self):
        """
        On a fast link, a turn has several chunks, which fill Twisted's write
        buffer exactly.
        """
        pace = SendPacer()
        run(pace, 2_000_000_000, 500)
        self.assertEqual(pace.turn, LONGEST)
        self.assertEqual(pace.sizes()[0] + HEADERS, BOX)
        self.assertEqual(pace.sizes()[1], LONGEST)
        self.assertEqual(SendPacer(1000).sizes()[0], 1000)

    def test_smallChunks(self):
        """A chunk is no larger than C{Limits.chunk}, also on a fast link."""
        pace = SendPacer(1000)
        run(pace, 2_000_000_000, 500)
        self.assertEqual(pace.sizes()[0], 1000)

    def test_busy(self):
        """
        A program that is busy between turns keeps long turns, as the kernel had sent
        every byte before.
        """
        pace = SendPacer()
        run(pace, 2_000_000_000, 500, busy=0.01)
        self.assertEqual(pace.turn, LONGEST)

    def test_recovers(self):
        """Turns grow again when a slow link becomes fast."""
        pace = SendPacer()
        run(pace, 2_500_000, 500)
        pace.paused()
        run(pace, 2_000_000_000, 1000)
        self.assertEqual(pace.turn, LONGEST)

    def test_stepByStep(self):
        """One long wait shortens turns by a quarter only."""
        pace = SendPacer()
        pace.asked(0.0, 1)
        pace.wrote(1000)
        pace.asked(1.0, 1)
        self.assertEqual(pace.turn, FIRST * 3 // 4)

    def test_paused(self):
        """Time in which there is nothing to write does not count."""
        pace = SendPacer()
        pace.asked(0.0, 1)
        pace.wrote(1000)
        pace.paused()
        pace.asked(100.0, 1)
        self.assertEqual(pace.turn, FIRST)

    def test_pausedOften(self):
        """
        Measurements between pauses add up, so turns grow on a fast link even if each
        stretch is short.
        """
        pace = SendPacer()
        for start in range(100):
            run(pace, 2_000_000_000, 10, start=float(start))
            pace.paused()
        self.assertEqual(pace.turn, LONGEST)

    def test_short(self):
        """Less than a few milliseconds are no measurement."""
        pace = SendPacer()
        for step in range(10):
            pace.asked(step / 2500, 1)
            pace.wrote(1000)
        self.assertEqual(pace.turn, FIRST)

    def test_unknown(self):
        """When the kernel's queue is unknown, a turn stays one chunk."""
        pace = SendPacer()
        for step in range(100):
            pace.asked(step * 1.0, None)
            pace.wrote(1000)
        self.assertEqual(pace.turn, FIRST)

    @given(lists(tuples(floats(0, 1), none() | booleans()), max_size=50))
    def test_bounds(self, steps):
        """
        For any measurements, a turn is within its bounds, and AMP can carry
        its chunk.
        """
        pace = SendPacer()
        now = 0.0
        for wait, unsent in steps:
            now += wait
            pace.asked(now, unsent)
            pace.wrote(pace.turn)
            self.assertTrue(SHORTEST <= pace.turn <= LONGEST)
            self.assertTrue(0 < pace.sizes()[0] <= min(MAX_CHUNK, pace.turn))

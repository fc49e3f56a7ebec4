# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests for L{amp_stream._transport}: the timer."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from amp_stream._transport import IdleTimer


class IdleTimerTests(SynchronousTestCase):
    """One timer for many streams."""

    def setUp(self):
        self.clock = Clock()
        self.looks = []
        self.goOn = True

    def look(self, now):
        self.looks.append(now)
        return self.goOn

    def timer(self, interval=5.0):
        timer = IdleTimer(interval, self.look)
        timer.useClock(self.clock)
        return timer

    def test_repeats(self):
        """
        The timer looks once in each interval while it is wanted, and then leaves no
        call behind.
        """
        timer = self.timer()
        timer.arm()
        self.clock.pump([1.0] * 12)
        self.assertEqual(self.looks, [5.0, 10.0])
        self.goOn = False
        self.clock.pump([1.0] * 12)
        self.assertEqual(self.looks, [5.0, 10.0, 15.0])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_armedTwice(self):
        """Arming a running timer does not change when it looks."""
        timer = self.timer()
        timer.arm()
        self.clock.advance(3)
        timer.arm()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(2)
        self.assertEqual(self.looks, [5.0])

    def test_again(self):
        """The timer can be stopped, also twice, and armed again."""
        timer = self.timer()
        timer.stop()
        timer.arm()
        timer.stop()
        timer.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(3)
        timer.arm()
        self.clock.advance(5)
        self.assertEqual(self.looks, [8.0])

    def test_never(self):
        """A timer without an interval or a clock never looks."""
        self.timer(None).arm()
        IdleTimer(5.0, self.look).arm()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stoppedWhileItLooks(self):
        """A timer that is stopped while it looks leaves no call behind."""

        def look(now):
            timer.arm()
            timer.stop()
            return False

        timer = IdleTimer(5.0, look)
        timer.useClock(self.clock)
        timer.arm()
        self.clock.advance(5)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_armedWhileItLooks(self):
        """A timer that is armed while it looks schedules one call."""

        def look(now):
            timer.arm()
            return True

        timer = IdleTimer(5.0, look)
        timer.useClock(self.clock)
        timer.arm()
        self.clock.advance(5)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

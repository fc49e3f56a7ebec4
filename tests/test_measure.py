# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Measuring small calls.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from amp_stream.measure import Latencies, SmallCalls


class LatenciesTests(SynchronousTestCase):
    """
    L{Latencies}
    """

    def test_of(self) -> None:
        """
        Percentiles are durations that were measured.
        """
        seconds = [float(number) for number in range(100, 0, -1)]
        self.assertEqual(Latencies.of(seconds), Latencies(100, 50.0, 99.0, 100.0))
        self.assertEqual(Latencies.of([2.0]), Latencies(1, 2.0, 2.0, 2.0))
        self.assertEqual(Latencies.of([1.0, 2.0]), Latencies(2, 1.0, 2.0, 2.0))


class SmallCallsTests(SynchronousTestCase):
    """
    L{SmallCalls}
    """

    def setUp(self) -> None:
        """
        Make calls that the test answers.
        """
        self.clock = Clock()
        self.asked: list[Deferred[None]] = []
        self.calls = SmallCalls(self.clock, self.call, 0.25)

    def call(self) -> Deferred[None]:
        """
        Make a call.
        """
        self.asked.append(Deferred())
        return self.asked[-1]

    def test_schedule(self) -> None:
        """
        Calls are made when they are due, whether or not those before them have
        been answered, and each counts until its own answer.
        """
        self.calls.start()
        for _ in range(2):
            self.clock.advance(0.25)
        self.assertEqual(len(self.asked), 3)
        self.asked[2].callback(None)
        self.clock.advance(0.125)
        stopped = self.calls.stop()
        self.asked[0].callback(None)
        self.assertNoResult(stopped)
        self.asked[1].callback(None)
        self.assertEqual(self.successResultOf(stopped), [0.0, 0.625, 0.375])
        self.clock.advance(1)
        self.assertEqual(len(self.asked), 3)
        self.assertIs(self.calls.stop(), stopped)

    def test_late(self) -> None:
        """
        Calls that were made late, all at once, count from when they were due.
        """
        self.calls.start()
        self.asked[0].callback(None)
        self.clock.advance(1.0)
        self.assertEqual(len(self.asked), 5)
        stopped = self.calls.stop()
        for asked in self.asked[1:]:
            asked.callback(None)
        self.assertEqual(self.successResultOf(stopped), [0.0, 0.75, 0.5, 0.25, 0.0])

    def test_failed(self) -> None:
        """
        A call that fails ends the measurement with its error.
        """
        self.calls.start()
        self.clock.advance(0.25)
        for asked in self.asked:
            asked.errback(RuntimeError("lost"))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.failureResultOf(self.calls.stop(), RuntimeError)

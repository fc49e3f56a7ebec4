# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Tests for L{amp_stream.files._measure}: measuring small calls, and C{amp-stream bench}
against a real C{twistd amp-stream}.
"""

from __future__ import annotations

import json
import os

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from amp_stream.files._measure import Latencies, smallCalls
from tests.twistdservice import LOCAL, TwistdTestCase


class LatenciesTests(SynchronousTestCase):
    """L{Latencies}"""

    def test_of(self) -> None:
        """Percentiles of latencies are durations that were measured."""
        seconds = [float(number) for number in range(100, 0, -1)]
        self.assertEqual(Latencies.of(seconds), Latencies(100, 50.0, 99.0, 100.0))
        self.assertEqual(Latencies.of([2.0]), Latencies(1, 2.0, 2.0, 2.0))
        self.assertEqual(Latencies.of([1.0, 2.0]), Latencies(2, 1.0, 2.0, 2.0))


class SmallCallsTests(SynchronousTestCase):
    """L{smallCalls}"""

    def setUp(self) -> None:
        """Make calls that the test answers, while work goes on that the test ends."""
        self.clock = Clock()
        self.asked: list[Deferred[None]] = []
        self.work: Deferred[str] = Deferred()
        calls = smallCalls(self.clock, self.call, 0.25, self.work)
        self.result = Deferred.fromCoroutine(calls)

    def call(self) -> Deferred[None]:
        """Make a call."""
        self.asked.append(Deferred())
        return self.asked[-1]

    def test_schedule(self) -> None:
        """
        Small calls are made when they are due, whether or not earlier ones have
        been answered, and each is timed to its own answer.
        """
        for _ in range(2):
            self.clock.advance(0.25)
        self.assertEqual(len(self.asked), 3)
        self.asked[2].callback(None)
        self.clock.advance(0.125)
        self.work.callback("done")
        self.asked[0].callback(None)
        self.assertNoResult(self.result)
        self.asked[1].callback(None)
        expected = ("done", Latencies.of([0.0, 0.625, 0.375]))
        self.assertEqual(self.successResultOf(self.result), expected)
        self.clock.advance(1)
        self.assertEqual(len(self.asked), 3)

    def test_late(self) -> None:
        """
        Small calls that were made late, all at once, are timed from when they
        were due.
        """
        self.asked[0].callback(None)
        self.clock.advance(1.0)
        self.assertEqual(len(self.asked), 5)
        self.work.callback("done")
        for asked in self.asked[1:]:
            asked.callback(None)
        expected = ("done", Latencies.of([0.0, 0.75, 0.5, 0.25, 0.0]))
        self.assertEqual(self.successResultOf(self.result), expected)

    def test_failed(self) -> None:
        """A measurement in which a small call failed fails with its error."""
        self.clock.advance(0.25)
        for asked in self.asked:
            asked.errback(RuntimeError("lost"))
        self.work.callback("done")
        self.failureResultOf(self.result, RuntimeError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_workFailed(self) -> None:
        """
        If the work fails, the measurement fails with its error at once, and makes no
        more calls.
        """
        self.work.errback(ValueError("lost"))
        self.failureResultOf(self.result, ValueError)
        self.asked[0].errback(RuntimeError("lost"))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class BenchTests(TwistdTestCase):
    """A measurement."""

    def test_rows(self) -> Deferred[None]:
        """
        bench measures calls in three situations, moves the same bytes both ways, and
        leaves no file behind.
        """

        async def test() -> None:
            endpoint = await self.twistd()
            options = ("--seconds", "0.2", "--size", "3M", "--json")
            output = await self.succeed("bench", endpoint, *options)
            found = json.loads(output)
            self.assertIs(found["outOfBand"], False)
            rows = found["rows"]
            self.assertEqual(
                [row["what"] for row in rows], ["idle", "upload", "download"]
            )
            for row in rows:
                calls = row["calls"]
                self.assertGreaterEqual(calls["count"], 1)
                self.assertTrue(
                    0 < calls["p50"] <= calls["p99"] <= calls["longest"], calls
                )
            idle, upload, download = rows
            self.assertEqual(idle["size"], 0)
            self.assertTrue(0 < upload["size"] <= 3 * 2**20)
            self.assertEqual(upload["size"], download["size"])
            self.assertEqual(os.listdir(self.root), [])

        return ensureDeferred(test())

    def test_table(self) -> Deferred[None]:
        """Without --json, the command prints a table."""

        async def test() -> None:
            endpoint = await self.twistd("--oob-listen", LOCAL)
            options = ("--seconds", "0.1", "--size", "64K", "--oob")
            output = await self.succeed("bench", endpoint, *options, alone=True)
            lines = output.decode().splitlines()
            self.assertEqual(lines[0], "a small call every 20 ms, out of band")
            self.assertEqual(
                [line.split()[0] for line in lines[3:]], ["idle", "upload", "download"]
            )

        return ensureDeferred(test())

    def test_wrongSize(self) -> Deferred[None]:
        """A size that cannot be read is wrong usage, with status 2."""

        async def test() -> None:
            line = await self.complain(2, "bench", "localhost:1", "--size", "much")
            self.assertIn("--size", line)

        return ensureDeferred(test())

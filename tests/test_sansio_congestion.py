# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Tests for L{amp_stream._sansio.congestion}: on simulated links, and step by step.

The bounds are those of the latency page, less a margin that makes a test independent of
the seed.
"""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis.strategies import floats, integers, lists, none, tuples
from twisted.trial.unittest import SynchronousTestCase

from amp_stream._sansio.congestion import CongestionController, Sample
from tests.simulation import SEGMENT, Greedy, Network, Sender, exploration

SMALL, LARGE = 100_000, 1_000_000
MS = 0.001


class LinkTestCase(SynchronousTestCase):
    """Measures queues and shares."""

    def assertQueue(self, network, start, end, p50, p99):
        """Check how long packets stand in the queue (seconds)."""
        self.assertLess(network.queue(50, start, end), p50)
        self.assertLess(network.queue(99, start, end), p99)

    def assertShare(self, network, sender, start, end, least, most=1.01):
        """Check which part of the link a sender has."""
        share = network.share(sender.kernel, start, end)
        self.assertGreater(share, least)
        self.assertLess(share, most)


class AloneTests(LinkTestCase):
    """One sender alone on a link."""

    def check(self, rate, rtt, seconds, p50, p99, share, **options):
        """Run a sender, and look at it from the first second on."""
        network = Network(rate, rtt, LARGE)
        sender = Sender(network, **options)
        network.run(seconds)
        self.assertQueue(network, 1.0, seconds, p50, p99)
        self.assertShare(network, sender, 1.0, seconds, share)
        return network, sender

    @exploration
    def test_20Mbit(self):
        """
        On 20 Mbit/s over 40 ms, the queue stays below 6 ms and the link is full; the
        queue of the first second is below 25 ms.
        """
        network, sender = self.check(20e6, 0.04, 5, 6 * MS, 10 * MS, 0.99)
        self.assertLess(network.queue(99, 0, 1), 25 * MS)
        self.assertShare(network, sender, 0, 5, 0.95)

    def test_5Mbit(self):
        """
        On 5 Mbit/s over 100 ms, the queue stays about as long as four
        segments (10 ms).
        """
        self.check(5e6, 0.1, 8, 11 * MS, 15 * MS, 0.98)

    @exploration
    def test_50Mbit(self):
        """A sender fills a link with a window of half a megabyte within seconds."""
        network, sender = self.check(50e6, 0.1, 4, 6 * MS, 30 * MS, 0.93)
        self.assertShare(network, sender, 2, 4, 0.99)

    @exploration
    def test_100Mbit(self):
        """On a fast and short link, the queue is a few milliseconds."""
        self.check(100e6, 0.01, 2, 6 * MS, 6 * MS, 0.98)

    def test_near(self):
        """On a link with a very short round trip, the queue stays below 6 ms."""
        self.check(20e6, 0.0003, 4, 6 * MS, 6 * MS, 0.99)

    def test_verySlow(self):
        """
        On 2 Mbit/s, where four segments last 23 ms, the link is nearly full and the
        queue stays below 45 ms.
        """
        self.check(2e6, 0.05, 6, 45 * MS, 150 * MS, 0.9)

    @exploration
    def test_lateTimers(self):
        """
        A program whose timers are 2 ms late keeps the link full; its queue
        is longer.
        """
        self.check(20e6, 0.04, 5, 8 * MS, 15 * MS, 0.97, late=0.002)

    def test_unbounded(self):
        """Without C{maxBulkDelay}, the queue fills."""
        network = Network(20e6, 0.04, LARGE)
        sender = Sender(network, maxBulkDelay=None)
        network.run(3)
        self.assertGreater(network.queue(50, 1, 3), 100 * MS)
        self.assertShare(network, sender, 1, 3, 0.99)

    @exploration
    def test_moreDelay(self):
        """A larger C{maxBulkDelay} allows a longer queue."""
        network = Network(20e6, 0.04, LARGE)
        Sender(network, maxBulkDelay=0.05)
        network.run(4)
        self.assertTrue(15 * MS < network.queue(50, 2, 4) < 50 * MS)

    @exploration
    def test_jitter(self):
        """
        Where round trip times vary by 3 or 10 ms, the link stays full, whether the
        first sample was long or short.
        """
        for jitter, share, seed in ((0.003, 0.97, 1), (0.01, 0.94, 1), (0.01, 0.94, 5)):
            network = Network(20e6, 0.04, LARGE, jitter=jitter, seed=seed)
            sender = Sender(network)
            network.run(6)
            self.assertShare(network, sender, 1, 6, share)
            self.assertLess(network.queue(50, 1, 6), 15 * MS)

    def test_slowSource(self):
        """
        A source slower than the link leaves no queue, and a faster one after it fills
        the link at once.
        """
        network = Network(20e6, 0.04, LARGE)
        sender = Sender(network, source=lambda time: 1e6 * (time if time < 3 else 1e3))
        network.run(6)
        self.assertQueue(network, 1, 3, 5 * MS, 15 * MS)
        self.assertShare(network, sender, 1, 3, 0.38, 0.45)
        self.assertQueue(network, 4, 6, 6 * MS, 15 * MS)
        self.assertShare(network, sender, 4, 6, 0.98)

    def test_pause(self):
        """A source that pauses causes no burst when it resumes."""
        network = Network(20e6, 0.04, LARGE)
        sender = Sender(network, source=lambda time: 0 if 2 < time < 4 else 1e9)
        network.run(7)
        self.assertQueue(network, 4, 7, 7 * MS, 15 * MS)
        self.assertShare(network, sender, 5, 7, 0.98)


class ChangeTests(LinkTestCase):
    """Links that change, after which the sender settles within two seconds."""

    def check(self, name, value, share=0.97, rtt=0.04):
        """Change something after 2 s."""
        network = Network(20e6, rtt, LARGE)
        sender = Sender(network)
        network.run(2)
        setattr(network, name, value)
        network.run(6)
        self.assertQueue(network, 4, 6, 11 * MS, 20 * MS)
        self.assertShare(network, sender, 4, 6, share)

    @exploration
    def test_slower(self):
        """The queue is short and the link full again after the rate halves."""
        self.check("rate", 10e6)

    @exploration
    def test_faster(self):
        """The queue is short and the link full again after the rate doubles."""
        self.check("rate", 40e6)

    @exploration
    def test_longer(self):
        """After the round trip grows by 30 ms, the queue is short and the link full."""
        self.check("rtt", 0.07, share=0.93)

    @exploration
    def test_shorter(self):
        """
        After the round trip shrinks by 30 ms, the queue is short and the
        link full.
        """
        self.check("rtt", 0.04, rtt=0.07)


class SharingTests(LinkTestCase):
    """Links that two senders share."""

    @exploration
    def test_two(self):
        """Two senders get at least 40 % each over any 5 s, from 3 s on."""
        network = Network(20e6, 0.04, LARGE)
        senders = [Sender(network), Sender(network, start=1.0)]
        network.run(10)
        for start in (4, 5):
            for sender in senders:
                self.assertShare(network, sender, start, start + 5, 0.4, 0.6)
        self.assertQueue(network, 4, 10, 10 * MS, 25 * MS)

    def test_greedy(self):
        """
        Beside a sender that fills the queue, the controller keeps a tenth of a fair
        share; once it has left, the link is full again within two seconds.
        """
        for queue in (SMALL, LARGE):
            network = Network(20e6, 0.04, queue)
            sender = Sender(network)
            Greedy(network, start=2, end=8)
            network.run(13)
            self.assertShare(network, sender, 4, 8, 0.05)
            self.assertShare(network, sender, 11, 13, 0.97)


def sample(
    delivered=0, inFlight=0, rtt=0.04, window=100, variation=0.0, segment=SEGMENT
):
    """Make a sample of the kernel's state."""
    return Sample(inFlight, delivered, rtt, variation, segment, window)


class StepTests(SynchronousTestCase):
    """L{CongestionController}, step by step."""

    def test_first(self):
        """
        The first window is eight segments, two less than the kernel's, which a small
        call may use.
        """
        controller = CongestionController()
        self.assertEqual((controller.room, controller.due), (inf, 0.0))
        self.assertEqual(controller.window, inf)
        self.assertEqual(controller.pacingRate, 0.0)
        controller.sampled(1.0, sample())
        self.assertEqual(controller.window, 8 * SEGMENT)
        self.assertEqual(controller.room, 8 * SEGMENT)
        self.assertEqual(controller.due, 1.0 + 0.04 / 16)
        self.assertEqual(controller.wait(1.0, 1000), 0.0)
        controller.wrote(8 * SEGMENT)
        self.assertEqual(controller.room, 0)

    def test_pacing(self):
        """
        The kernel is asked to pace at 5/2 of the window per round trip at first, and
        not at all where the round trip is below 2 ms.
        """
        controller = CongestionController()
        controller.sampled(1.0, sample())
        self.assertAlmostEqual(controller.pacingRate, 2.5 * 8 * SEGMENT / 0.04)
        controller = CongestionController()
        controller.sampled(1.0, sample(rtt=0.0015))
        self.assertEqual(controller.pacingRate, 0.0)

    def test_wait(self):
        """
        A sender without room waits at least the resolution of a timer and at most a
        quarter of the round trip; an idle connection never waits.
        """
        controller = CongestionController()
        controller.sampled(1.0, sample(inFlight=8 * SEGMENT))
        self.assertEqual(controller.wait(1.0, SEGMENT), 0.01)
        controller.sampled(1.0, sample(inFlight=-1))
        self.assertEqual(controller.wait(1.0, 100 * SEGMENT), 0.0)
        near = CongestionController()
        near.sampled(1.0, sample(rtt=0.0005, inFlight=8 * SEGMENT))
        self.assertEqual(near.wait(1.0, SEGMENT), 1e-6)

    def test_stalledPeer(self):
        """
        On a link shorter than any timer, a peer that stops reading costs a few thousand
        samples at most, then one per millisecond, and in the end one per ten
        milliseconds.
        """
        controller = CongestionController()
        stalled = sample(rtt=0.0005, inFlight=8 * SEGMENT)
        now, waits = 1.0, []
        while now < 2.0 and len(waits) < 10_000:
            controller.sampled(now, stalled)
            waits.append((now, controller.wait(now, SEGMENT)))
            now += waits[-1][1]
        self.assertLess(len(waits), 3000)
        self.assertGreaterEqual(min(wait for when, wait in waits if when > 1.01), MS)
        self.assertEqual(waits[-1][1], 10 * MS)
        controller.sampled(now, stalled._replace(delivered=SEGMENT))
        self.assertEqual(controller.wait(now, 100 * SEGMENT), 1e-6)

    def test_unknown(self):
        """
        Where the kernel reports too little, or segments of loopback size, nothing is
        bounded and the kernel is not asked again.
        """
        for answer in (None, sample(rtt=0.0), sample(segment=0), sample(segment=65483)):
            controller = CongestionController()
            controller.sampled(1.0, answer)
            self.assertEqual((controller.room, controller.due), (inf, inf))
            controller.wrote(10**9)
            self.assertEqual(controller.wait(1.0, 10**9), 0.0)

    def test_off(self):
        """With C{maxBulkDelay=None}, the kernel is never asked."""
        controller = CongestionController(None)
        self.assertEqual((controller.room, controller.due), (inf, inf))

    def test_smallKernelWindow(self):
        """
        Where the kernel's window is small, bulk leaves two of its segments to small
        calls, but always gets two itself.
        """
        controller = CongestionController()
        for window, room in ((4, 2), (8, 6), (1, 2), (9, 8)):
            controller.sampled(1.0, sample(window=window))
            self.assertEqual(controller.room, room * SEGMENT)

    def test_turn(self):
        """A turn is a small part of the window."""
        controller = CongestionController()
        controller.sampled(1.0, sample())
        self.assertEqual(controller.turn, 8 * SEGMENT // 16)

    @given(
        lists(
            tuples(
                floats(0.0, 1.0),
                none() | floats(1e-6, 2.0),
                integers(0, 10**6),
                integers(-1, 10**7),
                integers(1, 2000),
                integers(0, 10**6),
            ),
            max_size=60,
        )
    )
    def test_bounds(self, steps):
        """
        For any sample, the window is a few segments at least, a wait 10
        ms at most.
        """
        controller = CongestionController()
        now, delivered = 0.0, 0
        for passed, rtt, acknowledged, inFlight, window, written in steps:
            now += passed
            delivered += acknowledged
            answer = rtt and sample(delivered, inFlight, rtt, window, passed / 8)
            controller.sampled(now, answer)
            wait = controller.wait(now, written)
            self.assertTrue(0.0 <= wait <= 0.01)
            if not wait:
                controller.wrote(written)
            self.assertGreaterEqual(controller.window, 4 * SEGMENT)
            self.assertGreaterEqual(controller.pacingRate, 0.0)

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests for L{amp_stream._sansio.window}: windows that grow while senders wait."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from amp_stream import Limits
from amp_stream._sansio.frames import MaxStreamData
from amp_stream._sansio.limits import INITIAL_MAXIMUM
from amp_stream._sansio.streammap import ReceiveStreams
from amp_stream._sansio.window import WindowGrowth

MIB = 1_048_576


class WindowGrowthTests(SynchronousTestCase):
    """The rule by which a window grows."""

    def test_factors(self):
        """
        A noticeable wait doubles the window, a wait for most of the time quadruples it,
        and a shorter one changes nothing.
        """
        for lost, size in ((0.0, 1000), (0.06, 1000), (0.07, 2000), (0.6, 4000)):
            growth = WindowGrowth(1000, 1_000_000)
            growth.waited(lost, 1.0, 1000)
            self.assertEqual(growth.size, size, lost)

    def test_smallerWindow(self):
        """
        A wait with a window below the current size counts as if it had been
        that size.
        """
        for lost, size in ((0.7, 1000), (0.8, 2000), (0.9, 4000)):
            growth = WindowGrowth(1000, 1_000_000)
            growth.waited(lost, 1.0, 250)
            self.assertEqual(growth.size, size, lost)

    def test_most(self):
        """A window never grows beyond its limit, nor is it below its first size."""
        growth = WindowGrowth(1000, 1500)
        growth.waited(1.0, 1.0, 1000)
        self.assertEqual(growth.size, 1500)
        growth = WindowGrowth(1000, 10)
        growth.waited(1.0, 1.0, 1000)
        self.assertEqual(growth.size, 1000)


class Link:
    """
    A sender with any number of bytes, and a receiver; between them a link with a delay.

    @ivar received: How many bytes have been consumed.
    """

    def __init__(self, limits, delay, rate):
        """
        @param delay: The one-way delay of the link (seconds).
        @param rate: How many chunks of 65,536 bytes pass in a second.
        """
        self.inbound = ReceiveStreams(limits)
        self.delay = delay
        self.gap = 1 / rate
        self.now = 0.0
        self.free = 0.0
        self.received = 0
        self.sent = 0
        self.grants = [(0.0, INITIAL_MAXIMUM)]
        self.stream = self.inbound.accept(0)

    @property
    def size(self):
        return self.inbound._growth.size

    def chunk(self):
        """Send the next chunk as soon as there is credit, and receive it."""
        heard = next(when for when, maximum in self.grants if maximum > self.sent)
        known = max(
            maximum
            for when, maximum in self.grants
            if when <= max(heard, self.now - self.delay)
        )
        count = min(65_536, known - self.sent)
        self.free = max(self.free + self.gap, heard)
        self.now = max(self.now, self.free + self.delay)
        self.inbound.receive(0, self.sent, bytes(count), now=self.now)
        self.sent += count

    def consume(self):
        """Read the bytes that have arrived."""
        while data := self.inbound.read(self.stream, self.now):
            self.received += len(data)
        for frame in self.inbound.frames:
            assert isinstance(frame, MaxStreamData)
            self.grants.append((self.now + self.delay, frame.maximum))
        self.inbound.frames.clear()


class LinkTests(SynchronousTestCase):
    """Windows on links of different lengths."""

    def run_(self, link, until):
        while link.received < until:
            link.chunk()
            link.consume()

    def test_long(self):
        """
        On a long and fast link the window grows until the sender no longer waits; a
        large stream takes little longer than the link needs.
        """
        link = Link(Limits(maxWindow=64 * MIB), 0.05, 1000)
        self.run_(link, 256 * MIB)
        self.assertGreaterEqual(link.size, 8 * MIB)
        self.assertLess(link.now, 1.2 * 256 * MIB / 65_536 / 1000)

    def test_bounded(self):
        """A window does not grow beyond C{maxWindow}."""
        link = Link(Limits(maxWindow=2 * MIB), 0.05, 1000)
        self.run_(link, 64 * MIB)
        self.assertEqual(link.size, 2 * MIB)
        self.assertLessEqual(max(maximum for _, maximum in link.grants), 66 * MIB)

    def test_short(self):
        """
        A window does not grow on a link whose round trip takes less than
        half of it.
        """
        link = Link(Limits(), 0.001, 1000)
        self.run_(link, 64 * MIB)
        self.assertEqual(link.size, MIB)

    def test_lateConsumer(self):
        """A consumer that lets bytes wait makes no window grow, on any link."""
        link = Link(Limits(), 0.05, 1000)
        for _ in range(20):
            while link.sent < link.stream.window.advertisedMax:
                link.chunk()
            link.now += 1.0
            link.consume()
        self.assertEqual(link.size, MIB)

    def test_lateAfterwards(self):
        """
        A grown window is for consumers that keep up: after a late read, the next grants
        are for a window of the first size.
        """
        link = Link(Limits(), 0.05, 1000)
        self.run_(link, 64 * MIB)
        self.assertEqual(link.size, 16 * MIB)
        window = link.stream.window
        while link.sent < window.advertisedMax:
            link.chunk()
        self.assertGreater(link.stream.held, 2 * MIB)
        link.consume()
        self.assertTrue(window.wasBlocked)
        while link.sent < window.advertisedMax:
            link.chunk()
        link.consume()
        self.assertLessEqual(window.advertisedMax - window.consumed, MIB)

    def test_shared(self):
        """
        All streams of a connection use the grown window, but together they get no more
        than the connection's limit.
        """
        limits = Limits(maxBufferedBytes=32 * MIB)
        link = Link(limits, 0.05, 1000)
        self.run_(link, 64 * MIB)
        windows = []
        for id in range(1, 4):
            stream = link.inbound.accept(id)
            for start in range(0, INITIAL_MAXIMUM, 65_536):
                link.inbound.receive(id, start, bytes(65_536), now=link.now)
                link.inbound.read(stream, link.now)
            windows.append(stream.window.advertisedMax - stream.window.consumed)
        self.assertGreater(windows[0], 14 * MIB)
        self.assertLessEqual(link.inbound.reserved, 32 * MIB + 4 * INITIAL_MAXIMUM)

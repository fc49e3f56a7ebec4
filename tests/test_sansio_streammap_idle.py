# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The rules of L{amp_stream._sansio.streammap}."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from amp_stream._sansio.streammap import IdleWatch


class Waiting:
    """An object to watch."""

    def __init__(self):
        self.isIdle = True
        self.progress = 0
        self.lastProgress = None


class IdleWatchTests(SynchronousTestCase):
    """Streams that make no progress."""

    def test_expires(self):
        """
        A stream without progress expires after the whole timeout, not before, and at
        each check after that.
        """
        watch, stream = IdleWatch(8.0), Waiting()
        self.assertEqual(watch.interval, 2.0)
        for now in (100.0, 102.0, 104.0, 106.0):
            self.assertEqual(watch.look(now, [stream]), [])
        self.assertEqual(watch.look(108.0, [stream]), [stream])
        self.assertEqual(watch.look(110.0, [stream]), [stream])

    def test_progress(self):
        """Each step of progress restarts the timeout."""
        watch, stream = IdleWatch(8.0), Waiting()
        for now in range(0, 100, 6):
            stream.progress += 1
            self.assertEqual(watch.look(now, [stream]), [])
        self.assertEqual(watch.look(now + 8, [stream]), [stream])

    def test_notIdle(self):
        """Time in which a stream is not waiting restarts its timeout."""
        watch, stream = IdleWatch(8.0), Waiting()
        watch.look(0, [stream])
        stream.isIdle = False
        self.assertEqual(watch.look(100, [stream]), [])
        stream.isIdle = True
        self.assertEqual(watch.look(102, [stream]), [])
        self.assertEqual(watch.look(109, [stream]), [])
        self.assertEqual(watch.look(110, [stream]), [stream])

    def test_eachForItself(self):
        """Each stream has its own timeout, which starts when it is first seen."""
        watch = IdleWatch(8.0)
        first, second, third = Waiting(), Waiting(), Waiting()
        watch.look(0, [first])
        watch.look(4, [first, second])
        third.isIdle = False
        self.assertEqual(watch.look(8, [first, second, third]), [first])
        self.assertEqual(watch.look(12, [second, third]), [second])

    def test_never(self):
        """Without a timeout, the watch asks for no checks, and finds no stream."""
        watch, stream = IdleWatch(None), Waiting()
        self.assertIsNone(watch.interval)
        for now in (0, 1e9, 1e18):
            self.assertEqual(watch.look(now, [stream]), [])

    @given(st.floats(0.001, 1e6), st.floats(0, 1e9), st.floats(0, 1, exclude_max=True))
    def test_howExact(self, timeout, begin, part):
        """
        Checks at the watch's interval find a stream after at least the timeout, and at
        most a quarter later.
        """
        watch, stream = IdleWatch(timeout), Waiting()
        moved = begin - part * watch.interval
        now = begin
        looks = 1
        while not watch.look(now, [stream]):
            now = begin + looks * watch.interval
            looks += 1
            self.assertLess(looks, 10)
        slack = timeout * 0.01 + 1e-6 * begin
        self.assertGreaterEqual(now - moved, timeout - slack)
        self.assertLessEqual(now - moved, timeout * 1.25 + slack)

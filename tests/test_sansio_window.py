# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The rules of L{amp_stream._sansio.window}."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from amp_stream._sansio.limits import INITIAL_MAXIMUM
from amp_stream._sansio.window import ReceiveWindow, SendWindow
from amp_stream.errors import UsageError
from tests.codes import classOf

MEBIBYTE = 1_048_576


class SendWindowTests(SynchronousTestCase):
    """The sender's credit."""

    def test_beginning(self):
        """A sender may send 262,144 bytes before the first grant."""
        window = SendWindow()
        self.assertEqual((window.offset, window.available), (0, 262_144))
        self.assertEqual(window.spend(262_144), 0)
        self.assertEqual((window.offset, window.available), (262_144, 0))

    def test_spend(self):
        """
        Each byte of credit is spent once, in order, and spending none
        changes nothing.
        """
        window = SendWindow(10)
        self.assertEqual([window.spend(n) for n in (3, 0, 7, 0)], [0, 3, 3, 10])

    def test_overspend(self):
        """Sending more than the credit raises an error and changes nothing."""
        window = SendWindow(10)
        window.spend(4)
        self.assertRaises(UsageError, window.spend, 7)
        self.assertEqual((window.offset, window.available), (4, 6))

    @given(st.lists(st.integers(0, 100)))
    def test_neverBackwards(self, maxima):
        """
        The maximum is the largest grant, in any order, and only a larger one is
        reported as new.
        """
        window = SendWindow(50)
        largest = 50
        for maximum in maxima:
            self.assertEqual(window.grant(maximum), maximum > largest)
            largest = max(largest, maximum)
            self.assertEqual(window.maximum, largest)


class ReceiveWindowTests(SynchronousTestCase):
    """The receiver's window."""

    def test_beginning(self):
        """A receiver takes 262,144 bytes before the first grant."""
        window = ReceiveWindow()
        window.admit(262_144)
        self.assertEqual((window.highestOffset, window.room), (262_144, 0))

    def test_violation(self):
        """Bytes beyond the window are not counted; the error names C{MaxStreamData}."""
        window = ReceiveWindow(1000)
        window.admit(999)
        error = self.assertRaises(classOf(b"STREAM_FLOW_CONTROL"), window.admit, 1001)
        self.assertIn("stream.MaxData", str(error))
        self.assertEqual(window.highestOffset, 999)

    def test_anyOrder(self):
        """Bytes at lower offsets do not move the window's highest offset back."""
        window = ReceiveWindow(1000)
        for end in (10, 500, 20):
            window.admit(end)
        self.assertEqual((window.highestOffset, window.room), (500, 500))

    def test_grant(self):
        """
        Granted bytes are accepted at once, and count as told when the
        sender is told.
        """
        window = ReceiveWindow(1000)
        window.grant(3000)
        self.assertEqual((window.maxData, window.advertisedMax), (3000, 1000))
        window.admit(3000)
        self.assertEqual(window.tell(), 3000)
        self.assertEqual(window.advertisedMax, 3000)

    def test_shrink(self):
        """
        A smaller window takes no credit back, and grants more only after enough bytes
        were read.
        """
        window = ReceiveWindow(1000)
        window.grant(3000)
        window.tell()
        for consumed, maxData in ((0, 3000), (2000, 3000), (2500, 3500)):
            window.consumed = consumed
            window.grant(1000)
            self.assertEqual(window.maxData, maxData)

    def test_dueWhenBothHalves(self):
        """
        A grant is due when half a window is free and the sender has used half of its
        credit, not with one of the two.
        """
        window = ReceiveWindow(1000)
        for consumed, highestOffset, due in (
            (0, 0, False),
            (0, 1000, False),
            (499, 1000, False),
            (500, 1000, True),
            (500, 500, True),
            (499, 499, False),
        ):
            window.consumed, window.highestOffset = consumed, highestOffset
            self.assertEqual(window.isWorth(1000), due, (consumed, highestOffset))

    def test_halfOfWhatIsKnown(self):
        """
        The sender's half is measured from the credit that it had when it was
        last told.
        """
        window = ReceiveWindow(1000)
        window.consumed = window.highestOffset = 1000
        window.grant(600)
        window.tell()
        window.consumed = window.highestOffset = 1299
        self.assertFalse(window.isWorth(10_000))
        window.consumed = window.highestOffset = 1300
        self.assertTrue(window.isWorth(10_000))

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["arrive", "consume", "grant", "tell"]),
                st.integers(0, 5000),
            )
        )
    )
    def test_neverBackwards(self, steps):
        """
        For any steps, the offsets never decrease, keep their order, and the grant is
        the largest asked for.
        """
        window = ReceiveWindow(1000)
        most = 1000
        for step, number in steps:
            before = (
                window.consumed,
                window.highestOffset,
                window.advertisedMax,
                window.maxData,
            )
            if step == "arrive":
                window.admit(min(number, window.maxData))
            elif step == "consume":
                window.consumed = max(
                    window.consumed, min(number, window.highestOffset)
                )
            elif step == "grant":
                window.grant(number)
                most = max(most, window.consumed + number)
            else:
                window.tell()
            after = (
                window.consumed,
                window.highestOffset,
                window.advertisedMax,
                window.maxData,
            )
            self.assertTrue(all(a <= b for a, b in zip(before, after, strict=True)))
            self.assertLessEqual(window.consumed, window.highestOffset)
            self.assertLessEqual(window.highestOffset, window.maxData)
            self.assertLessEqual(window.advertisedMax, window.maxData)
            self.assertEqual(window.maxData, most)

    def transfer(self, total, sizes, chunk, taken):
        """
        Send bytes through both windows.

        @param sizes: The windows, one each time that bytes are read; the last one from
            then on.

        @param taken: How many bytes to read at once.

        @return: The number of grants.
        """
        sizes = list(sizes)
        sender, receiver = SendWindow(), ReceiveWindow()
        grants = 0
        while receiver.consumed < total:
            count = min(chunk, sender.available, total - sender.offset)
            if count:
                receiver.admit(sender.spend(count) + count)
            if count == 0 or receiver.highestOffset - receiver.consumed > taken:
                self.assertGreater(receiver.highestOffset, receiver.consumed, "stalled")
                receiver.consumed = min(
                    receiver.highestOffset, receiver.consumed + taken
                )
                size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
                if receiver.isWorth(size):
                    receiver.grant(size)
                    grants += 1
                    self.assertTrue(sender.grant(receiver.tell()))
        return grants

    def test_fewGrants(self):
        """A long stream gets a grant each half window, not more often."""
        for taken in (1000, 65_535, 700_000):
            grants = self.transfer(64 * MEBIBYTE, [MEBIBYTE], 65_535, taken)
            self.assertLessEqual(grants, 2 * 64)
            self.assertGreaterEqual(grants, 64 - 1)

    def test_noGrant(self):
        """
        A stream of less than half the initial credit gets no grant, even with
        unknown size.
        """
        self.assertEqual(
            self.transfer(INITIAL_MAXIMUM // 2 - 1, [MEBIBYTE], 1000, 1), 0
        )

    @given(
        st.integers(1, 3_000_000),
        st.lists(st.integers(INITIAL_MAXIMUM, MEBIBYTE), min_size=1),
        st.integers(10_000, 65_535),
        st.integers(10_000, 2_000_000),
    )
    def test_neverStalls(self, total, sizes, chunk, taken):
        """For any window sizes and read sizes, the sender reaches its end."""
        self.transfer(total, sizes, chunk, taken)

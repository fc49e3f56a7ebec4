# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
How large the windows of a connection are: as large as it takes for no sender to wait.

A sender that has the whole of its window under way waits until it hears of more.  If
the receiver had granted that in time, which is when half of the window was consumed,
then the window is smaller than what the connection can have under way in a round trip,
and the wait is lost.  It can be seen at the receiver, without a clock at the other end
and without a measure of the round trip: bytes arrive up to the very limit that the
sender knew of, and for a while none beyond it.

When that while is longer than any other between two chunks, and a noticeable part
of the time, the windows of the connection grow.  They do not where the receiver's own
program was late: then nothing had been granted when the bytes came to their limit.
"""

from __future__ import annotations

__all__ = ["WindowGrowth"]

_NOTICEABLE = 1 / 16


class WindowGrowth:
    """
    The size of the windows of one connection.

    @ivar size: How many bytes of a stream may wait for their consumer (bytes).
    """

    __slots__ = ("_most", "size")

    def __init__(self, size: int, most: int) -> None:
        """
        @param size: With how many bytes to begin (bytes).

        @param most: How many there may be in the end (bytes).
        """
        self.size = size
        self._most = max(size, most)

    def waited(self, lost: float, span: float, window: int) -> None:
        """
        A sender has waited for credit that was on its way.

        @param lost: For how long (seconds).

        @param span: The time since it did that before (seconds).

        @param window: How many bytes it had credit for (bytes), if it was not
            as many as it is going to have: the first bytes of a stream, or those
            before the size changed.
        """
        busy = (span - lost) * max(1.0, self.size / window)
        if busy < span / 2:
            factor = 4
        elif busy < span * (1 - _NOTICEABLE):
            factor = 2
        else:
            return
        self.size = min(self._most, self.size * factor)

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

Credit in bytes: how far a sender may go, and when a receiver lets it go further.

Both windows are RFC 9000's (section 4.1): a maximum is an absolute offset, it
never goes back, and granting it again is harmless.

The receiver tells the sender of new credit when two things are true: at least
half a window has become free since the last time, and the sender has used at
least half of what it had then.  The first keeps these messages few, the second
sends none for a stream that fits into half of what every stream may send unasked.
(One that says its size is told of nothing beyond that: L{ReceiveStream.needsMore}.)
"""

from __future__ import annotations

from math import inf

from attrs import define, field

from amp_stream._sansio.limits import INITIAL_MAXIMUM, MAX_NUMBER
from amp_stream.errors import (
    ProtocolViolation,
    UsageError,
)

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


NEVER = MAX_NUMBER + 1
"""
An offset that no byte has.
"""


@define(eq=False)
class SendWindow:
    """
    What the sender of one stream may still send.

    @ivar offset: How many bytes have been sent.
    @ivar maximum: The offset that must not be passed.
    """

    maximum: int = INITIAL_MAXIMUM
    offset: int = field(default=0, init=False)

    @property
    def available(self) -> int:
        """How many bytes may be sent now."""
        return self.maximum - self.offset

    def spend(self, count: int) -> int:
        """
        Take credit for the next bytes.

        @param count: How many bytes are about to be sent.

        @return: The offset of the first of them.

        @raise UsageError: If there is not so much credit.
        """
        start = self.offset
        if count > self.maximum - start:
            raise UsageError(
                f"{count} bytes do not fit into a credit of {self.available}"
            )
        self.offset = start + count
        return start

    def grant(self, maximum: int) -> bool:
        """
        Note what the receiver allows.

        @param maximum: The new maximum; one that is no larger changes nothing.

        @return: Whether there is more credit than before.
        """
        if maximum <= self.maximum:
            return False
        self.maximum = maximum
        return True


@define(eq=False)
class ReceiveWindow:
    """
    What the receiver of one stream has promised to take.

    @ivar consumed: How many bytes have left for their consumer.
    @ivar granted: The maximum that the sender is held to.
    @ivar told: The maximum that the sender knows.  It is less where an answer that
        will say so is still being kept back.
    @ivar highest: The end of the furthest byte that has arrived.
    @ivar edge: What the sender knew of before it was told the last time, if it had not
        used that up by then; bytes beyond that show that it has heard.  L{NEVER}
        otherwise.
    @ivar isLate: Whether the sender had used up all that it knew of when it was told
        the last time: its bytes had to wait for their consumer.
    """

    granted: int = INITIAL_MAXIMUM
    told: int = field(init=False)
    consumed: int = field(default=0, init=False)
    highest: int = field(default=0, init=False)
    edge: int = field(default=NEVER, init=False)
    isLate: bool = field(default=False, init=False)
    _span: int = field(init=False)
    _before: int = field(init=False)
    # When the last bytes came, and the longest time between two.
    _last: float = field(default=inf, init=False)
    _gap: float = field(default=0.0, init=False)
    _isAtEdge: bool = field(default=False, init=False)
    _measured: float = field(default=inf, init=False)

    @told.default
    @_span.default
    @_before.default
    def _first(self) -> int:
        return self.granted

    @property
    def room(self) -> int:
        """How many bytes beyond the furthest one would be taken now."""
        return self.granted - self.highest

    def admit(self, end: int) -> None:
        """
        Note the end of bytes that arrived.

        @raise ProtocolViolation: If it is beyond what was granted.
        """
        if end > self.granted:
            raise ProtocolViolation(
                f"bytes up to offset {end}, but only {self.granted} were granted; "
                "wait for stream.MaxData, or for the answer to each stream.Data",
                b"STREAM_FLOW_CONTROL",
            )
        self.highest = max(self.highest, end)

    def isDue(self) -> bool:
        """Whether the sender has used up half of what it was told the last time."""
        return self.told - self.highest <= self._span // 2

    def isWorth(self, size: int) -> bool:
        """
        Whether the sender should be told of more.

        @param size: How many bytes may wait for their consumer.
        """
        return self.isDue() and self.consumed + size - self.told >= size // 2

    def grant(self, size: int) -> None:
        """
        Let the sender go on.

        @param size: How many bytes may wait for their consumer from now on; what
            was granted before stays granted.
        """
        self.granted = max(self.granted, self.consumed + size)

    def arrived(self, end: int, now: float) -> tuple[float, float, int] | None:
        """
        Take the time of bytes that have arrived.

        @param end: The end of the bytes.

        @param now: The time (seconds, from any start).

        @return: If the sender has heard what it was told, and had to wait for that: for
            how long, the time since that was measured before (seconds), and how many
            bytes it had credit for.
        """
        gap = now - self._last
        self._last = now
        if end <= self.edge:
            self._isAtEdge = end == self.edge
            self._gap = max(self._gap, gap)
            return None
        wasAtEdge, self._isAtEdge = self._isAtEdge, False
        usual, self._gap = self._gap, 0.0
        measured, self._measured = self._measured, now
        self.edge = NEVER
        if not wasAtEdge or gap <= usual:
            return None
        return gap - usual, now - measured, self._before

    def tell(self, now: float = 0.0) -> int:
        """
        @param now: The time (seconds, from any start).

        @return: The maximum, which the sender is going to be told.
        """
        self.isLate = self.highest >= self.told
        if not self.isLate and self.edge == NEVER:
            self.edge = self.told
            self._before = self._span
        self._measured = min(self._measured, now)
        self.told = self.granted
        self._span = self.told - self.consumed
        return self.told

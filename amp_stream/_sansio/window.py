# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Flow control: how far a sender may go, and when its receiver lets it go further.

The windows of both ends are those of RFC 9000 (section 4.1): a maximum is an absolute
offset, it never goes back, and granting it again is harmless.

The receiver tells the sender of new credit when two things are true: at least half a
window has become free since the last time, and the sender has used at least half of the
credit that it had then.  The first keeps these messages few, the second sends none for
a stream that fits into half of the bytes that every stream may send unasked.  (A sender
that announces its size needs no credit beyond that: L{ReceiveStream.needsMore}.)

Windows grow until no sender waits.  A sender whose whole window is under way waits
until it hears of more.  If the receiver had granted that in time, which is when half of
the window was consumed, then the window is smaller than the bytes that the connection
can have under way in a round trip, and the wait is lost.  The receiver can see it,
without a clock at the other end and without a measure of the round trip: bytes arrive
up to the very limit that the sender knew of, and for a while none beyond it.  If that
while is longer than any other between two chunks, and a noticeable part of the time,
the windows of the connection grow.  They do not where the receiver's own program was
late: then nothing had been granted when the bytes came to their limit.
"""

from __future__ import annotations

from math import inf

from attrs import define, field

from amp_stream._sansio.limits import INITIAL_MAXIMUM, MAX_NUMBER
from amp_stream.errors import ProtocolViolation, UsageError

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


@define(eq=False, repr=False)
class SendWindow:
    """
    The bytes that the sender of one stream may still send.

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


@define(eq=False, repr=False)
class ReceiveWindow:
    """
    The bytes that the receiver of one stream has room for.

    @ivar consumed: How many bytes have left for their consumer.
    @ivar maxData: The maximum that the sender is held to.
    @ivar advertisedMax: The maximum that the sender knows.  It is less where an answer
        that will say so is still being kept back.
    @ivar highestOffset: The end of the furthest byte that has arrived.
    @ivar previousMax: The maximum before the first update that the sender may not know
        of yet, unless its bytes had reached that maximum by then.  Bytes beyond it show
        that the sender knows of the update.  L{NEVER} otherwise.
    @ivar wasBlocked: Whether the bytes had reached the maximum when the last one was
        sent to the sender: it had to wait for the consumer.
    """

    maxData: int = INITIAL_MAXIMUM
    advertisedMax: int = field(init=False)
    consumed: int = field(default=0, init=False)
    highestOffset: int = field(default=0, init=False)
    previousMax: int = field(default=NEVER, init=False)
    wasBlocked: bool = field(default=False, init=False)
    _span: int = field(init=False)
    _before: int = field(init=False)
    # When the last bytes came, and the longest time between two.
    _last: float = field(default=inf, init=False)
    _gap: float = field(default=0.0, init=False)
    _isAtEdge: bool = field(default=False, init=False)
    _measured: float = field(default=inf, init=False)

    @advertisedMax.default
    @_span.default
    @_before.default
    def _first(self) -> int:
        return self.maxData

    @property
    def room(self) -> int:
        """How many bytes beyond the furthest one would be taken now."""
        return self.maxData - self.highestOffset

    def admit(self, end: int) -> None:
        """
        Note the end of bytes that arrived.

        @raise ProtocolViolation: If it is beyond what was granted.
        """
        if end > self.maxData:
            raise ProtocolViolation(
                f"bytes up to offset {end}, but only {self.maxData} were granted; "
                "wait for stream.MaxData, or for the answer to each stream.Data",
                b"STREAM_FLOW_CONTROL",
            )
        self.highestOffset = max(self.highestOffset, end)

    def isDue(self) -> bool:
        """Whether the sender has used up half of what it was told the last time."""
        return self.advertisedMax - self.highestOffset <= self._span // 2

    def isWorth(self, size: int) -> bool:
        """
        Whether the sender should be told of more.

        @param size: How many bytes may wait for their consumer.
        """
        return self.isDue() and self.consumed + size - self.advertisedMax >= size // 2

    def grant(self, size: int) -> None:
        """
        Let the sender go on.

        @param size: How many bytes may wait for their consumer from now on; what
            was granted before stays granted.
        """
        self.maxData = max(self.maxData, self.consumed + size)

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
        if end <= self.previousMax:
            self._isAtEdge = end == self.previousMax
            self._gap = max(self._gap, gap)
            return None
        wasAtEdge, self._isAtEdge = self._isAtEdge, False
        usual, self._gap = self._gap, 0.0
        measured, self._measured = self._measured, now
        self.previousMax = NEVER
        if not wasAtEdge or gap <= usual:
            return None
        return gap - usual, now - measured, self._before

    def tell(self, now: float = 0.0) -> int:
        """
        @param now: The time (seconds, from any start).

        @return: The maximum, which the sender is going to be told.
        """
        self.wasBlocked = self.highestOffset >= self.advertisedMax
        if not self.wasBlocked and self.previousMax == NEVER:
            self.previousMax = self.advertisedMax
            self._before = self._span
        self._measured = min(self._measured, now)
        self.advertisedMax = self.maxData
        self._span = self.advertisedMax - self.consumed
        return self.advertisedMax

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
How many bytes of bulk may be in flight, so that small calls do not wait behind them.

Bulk can stand before a small call in three places: in the transport, in the kernel, and
in the queue of the router before the narrowest link.  Turns bound the first
(L{amp_stream._sansio.pacer}), C{TCP_NOTSENT_LOWAT} the second.  Nothing in TCP bounds
the third: loss-based congestion control slows down when that queue has overflowed. This
module bounds it.  It counts the bytes in flight, which the kernel has taken and the
peer has not acknowledged, and keeps them below a window.

The kernel says once in a while what is in flight, what has been delivered, and how long
a round trip takes (L{Sample}, from C{TCP_INFO}).  From that follow

  - C{minRTT}, the round trip time without a queue: the least that was seen;
  - C{queue = rtt - minRTT}, the time spent in queues (seconds), where C{rtt} is the
    least of the last half round trip, so that one late acknowledgement is no queue;
  - C{rate = window / rtt}, where C{window} is the one that was in force a round trip
    ago, as that is the one that this C{rtt} belongs to;
  - C{allowance}, the queue that is allowed (bytes): a part of C{maxBulkDelay} in
    proportion to the rate, and a few segments that are the same for everybody.

The window is in one of four phases.

B{START.}  The window grows by what is acknowledged, as in slow start.  A burst that
went through the narrow link leaves it at that link's rate, long before the link is
full.  So the window stops doubling where C{burstRate * minRTT + allowance} is reached,
before there is a queue.  The phase ends as soon as there is one.

B{STEADY.}  Once in a round trip, C{goal = rate * minRTT + allowance}: what the link
holds plus the queue that is allowed.  With a longer queue than that, the window falls
to the goal, by at most 30 %.  Otherwise, if the sender had to wait for room, it rises
to the goal, in steps that double while less than half of the allowed queue is there.  A
sender that never had to wait (its source is slow) leaves the window as it is.

B{EMPTYING} and B{LOOKING.}  The least round trip time can be wrong: the path has
changed, or another sender's queue was there from the beginning, or the first round trip
was luckily short.  So the sender looks, if it saw no empty queue for ten seconds, or if
four rounds in a row saw one that is far too long.  It looks 0.4 seconds after START if
bursts were much faster than it is now, or if round trips vary.  For a look, the window
goes to 85 % of what the link holds (half of it if the path may be shorter, or if the
last look has raised C{minRTT}) until no more than that is in flight, and stays there
for two round trips.  If the least round trip time of these is longer than C{minRTT} by
more than the allowed queue, it takes the place of C{minRTT}.  If it is so much longer
that the path must be another one, START begins again.

The window has a floor, a tenth of the highest rate of the last minutes.  Another sender
that fills the queue would otherwise push the window down to a few segments.

The kernel is asked to pace at 5/4 of C{window / rtt} (5/2 in START).  Otherwise what is
acknowledged in bursts is sent in bursts for ever, and a burst is a queue.

Where the kernel says nothing, nothing is bounded.

Sources: the goal is FAST TCP's equation (Wei and others, 2006) with an allowance in
proportion to the rate beside the constant one; the standing round trip time and the
doubling steps are Copa's (Arun and Balakrishnan, 2018); pacing, and the rate of a
burst, are BBR's; slowing down to measure the path again is LEDBAT++'s, which so mends a
fault of LEDBAT (RFC 6817).

Rejected: a window made of the delivered rate (a hole in what is sent lowers it, and
that makes the next hole); C{tcpi_delivery_rate} (under a bound of ours every sample is
limited by the application, and then the kernel reports the highest there ever was);
C{tcpi_min_rtt} (it lasts 300 seconds, longer than a path does); C{SO_SNDBUF} (writable
again only at two thirds, counted with overhead, and never automatic again).
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from math import inf
from typing import NamedTuple

from attrs import define, field

_TIME_SHARE = 0.4
"""
The part of C{maxBulkDelay} that is allowed as a queue in proportion to the rate.  The
rest is for the segments that are allowed whatever the rate is.
"""

_ALLOWED_SEGMENTS = 4
"""
How many segments may stand in the queue whatever the rate is.  On a slow link, fewer
are seen as a queue where there is none: a turn is three segments, and every other one
is acknowledged.
"""

_INITIAL_SEGMENTS = 8
"""
The first window (segments): two less than the kernel's (RFC 6928), for small calls.
"""

_LEAST_SEGMENTS = 4
"""
The least window (segments).
"""

_FLOOR = 1 / 10
"""
The least window, as a part of what the highest rate would need.
"""

_FLOOR_HALF_LIFE = 60.0
"""
In which time the highest rate is half forgotten (seconds).
"""

_TICK = 0.001
"""
The least time that a reactor's timer can wait (seconds).
"""

_LONGEST = 0.01
"""
The longest time to wait before the kernel is asked again (seconds).
"""

_NEAR = 0.002
"""
Below this round trip time (seconds) the kernel is not asked to pace: it costs more than
it gives.
"""

_LOOPBACK_SEGMENT = 16_384
"""
Segments of this size (bytes) do not occur on a network: the path is the loopback
interface, which has no queue worth a bound.
"""

_SHRINK = 0.7
"""
What is left of the window, at the least, after a round that saw too long a queue.
"""

_PACING = 1.25
_PACING_START = 2.5
"""
How much faster the kernel may send than the window needs.
"""

_BURST_TIME = 0.004
_BURST_SEGMENTS = 10
"""
How long a burst must be to show the rate of the link (seconds, and segments).
"""

_MOST_NOISE = 0.01
"""
The most that late timers and varying round trips add to the allowed queue (seconds).
"""

_UNUSED = 1.25
"""
If bursts were faster than the rate by this factor, the link may be used too little.
"""

_JITTER = 0.01
_APART = 0.6
"""
Round trips vary if they do by more than this part of one, and more than this part of
the time between two packets, which are far apart on a slow link.
"""

_NO_QUEUE = 0.7
"""
If this part of a queue is left when less is sent, it was no queue.
"""

_FIRST_LOOK = 0.4
_LATER_LOOKS = 10.0
"""
How long to go without an empty queue before a look (seconds): where there is a doubt,
and otherwise.
"""

_STUCK = 4
"""
After how many rounds with far too long a queue to look.
"""

_EMPTIED = 0.85
_EMPTIED_IN_DOUBT = 0.5
"""
The window while the sender looks, as a part of what the link holds.
"""


class Sample(NamedTuple):
    """
    What the kernel knows of a connection.

    @ivar inFlight: Bytes that the kernel has taken and the peer has not got.

    @ivar delivered: Bytes that the peer has got since the connection was made.

    @ivar rtt: The smoothed round trip time (seconds).

    @ivar variation: The mean deviation of the round trip time (seconds).

    @ivar segment: The size of a segment (bytes).

    @ivar window: The congestion window of the kernel (segments).
    """

    inFlight: int
    delivered: int
    rtt: float
    variation: float
    segment: int
    window: int


class _Phase(Enum):
    START = "start"
    STEADY = "steady"
    EMPTYING = "emptying"
    LOOKING = "looking"


class _Acknowledged(NamedTuple):
    now: float
    delivered: int
    window: float
    rtt: float


@define(eq=False, repr=False)
class CongestionController:
    """
    Bounds the bytes of bulk in flight on one connection.

    Ask the kernel when C{now >= due} or when there is not enough C{room}, and pass the
    answer to L{sampled}.  Then write, and say so to L{wrote}, or wait for as long as
    L{wait} says.

    @ivar room: How many bytes may be written before the kernel is asked again.

    @ivar due: When to ask the kernel even if there is room (seconds).
    """

    _maxBulkDelay: float | None = 0.005
    """How much delay bulk may add (seconds), or L{None} for no bound."""

    room: float = field(default=inf, init=False)
    due: float = field(init=False)
    _phase: _Phase = field(default=_Phase.START, init=False)
    _phaseEnd: float = field(default=0.0, init=False)
    _window: float = field(default=0.0, init=False)
    _segment: int = field(default=0, init=False)
    _idle: bool = field(default=True, init=False)
    _rtt: float = field(default=0.0, init=False)
    _variation: float = field(default=0.0, init=False)
    _jitter: float = field(default=0.0, init=False)
    _minRTT: float = field(default=0.0, init=False)
    # The least round trip time when it was last looked for, and whether it may be
    # shorter by now.
    _knownRTT: float = field(default=0.0, init=False)
    _inDoubt: bool = field(default=False, init=False)
    # A look: the round trip time before, the least of it, and the window meanwhile.
    _rttBefore: float = field(default=0.0, init=False)
    _lowestRTT: float = field(default=0.0, init=False)
    _lookWindow: float = field(default=0.0, init=False)
    _rate: float = field(default=0.0, init=False)
    _burstRate: float = field(default=0.0, init=False)
    _peakRate: float = field(default=0.0, init=False)
    _peakAt: float = field(default=0.0, init=False)
    # Of the last round trip.
    _acknowledged: deque[_Acknowledged] = field(factory=deque, init=False)
    _roundEnd: float = field(default=0.0, init=False)
    # Whether there is no room now, and whether there was none in this round.
    _held: bool = field(default=False, init=False)
    _wasHeld: bool = field(default=False, init=False)
    _heldBefore: bool = field(default=False, init=False)
    # Since when there is no room, and nothing was acknowledged.
    _heldAt: float = field(default=0.0, init=False)
    # When a timer should have ended, and how late timers are.
    _wakeAt: float = field(default=0.0, init=False)
    _late: float = field(default=0.0, init=False)
    _step: int = field(default=1, init=False)
    _emptyAt: float = field(default=0.0, init=False)
    # How long to go without an empty queue before a look, if there is a doubt; the
    # last look may have seen a queue that has gone since.
    _patience: float = field(default=_FIRST_LOOK, init=False)
    _hasRisen: bool = field(default=False, init=False)
    _stuck: int = field(default=0, init=False)

    @due.default
    def _firstSample(self) -> float:
        return 0.0 if self._maxBulkDelay is not None else inf

    @property
    def window(self) -> float:
        """How many bytes may be in flight; infinite if there is no bound."""
        if not self._acknowledged:
            return inf
        if self._phase in (_Phase.EMPTYING, _Phase.LOOKING):
            return self._lookWindow
        return self._window

    @property
    def turn(self) -> int:
        """
        How many bytes to write at once, at the most, where there is a bound.  More
        would leave the link idle while there is no room for so much.
        """
        window = self.window
        return int(max(window / 16, min(window / 4, self._rate * _TICK)))

    @property
    def pacingRate(self) -> float:
        """
        How fast the kernel should send at the most (bytes a second), or 0 for
        no bound.
        """
        if self._minRTT < _NEAR:
            return 0.0
        gain = _PACING_START if self._phase is _Phase.START else _PACING
        return self.window / self._rtt * gain

    def wait(self, now: float, size: int) -> float:
        """
        Find out whether bytes may be written.

        @param size: How many (bytes).

        @return: 0 if they may; otherwise how long to wait before asking again
            (seconds).
        """
        if self.room >= size or self._idle:
            return 0.0
        if not self._held:
            self._heldAt = now
        self._held = self._wasHeld = True
        # A peer that takes nothing must not keep this program busy.
        stalled = now - self._heldAt
        isNear = self._phase is _Phase.START and self._rtt < _TICK
        if isNear and stalled < 2 * _TICK:
            # A tick would be many round trips.
            time = 1e-6
        else:
            time = (size - self.room) / max(self._rate, 1.0)
            time = min(max(min(time, self._rtt / 4), _TICK, stalled / 16), _LONGEST)
        self._wakeAt = now + time
        return time

    def wrote(self, count: int) -> None:
        """Count bytes that have been written."""
        self.room -= count
        self._held = False

    def sampled(self, now: float, sample: Sample | None) -> None:
        """
        Take an answer of the kernel.

        @param now: The time (seconds, from any start).

        @param sample: The answer, or L{None} if there is none: then nothing is bounded
            from now on.
        """
        if (
            sample is None
            or not sample.rtt
            or not 0 < sample.segment < _LOOPBACK_SEGMENT
        ):
            self.room = self.due = inf
            return
        if not self._acknowledged:
            self._begin(now, sample)
        elif sample.delivered > self._acknowledged[-1].delivered:
            self._progress(now, sample)
        if self._held and now >= self._wakeAt:
            late = min(now - self._wakeAt, _MOST_NOISE)
            self._late += (late - self._late) / 16
        window = self.window
        if sample.window <= _INITIAL_SEGMENTS:
            # BBR measures the round trip time, or much was lost.  Bulk that cannot
            # leave the kernel would stand before small calls.
            window = min(window, max(sample.window - 2, 2) * sample.segment)
        self._idle = sample.inFlight <= 0
        self.room = window - sample.inFlight
        self.due = now + max(2 * _TICK, self._rtt / 16)

    def _begin(self, now: float, sample: Sample) -> None:
        self._segment = sample.segment
        self._window = float(_INITIAL_SEGMENTS * sample.segment)
        self._minRTT = self._knownRTT = self._rtt = sample.rtt
        self._emptyAt = self._peakAt = now
        self._roundEnd = now + sample.rtt
        self._acknowledged.append(
            _Acknowledged(now, sample.delivered, self._window, sample.rtt)
        )

    def _progress(self, now: float, sample: Sample) -> None:
        """Bytes have been acknowledged since the last sample."""
        self._heldAt = now
        self._rtt = rtt = sample.rtt
        self._segment = sample.segment
        self._variation = sample.variation
        self._jitter += (sample.variation - self._jitter) / 32
        self._minRTT = min(self._minRTT, rtt)
        if self._isLonger(self._knownRTT, self._minRTT):
            # The path has become shorter, and a queue hides how much.
            self._knownRTT = self._minRTT
            self._inDoubt = self._phase is not _Phase.START
        history = self._acknowledged
        fresh = sample.delivered - history[-1].delivered
        window = self.window if self._held else float(max(sample.inFlight, 0))
        history.append(_Acknowledged(now, sample.delivered, window, rtt))
        while len(history) > 2 and history[1].now <= now - rtt:
            history.popleft()
        self._rate = history[0].window / rtt
        queue = rtt - self._minRTT
        if queue <= max(0.001, self._minRTT / 64):
            self._emptyAt = now
        if self._phase is _Phase.START:
            self._start(now, fresh)
        elif self._phase is _Phase.STEADY:
            if now >= self._roundEnd:
                self._steady(now)
        elif self._phase is _Phase.EMPTYING:
            # What is sent before the queue is empty still sees the queue.
            if sample.inFlight <= self.window or now > self._phaseEnd:
                # In the second round trip from now, no packet sees the queue that was.
                self._phase = _Phase.LOOKING
                self._phaseEnd = now + 2 * rtt
                self._lowestRTT = rtt
        else:
            self._lowestRTT = min(self._lowestRTT, rtt)
            if now >= self._phaseEnd:
                self._looked(now)

    @property
    def _isSlow(self) -> bool:
        return self._burstRate > _UNUSED * self._rate

    @property
    def _varies(self) -> bool:
        apart = self._segment / max(self._rate, 1.0)
        return self._jitter > max(_JITTER * self._rtt, _APART * apart)

    def _allowance(self, rate: float) -> float:
        """@return: The queue that is allowed (bytes)."""
        # Timers that are late, and round trip times that vary, look like a queue.
        noise = min(2 * max(self._late, self._variation), _MOST_NOISE)
        segments = max(_ALLOWED_SEGMENTS * self._segment, noise * rate)
        return _TIME_SHARE * (self._maxBulkDelay or 0.0) * rate + segments

    def _allowedQueue(self) -> float:
        """@return: The same (seconds)."""
        return self._allowance(self._rate) / max(self._rate, 1.0)

    def _isLonger(self, rtt: float, other: float) -> bool:
        """
        @return: Whether a round trip time is so much longer than another one that the
            path must be a different one.
        """
        return rtt - other > max(0.004, other / 8)

    def _start(self, now: float, fresh: int) -> None:
        last = self._acknowledged[-1]
        longEnough = max(_BURST_TIME, self._minRTT / 8)
        for ack in reversed(self._acknowledged):
            count = last.delivered - ack.delivered
            if now - ack.now >= longEnough and count >= _BURST_SEGMENTS * self._segment:
                self._burstRate = max(self._burstRate, count / (now - ack.now))
                break
        goal = self._burstRate * self._minRTT + self._allowance(self._burstRate)
        if self._standingRTT(now) - self._minRTT > self._allowedQueue():
            self._phase = _Phase.STEADY
            self._window = max(min(self._window, goal), _LEAST_SEGMENTS * self._segment)
            self._emptyAt = now
            # The next round still shows what was sent before.
            self._nextRound(now + self._rtt)
            return
        if self._wasHeld or self._heldBefore:
            if self._burstRate and self._window >= goal:
                fresh = int(fresh / self._window * self._allowance(self._burstRate))
            self._window += fresh
        if now >= self._roundEnd:
            self._nextRound(now)

    def _steady(self, now: float) -> None:
        rtt = self._standingRTT(now)
        queue, allowed = rtt - self._minRTT, self._allowedQueue()
        window = self._window
        rate = self._acknowledged[0].window / rtt
        goal = rate * self._minRTT + self._allowance(rate)
        if queue > allowed:
            window = max(min(goal, window), window * _SHRINK)
            self._step = 1
        elif self._wasHeld and goal > window:
            step = goal - window
            window += min(step * self._step, max(step, window / 8))
            self._step = 2 * self._step if 2 * queue < allowed else 1
        self._peakRate *= 0.5 ** ((now - self._peakAt) / _FLOOR_HALF_LIFE)
        self._peakRate = max(self._peakRate, rate)
        self._peakAt = now
        floor = _FLOOR * self._peakRate * rtt
        self._window = max(window, floor, _LEAST_SEGMENTS * self._segment)
        self._stuck = self._stuck + 1 if queue > 1.5 * allowed + 0.002 else 0
        if self._shouldLook(now):
            inDoubt = self._inDoubt or (self._hasRisen and not self._varies)
            share = _EMPTIED_IN_DOUBT if inDoubt else _EMPTIED
            self._lookWindow = share * rate * self._minRTT
            if self._lookWindow >= _LEAST_SEGMENTS * self._segment:
                self._rttBefore = rtt
                self._phase = _Phase.EMPTYING
                self._phaseEnd = now + 3 * self._rtt
        self._nextRound(now)

    def _shouldLook(self, now: float) -> bool:
        """@return: Whether to find out how long a round trip takes without a queue."""
        if now > self._emptyAt + self._patience:
            isDoubtful = self._isSlow or self._varies or self._hasRisen
            if isDoubtful or self._patience >= _LATER_LOOKS:
                return True
            self._patience = _LATER_LOOKS
        return self._stuck >= _STUCK or self._inDoubt

    def _standingRTT(self, now: float) -> float:
        """
        @return: The least round trip time of the last half of one (seconds): a spike is
            no queue.
        """
        half = now - self._rtt / 2
        return min(ack.rtt for ack in self._acknowledged if ack.now >= half)

    def _looked(self, now: float) -> None:
        isLonger = self._isLonger(self._lowestRTT, self._minRTT)
        # What is left of a queue may be another sender's, and does no harm if it is
        # short.  Where round trips vary, or bursts show a faster link than there is use
        # of, what does not become less was no queue.
        harmless = self._allowedQueue()
        if self._varies or self._isSlow:
            harmless = min(harmless, _NO_QUEUE * (self._rttBefore - self._minRTT))
        self._hasRisen = self._lowestRTT > self._minRTT + harmless
        if isLonger:
            self._phase = _Phase.START
            self._burstRate = 0.0
        else:
            # The path is the same: its rate now counts, not a higher one of before.
            self._phase = _Phase.STEADY
            self._peakRate = self._rate
        if isLonger or self._hasRisen:
            self._minRTT = self._knownRTT = self._lowestRTT
        if isLonger or (self._hasRisen and not self._varies):
            self._patience = _FIRST_LOOK
        else:
            self._patience = _LATER_LOOKS
        self._inDoubt = False
        self._emptyAt = now
        self._stuck = 0
        self._nextRound(now)

    def _nextRound(self, now: float) -> None:
        self._heldBefore, self._wasHeld = self._wasHeld, False
        self._roundEnd = now + self._rtt

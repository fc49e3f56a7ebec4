# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
How long small calls take.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

__all__ = ["Latencies", "SmallCalls"]


@frozen
class Latencies:
    """
    How long some calls took, in seconds.

    @ivar count: How many calls there were.

    @ivar p50: Half of them took no longer.

    @ivar p99: 99 of 100 took no longer.

    @ivar longest: None took longer.
    """

    count: int
    p50: float
    p99: float
    longest: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latencies:
        """
        Sum up what was measured.

        @param seconds: At least one duration.
        """
        ordered = sorted(seconds)

        def percentile(percent: int) -> float:
            # Nearest rank: a duration that was measured, not one in between.
            return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]

        return cls(len(ordered), percentile(50), percentile(99), ordered[-1])


class SmallCalls:
    """
    Makes a call every now and then, on schedule, however long the answers take.

    A call that is made late, because this process was busy, counts from when it
    was due: to wait for one's turn is to wait.
    """

    def __init__(
        self, clock: IReactorTime, call: Callable[[], Deferred[None]], interval: float
    ) -> None:
        """
        @param clock: Tells the time.

        @param call: Makes one call.

        @param interval: From one call to the next (seconds).
        """
        self._clock = clock
        self._call = call
        self._interval = interval
        self._due = 0.0
        self._next: IDelayedCall | None = None
        self._unanswered = 0
        self._seconds: list[float] = []
        self._done: Deferred[list[float]] = Deferred()

    def start(self) -> None:
        """
        Make the first call, and the others in their time.
        """
        self._due = self._clock.seconds()
        self._tick()

    def stop(self) -> Deferred[list[float]]:
        """
        Make no more calls.

        @return: Fires with how long each of them took (seconds), when the last
            of them is answered; fails if any of them failed.
        """
        if self._next is not None:
            self._next.cancel()
            self._next = None
            self._finish()
        return self._done

    def _tick(self) -> None:
        now = self._clock.seconds()
        while self._due <= now:
            self._unanswered += 1
            self._call().addCallbacks(self._answered, self._failed, (self._due,))
            self._due += self._interval
        self._next = self._clock.callLater(self._due - now, self._tick)

    def _answered(self, ignored: None, due: float) -> None:
        self._unanswered -= 1
        self._seconds.append(self._clock.seconds() - due)
        self._finish()

    def _failed(self, failure: Failure) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if not self._done.called:
            self._done.errback(failure)

    def _finish(self) -> None:
        if self._next is None and not self._unanswered and not self._done.called:
            self._done.callback(self._seconds)

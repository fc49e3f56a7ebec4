# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
One timer for all streams of one direction of a connection.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["IdleTimer"]


class IdleTimer:
    """
    Calls something again and again, as long as there is a reason to.
    """

    def __init__(self, interval: float | None, look: Callable[[float], bool]) -> None:
        """
        @param interval: How long between two calls (seconds), or L{None} for no
            calls at all.

        @param look: What to call, with the time (seconds); it returns whether
            there is a reason to go on.
        """
        self._interval = interval
        self._look = look
        self._clock: IReactorTime | None = None
        self._call: IDelayedCall | None = None

    def useClock(self, clock: IReactorTime) -> None:
        """
        Without a clock nothing is ever called.
        """
        self._clock = clock

    @property
    def now(self) -> float:
        """
        The time (seconds, from any start); 0 without a clock.
        """
        return 0.0 if self._clock is None else self._clock.seconds()

    def arm(self) -> None:
        """
        There is a reason.
        """
        if self._call is None and self._clock is not None and self._interval:
            self._call = self._clock.callLater(self._interval, self._tick)

    def stop(self) -> None:
        """
        There is no reason any more.
        """
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _tick(self) -> None:
        self._call = None
        if self._clock is not None and self._look(self._clock.seconds()):
            self.arm()

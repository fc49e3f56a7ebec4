# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
A small call every now and then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

__all__ = ["SmallCalls"]


class SmallCalls:
    """
    Makes calls on schedule, however long the answers take, and times each from just
    before it is made to its callback.
    """

    def __init__(
        self, reactor: Any, call: Callable[[Callable[[], None]], None], interval: float
    ) -> None:
        self._reactor = reactor
        self._call = call
        self._interval = interval
        self._due = 0.0
        self._next: Any = None
        self._open: set[float] = set()
        self._seconds: list[float] = []

    def start(self) -> None:
        """
        Make the first, and the others in their time.
        """
        self._due = time.perf_counter()
        self._tick()

    def stop(self) -> None:
        """
        Make no more.
        """
        self._next.cancel()

    @property
    def unanswered(self) -> int:
        """
        How many have no answer yet.
        """
        return len(self._open)

    def take(self) -> list[float]:
        """
        How long those with an answer have taken (seconds), since this was last asked.
        """
        seconds, self._seconds = self._seconds, []
        return seconds

    def takeAll(self) -> list[float]:
        """
        The same, and those without an answer: until now.
        """
        now = time.perf_counter()
        return self.take() + [now - started for started in tuple(self._open)]

    def _tick(self) -> None:
        # Only one for a time in which this process was too busy to make any.
        self._due = max(self._due + self._interval, time.perf_counter())
        delay = max(0.0, self._due - time.perf_counter())
        self._next = self._reactor.callLater(delay, self._tick)
        started = time.perf_counter()
        self._open.add(started)

        def answered() -> None:
            taken = time.perf_counter() - started
            if started in self._open:
                self._open.discard(started)
                self._seconds.append(taken)

        self._call(answered)

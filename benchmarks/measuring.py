# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
What a process of a run measures: the bytes that arrive, how long small calls take, and
where its time goes.

All times are those of C{time.perf_counter}, which all processes of a machine share.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

__all__ = ["LOOK", "Count", "Meter", "Sampler", "SmallCalls"]

LOOK = 0.001
"""
From one look of a L{Sampler} to the next (seconds).
"""

_INTERVAL = 0.02
_DEEP = 12


class Count:
    """What has arrived on one stream."""

    __slots__ = ("bytes", "first", "pieces")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget what has come."""
        self.bytes = 0
        self.pieces = 0
        self.first = 0.0

    def add(self, size: int) -> None:
        """A piece has come."""
        if not self.bytes:
            self.first = time.perf_counter()
        self.bytes += size
        self.pieces += 1


class Meter:
    """
    What has arrived on all streams, and when.

    @ivar given: How many bytes a source of this process has given, if it counts.
    """

    def __init__(self, clock: IReactorTime, snapshotAt: int) -> None:
        """@param snapshotAt: At how many bytes to note what each stream has."""
        self.given = 0
        self._counts: list[Count] = []
        self._samples: list[tuple[float, int]] = []
        self._snapshot: list[int] = []
        self._snapshotAt = snapshotAt
        self._loop = LoopingCall(self._sample)
        self._loop.clock = clock
        self._loop.start(_INTERVAL)

    def count(self) -> Count:
        """Begin to count another stream."""
        count = Count()
        self._counts.append(count)
        return count

    def reset(self) -> None:
        """Forget the warm-up."""
        for count in self._counts:
            count.reset()
        self._samples.clear()
        self._snapshot = []

    def report(self) -> dict[str, Any]:
        """
        Tell what was counted.

        @return: C{first} is when the first piece came, C{piece} how long the pieces
            were on average, C{total} all bytes.
        """
        self._sample()
        pieces = sum(count.pieces for count in self._counts)
        total = self._total()
        return {
            "samples": self._samples,
            "snapshot": self._snapshot,
            "first": min(
                (count.first for count in self._counts if count.bytes), default=0.0
            ),
            "piece": total / pieces if pieces else 0.0,
            "total": total,
            "given": self.given,
        }

    def _total(self) -> int:
        return sum(count.bytes for count in self._counts)

    def _sample(self) -> None:
        total = self._total()
        self._samples.append((time.perf_counter(), total))
        if self._snapshotAt and not self._snapshot and total >= self._snapshotAt:
            self._snapshot = [count.bytes for count in self._counts]


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
        self._found: list[tuple[float, float]] = []

    def start(self) -> None:
        """Make the first, and the others in their time."""
        self._due = time.perf_counter()
        self._tick()

    def stop(self) -> None:
        """Make no more."""
        self._next.cancel()

    @property
    def unanswered(self) -> int:
        """How many have no answer yet."""
        return len(self._open)

    def take(self) -> list[tuple[float, float]]:
        """
        Tell, of each call that was made: when, and how long it took (seconds).  One
        without an answer counts as long as was waited.
        """
        now = time.perf_counter()
        waiting = [(started, now - started) for started in tuple(self._open)]
        return sorted([*self._found, *waiting])

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
                self._found.append((started, taken))

        self._call(answered)


class Sampler:
    """
    Counts which functions are being run, from the innermost outwards, by looking every
    millisecond.

    The functions that take little time each look longer under cProfile than they are;
    this costs them nothing.
    """

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted
        self._stacks: Counter[tuple[str, ...]] = Counter()

    def start(self) -> None:
        """Begin to look."""
        if self._wanted:
            # Or each signal would wake the reactor up.
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGALRM, self._look)
            signal.setitimer(signal.ITIMER_REAL, LOOK, LOOK)

    def stop(self) -> list[tuple[list[str], int]]:
        """
        @return: The stacks, each a list of C{module:function}, and how often each was
            seen.
        """
        if self._wanted:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
        return [(list(stack), count) for stack, count in self._stacks.most_common()]

    def _look(self, number: int, frame: FrameType | None) -> None:
        stack = []
        while frame is not None and len(stack) < _DEEP:
            code = frame.f_code
            module = frame.f_globals.get("__name__", "")
            stack.append(f"{module}:{code.co_name}")
            frame = frame.f_back
        self._stacks[tuple(stack)] += 1

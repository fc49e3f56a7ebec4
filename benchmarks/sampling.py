# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Where a process spends its time, by looking every millisecond.

The functions that take little time each look longer under cProfile than they are; this
costs them nothing.
"""

from __future__ import annotations

import signal
from collections import Counter
from types import FrameType

__all__ = ["Sampler"]

INTERVAL = 0.001
_DEEP = 12


class Sampler:
    """
    Counts which functions are being run, from the innermost outwards.
    """

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted
        self._stacks: Counter[tuple[str, ...]] = Counter()

    def start(self) -> None:
        """
        Begin to look.
        """
        if self._wanted:
            # Or each signal would wake the reactor up.
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGALRM, self._look)
            signal.setitimer(signal.ITIMER_REAL, INTERVAL, INTERVAL)

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

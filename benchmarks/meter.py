# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Counts the bytes that arrive.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

__all__ = ["Count", "Meter"]

INTERVAL = 0.02


class Count:
    """
    What has arrived on one stream.
    """

    __slots__ = ("bytes", "pieces")

    def __init__(self) -> None:
        self.bytes = 0
        self.pieces = 0

    def add(self, size: int) -> None:
        """
        A piece has come.
        """
        self.bytes += size
        self.pieces += 1


class Meter:
    """
    What has arrived on all streams, and when.
    """

    def __init__(self, clock: IReactorTime, snapshotAt: int) -> None:
        """
        @param snapshotAt: At how many bytes to note what each stream has.
        """
        self._counts: list[Count] = []
        self._samples: list[tuple[float, int]] = []
        self._snapshot: list[int] = []
        self._snapshotAt = snapshotAt
        self._sent: Callable[[], int] = lambda: 0
        self._loop = LoopingCall(self._sample)
        self._loop.clock = clock
        self._loop.start(INTERVAL)

    def count(self) -> Count:
        """
        Begin to count another stream.
        """
        count = Count()
        self._counts.append(count)
        return count

    def watchChunks(self, size: Callable[[], int]) -> None:
        """
        Say how long the chunks are that this process sends (bytes), at the time of the
        report.
        """
        self._sent = size

    def reset(self) -> None:
        """
        Forget the warm-up.
        """
        for count in self._counts:
            count.bytes = count.pieces = 0
        self._samples.clear()
        self._snapshot = []

    def report(self) -> dict[str, Any]:
        """
        Tell what was counted; times are those of the clock that all processes share.
        """
        self._sample()
        pieces = sum(count.pieces for count in self._counts)
        return {
            "samples": self._samples,
            "snapshot": self._snapshot,
            "chunk": self._sent(),
            "piece": self._total() / pieces if pieces else 0.0,
        }

    def _total(self) -> int:
        return sum(count.bytes for count in self._counts)

    def _sample(self) -> None:
        total = self._total()
        self._samples.append((time.perf_counter(), total))
        if self._snapshotAt and not self._snapshot and total >= self._snapshotAt:
            self._snapshot = [count.bytes for count in self._counts]

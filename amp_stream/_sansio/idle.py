# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Which streams have waited too long.

Nothing is noted when a byte moves: that would cost time with every chunk.
Instead each stream has a number that changes with progress, and four times in
the allowed time somebody looks whether it has.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

__all__ = ["IdleWatch", "Watched"]


class Watched(Protocol):
    """
    What can be watched.
    """

    @property
    def isIdle(self) -> bool:
        """
        Whether it waits for something that the limit is for.
        """

    @property
    def progress(self) -> int:
        """
        A number that changes whenever a byte has moved.
        """


_T = TypeVar("_T", bound=Watched)


class IdleWatch(Generic[_T]):
    """
    When each stream was last seen to have moved.

    @ivar interval: How often to L{look} (seconds), or L{None} for never.
    """

    def __init__(self, timeout: float | None) -> None:
        """
        @param timeout: How long a stream may wait (seconds), or L{None} for ever.
        """
        self.interval = None if timeout is None else timeout / 4
        # A hair less, so that the sum of four intervals is not short of it.
        self._timeout = 0.0 if timeout is None else timeout * 0.999
        self._marks: dict[_T, tuple[int, float]] = {}

    def look(self, now: float, streams: Iterable[_T]) -> list[_T]:
        """
        Compare every stream with what it was before.

        @param now: The time (seconds, from any start).

        @param streams: All that exist.

        @return: Those that have waited for longer than allowed.
        """
        marks: dict[_T, tuple[int, float]] = {}
        expired = []
        for stream in streams:
            if not stream.isIdle:
                continue
            progress = stream.progress
            before = self._marks.get(stream)
            if before is None or before[0] != progress:
                before = (progress, now)
            elif now - before[1] >= self._timeout:
                expired.append(stream)
            marks[stream] = before
        self._marks = marks
        return expired

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Which streams have waited too long.

Nothing is noted when a byte moves: that would cost time with every chunk.
Instead each stream has a number that changes with progress, and four times in
the allowed time somebody looks whether it has.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Generic, Protocol, TypeVar

__all__ = ["IdleWatch", "Watched"]

_HAIR = 0.999
"""
The sum of four intervals must not be a rounding error short of the timeout.
"""


class Watched(Protocol):
    """
    What can be watched.

    @ivar mark: Its L{progress} and the time (seconds) when it was first seen with
        that; L{None} while it does not wait.  It is this module's to change.
    """

    mark: tuple[int, float] | None

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
    Looks for streams that have not moved.

    @ivar interval: How often to L{look} (seconds), or L{None} for never.
    """

    def __init__(self, timeout: float | None) -> None:
        """
        @param timeout: How long a stream may wait (seconds), or L{None} for ever.
        """
        self.interval = None if timeout is None else timeout / 4
        self._timeout = inf if timeout is None else timeout * _HAIR

    def look(self, now: float, streams: Iterable[_T]) -> list[_T]:
        """
        Compare every stream with what it was before.

        @param now: The time (seconds, from any start).

        @param streams: All that exist.

        @return: Those that have waited for longer than allowed.
        """
        expired = []
        for stream in streams:
            if not stream.isIdle:
                stream.mark = None
                continue
            progress = stream.progress
            mark = stream.mark
            if mark is None or mark[0] != progress:
                stream.mark = (progress, now)
            elif now - mark[1] >= self._timeout:
                expired.append(stream)
        return expired

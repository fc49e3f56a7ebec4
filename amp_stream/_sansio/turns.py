# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Whose turn it is.
"""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["Turns"]


class Turns:
    """
    Round robin: everybody who waits gets one turn before anybody gets two.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: OrderedDict[int, None] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, id: int) -> None:
        """
        Let a stream wait at the end of the line.  One that waits keeps its place.
        """
        self._waiting.setdefault(id)

    def discard(self, id: int) -> None:
        """
        Let a stream wait no longer.  One that does not wait is no error.
        """
        self._waiting.pop(id, None)

    def next(self) -> int | None:
        """
        @return: The stream at the head of the line, which waits no longer, or
            L{None}.
        """
        if not self._waiting:
            return None
        return self._waiting.popitem(last=False)[0]

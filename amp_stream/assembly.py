# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Boxes that arrive in fragments.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from amp_stream._sansio.boxes import BoxParser
from amp_stream._sansio.limits import Limits
from amp_stream.errors import BoxTooLong, FramingError
from amp_stream.incoming import IncomingStream
from amp_stream.incomingside import IncomingSide

__all__ = ["BoxAssembly", "BoxTaker"]

_log = Logger()


class BoxTaker(Protocol):
    """
    Where boxes go when they are whole.
    """

    def boxAssembled(self, values: dict[bytes, bytes]) -> None:
        """
        A box has arrived.
        """

    def framingFailed(self, error: FramingError) -> None:
        """
        The peer's bytes make no sense.
        """


class BoxAssembly:
    """
    Gathers boxes from the streams that carry them.

    Only so many bytes are gathered at once: C{Limits.maxBufferedBytes}, or one box
    if that is larger.  The streams of other boxes wait for their turn, and their
    windows hold their sender back.
    """

    def __init__(self, incoming: IncomingSide, limits: Limits, taker: BoxTaker) -> None:
        self._incoming = incoming
        self._limits = limits
        self._taker = taker
        # A box of the largest size takes somewhat more as bytes of a stream: each
        # key has two lengths, and so has each 65,535 bytes of a value.
        lengths = limits.maxBoxSize // 16_384 + 4 * limits.maxBoxKeys + 64
        self._most = limits.maxBoxSize + lengths
        self._budget = max(self._most, limits.maxBufferedBytes)
        self._gathering = 0
        self._queue: deque[tuple[IncomingStream, int]] = deque()

    def announced(self, id: int, size: int) -> None:
        """
        A box is coming.

        @param id: The stream that carries it.

        @param size: How many bytes that has.

        @raise StreamError: If it cannot be taken.  The sender is told.
        """
        if size > self._most:
            error = BoxTooLong(
                f"a box of {size} bytes, and {self._limits.maxBoxSize} are taken: "
                "raise Limits.maxBoxSize, or declare the long value as Stream()"
            )
            self._incoming.refuse(id, error, tell=True)
            raise error
        stream = self._incoming.claim(id, size, self._most)
        self._queue.append((stream, size))
        self._gatherMore()

    def _gatherMore(self) -> None:
        queue = self._queue
        while queue and (
            not self._gathering or self._gathering + queue[0][1] <= self._budget
        ):
            stream, size = queue.popleft()
            self._gathering += size
            gathering = _Gathering(self._limits)
            gathered: Deferred[Any] = stream.writeTo(gathering)
            gathered.addBoth(self._ended, size)
            gathered.addCallbacks(
                self._gathered, _logFailure, callbackArgs=(gathering.parser,)
            )

    def _ended(self, result: Any, size: int) -> Any:
        self._gathering -= size
        self._gatherMore()
        return result

    def _gathered(self, size: int, parser: BoxParser) -> None:
        """
        The bytes are there: they must be one box and nothing more.
        """
        try:
            values = parser.next()
            if values is None or not parser.isBetweenBoxes:
                raise FramingError("the fragments of a box are not one box")
        except FramingError as error:
            self._taker.framingFailed(error)
        else:
            self._taker.boxAssembled(values)


class _Gathering:
    """
    What the bytes of one box are written to.
    """

    def __init__(self, limits: Limits) -> None:
        self.parser = BoxParser(2, limits.maxBoxSize, limits.maxBoxKeys)

    def write(self, data: bytes) -> None:
        """
        Keep the bytes as they are: they are joined once, when all are there.
        """
        self.parser.feed(data)


def _logFailure(failure: Failure) -> None:
    """
    The sender knows, and sees to whoever waits for the box.
    """
    _log.debug("a box did not come whole: {error}", error=failure.value)

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
An incoming stream in C{async for}.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from amp_stream.consumers import Pausable
from amp_stream.errors import StreamBusy, StreamCancelled

__all__ = ["Iteration", "StreamIterator"]


class Iteration:
    """
    Hands over one piece each time that somebody asks.
    """

    def __init__(self, stream: Pausable) -> None:
        self._stream = stream
        self._waiter: Deferred[bytes | None] | None = None
        self._end: Failure | None = None
        self._finished = False

    def start(self) -> None:
        """
        Wait until somebody asks.
        """
        self._stream.pause()

    def ask(self) -> Deferred[bytes | None]:
        """
        @return: A Deferred that fires with the next piece, or with L{None} after
            the last.

        @raise StreamBusy: If one is waiting already.
        """
        if self._waiter is not None:
            raise StreamBusy("take the pieces of a stream one after the other")
        if self._end is not None:
            return fail(self._end)
        if self._finished:
            return succeed(None)
        waiter = self._waiter = Deferred(self._stop)
        self._stream.resume()
        return waiter

    def close(self) -> None:
        """
        Want no more, and stop the stream.
        """
        if self._waiter is None:
            self._stop(None)
        else:
            self._waiter.cancel()

    def leave(self) -> None:
        """
        Want no more, and leave the rest to another.
        """
        self._stream.detach(self)

    def write(self, data: bytes) -> None:
        """
        Hand the bytes over, and wait until somebody asks again.
        """
        self._stream.pause()
        for waiter in self._take():
            waiter.callback(data)

    def finish(self) -> None:
        """
        Say that those were all.
        """
        self._finished = True
        for waiter in self._take():
            waiter.callback(None)

    def fail(self, failure: Failure) -> None:
        """
        Say why there are no more, now or when somebody asks.
        """
        self._end = failure
        for waiter in self._take():
            waiter.errback(failure)

    def _stop(self, waiter: Deferred[bytes | None] | None) -> None:
        self._waiter = None
        if self._end is None:
            self._end = Failure(StreamCancelled())
        self._stream.giveUp(self)

    def _take(self) -> list[Deferred[bytes | None]]:
        waiter, self._waiter = self._waiter, None
        return [] if waiter is None else [waiter]


class StreamIterator:
    """
    What C{async for} holds on to.  When it lets go, the stream is free again.
    """

    def __init__(self, iteration: Iteration) -> None:
        self._iteration = iteration

    def __aiter__(self) -> StreamIterator:
        return self

    async def __anext__(self) -> bytes:
        data = await self._iteration.ask()
        if data is None:
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        """
        Stop the stream at both ends, unless it has ended.  That is how a stream
        that is the source of another ends with that.
        """
        self._iteration.close()

    def __del__(self) -> None:
        self._iteration.leave()

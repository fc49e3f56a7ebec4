# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Sources that come in pieces of any size: iterables and producers.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from amp_stream._sansio.pieces import PieceQueue
from amp_stream.errors import UsageError

__all__ = ["AsyncIterableSource", "IterableSource", "ProducerSource"]

_log = Logger()

_READ_AHEAD = 131_072
"""
How many bytes of a producer, which sends when it likes, to keep before it is
paused.
"""


class IterableSource:
    """
    Pieces of any size, made on demand.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces: Iterator[bytes] = iter(pieces)
        self._buffer = _Cutter()
        self.size: int | None = None

    def start(
        self, ready: Callable[[], object], failed: Callable[[Failure], object]
    ) -> None:
        """
        It is ready.
        """

    def read(self, most: int) -> tuple[bytes, bool] | None:
        """
        Gather pieces until there is enough.
        """
        while self._buffer.size < most:
            try:
                piece = next(self._pieces)
            except StopIteration:
                return self._buffer.take(most), True
            self._buffer.add(piece)
        return self._buffer.take(most), False

    def close(self) -> None:
        """
        Close a generator.
        """
        close = getattr(self._pieces, "close", None)
        if close is not None:
            close()


class AsyncIterableSource:
    """
    Pieces of any size, each of which may take its time.
    """

    def __init__(self, pieces: AsyncIterable[bytes]) -> None:
        self._pieces: AsyncIterator[bytes] = aiter(pieces)
        self._buffer = _Cutter()
        self._pending: Deferred[None] | None = None
        self._ended = False
        self._closed = False
        self._failure: Failure | None = None
        self.size: int | None = None

    def start(
        self, ready: Callable[[], object], failed: Callable[[Failure], object]
    ) -> None:
        """
        Ask for the first piece when somebody reads.
        """
        self._ready = ready
        self._failed = failed

    def read(self, most: int) -> tuple[bytes, bool] | None:
        """
        Take what is there, and ask for more.
        """
        while self._buffer.size < most and self._pending is None and not self._ended:
            self._ask()
        if self._failure is not None:
            self._failure.raiseException()
        if not self._buffer.size and not self._ended:
            return None
        data = self._buffer.take(most)
        return data, self._ended and not self._buffer.size

    def close(self) -> None:
        """
        Stop a piece that is being made, and close a generator.
        """
        self._closed = True
        pending = self._pending
        if pending is None:
            self._closeGenerator()
        else:
            # A generator that is running, or that takes its time to stop, cannot
            # be closed yet.
            pending.addBoth(lambda ignored: self._closeGenerator())
            pending.cancel()

    def _ask(self) -> None:
        late = False
        pending = self._pending = Deferred.fromCoroutine(self._fetch())

        def fetched(ignored: None) -> None:
            self._pending = None
            if late and not self._closed:
                self._ready()

        def broken(failure: Failure) -> None:
            self._pending = None
            self._ended = True
            self._failure = failure
            if late and not self._closed:
                self._failed(failure)

        pending.addCallbacks(fetched, broken)
        late = True

    async def _fetch(self) -> None:
        try:
            self._buffer.add(await anext(self._pieces))
        except StopAsyncIteration:
            self._ended = True

    def _closeGenerator(self) -> None:
        close = getattr(self._pieces, "aclose", None)
        if close is not None:
            Deferred.fromCoroutine(_await(close)).addErrback(_logClosing)


async def _await(close: Callable[[], Any]) -> None:
    await close()


def _logClosing(failure: Failure) -> None:
    _log.failure("while closing the async iterable of a stream", failure)


@implementer(IConsumer)
class ProducerSource:
    """
    An L{IBodyProducer}, as L{twisted.web.client} takes it.
    """

    def __init__(self, producer: IBodyProducer) -> None:
        self._producer = producer
        self._buffer = _Cutter()
        self._producing = False
        self._paused = False
        self._ended = False
        self._closed = False
        self.size: int | None = None
        if producer.length is not UNKNOWN_LENGTH:
            self.size = producer.length

    def start(
        self, ready: Callable[[], object], failed: Callable[[Failure], object]
    ) -> None:
        """
        Let the producer begin.
        """
        self._ready = ready
        self._failed = failed
        done = self._producer.startProducing(self)
        self._producing = True
        done.addCallbacks(self._finish, self._fail)

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """
        A body producer need not register; it knows whom it writes to.
        """

    def unregisterProducer(self) -> None:
        """
        See L{registerProducer}.
        """

    def write(self, data: bytes) -> None:
        """
        Keep bytes, and pause the producer when there are many.
        """
        if self._closed:
            return
        try:
            self._buffer.add(data)
        except UsageError:
            # It hears of that by being stopped.
            self._failed(Failure())
            return
        self._ready()
        if self._buffer.size >= _READ_AHEAD and not (self._paused or self._closed):
            self._paused = True
            self._producer.pauseProducing()

    def read(self, most: int) -> tuple[bytes, bool] | None:
        """
        Take what is there, and let the producer go on.
        """
        if not self._buffer.size and not self._ended:
            return None
        data = self._buffer.take(most)
        if self._paused and self._buffer.size < _READ_AHEAD // 2:
            self._paused = False
            if not self._ended:
                self._producer.resumeProducing()
        return data, self._ended and not self._buffer.size

    def close(self) -> None:
        """
        Stop the producer, if it has begun and not ended.
        """
        self._closed = True
        if self._producing:
            self._producing = False
            self._producer.stopProducing()

    def _finish(self, ignored: object) -> None:
        if not self._closed:
            self._producing = False
            self._ended = True
            self._ready()

    def _fail(self, failure: Failure) -> None:
        if not self._closed:
            self._producing = False
            self._failed(failure)


class _Cutter:
    """
    Pieces of any size in, pieces of the right size out.

    @ivar size: How many bytes are here.
    """

    def __init__(self) -> None:
        self._queue = PieceQueue()
        self._rest = memoryview(b"")
        self.size = 0

    def add(self, piece: object) -> None:
        """
        Add bytes.

        @raise UsageError: If they are not bytes.
        """
        if isinstance(piece, (bytearray, memoryview)):
            piece = bytes(piece)
        elif not isinstance(piece, bytes):
            raise UsageError(f"a source must give bytes, not {type(piece).__name__}")
        self._queue.append(piece)
        self.size += len(piece)

    def take(self, most: int) -> bytes:
        """
        Take up to C{most} bytes.
        """
        taken: list[memoryview] = []
        missing = min(most, self.size)
        self.size -= missing
        while missing:
            if not self._rest:
                self._rest = memoryview(self._queue.pop())
            part = self._rest[:missing]
            self._rest = self._rest[len(part) :]
            missing -= len(part)
            taken.append(part)
        return b"".join(taken)

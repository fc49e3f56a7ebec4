# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Reading and writing that may block, done in threads, with back-pressure.

A disk that is busy, or a pipe whose other end is slow, stops a C{read} or
C{write} for as long as it likes.  In the reactor's thread that would stop every
small call of every connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IReactorFromThreads
from twisted.python.failure import Failure
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

__all__ = ["InThread", "OwnThread", "ThreadedSource", "pour"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

_PIECE = 262_144
_BATCH = 524_288


InThread = Callable[..., Deferred[Any]]
"""
L{deferToThread <twisted.internet.threads.deferToThread>}, or something that does
the same with other threads: takes a function and its arguments.
"""


class OwnThread:
    """
    One thread for calls that may never return, such as reading from a terminal.

    The threads of the reactor's pool are waited for when the process ends; this
    one is not.
    """

    def __init__(self, reactor: IReactorFromThreads) -> None:
        """
        @param reactor: Where the results are delivered.
        """
        self._reactor = reactor
        self._calls: SimpleQueue[tuple[Deferred[Any], Callable[[], Any]]]
        self._calls = SimpleQueue()
        self._thread: Thread | None = None

    def __call__(
        self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Deferred[_T]:
        """
        Call the function in the thread, after all earlier calls.
        """
        result: Deferred[_T] = Deferred()
        self._calls.put((result, lambda: function(*args, **kwargs)))
        if self._thread is None:
            self._thread = Thread(target=self._run, daemon=True)
            self._thread.start()
        return result

    def _run(self) -> None:
        while True:
            result, call = self._calls.get()
            fire: Callable[[Any], None]
            outcome: object
            try:
                outcome = call()
                fire = result.callback
            except BaseException:
                outcome = Failure()
                fire = result.errback
            self._reactor.callFromThread(fire, outcome)


@implementer(IBodyProducer)
class ThreadedSource:
    """
    A source for a stream that is read in a thread, one piece ahead.
    """

    def __init__(
        self,
        read: Callable[[int], bytes],
        size: int | None,
        inThread: InThread,
        advance: Callable[[int], object] = lambda count: None,
        close: Callable[[], object] | None = None,
    ) -> None:
        """
        @param read: Reads up to so many bytes, none at the end; called in a
            thread.

        @param size: How many bytes to read, or L{None} to read to the end.

        @param inThread: How to call it.

        @param advance: Told of each piece that leaves, in bytes.

        @param close: Called in a thread when nothing will be read any more.
        """
        self.length: int | str = UNKNOWN_LENGTH if size is None else size
        self._read = read
        self._left = size
        self._inThread = inThread
        self._advance = advance
        self._close = close
        self._consumer: IConsumer | None = None
        self._done: Deferred[None] = Deferred()
        self._paused = False
        self._held: bytes | None = None

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """
        Begin to read.

        @return: Fires when the consumer has been given the last byte.
        """
        self._consumer = consumer
        self._fetch()
        return self._done

    def pauseProducing(self) -> None:
        """
        Write nothing for now.
        """
        self._paused = True

    def resumeProducing(self) -> None:
        """
        Go on.
        """
        self._paused = False
        held, self._held = self._held, None
        if held is not None:
            self._deliver(held)

    def stopProducing(self) -> None:
        """
        Write nothing any more.
        """
        self._consumer = None
        self._held = None
        self._release()

    def _fetch(self) -> None:
        size = _PIECE if self._left is None else min(_PIECE, self._left)
        self._inThread(self._read, size).addCallbacks(self._deliver, self._fail)

    def _deliver(self, data: bytes) -> None:
        if self._consumer is None:
            return
        if self._paused:
            self._held = data
            return
        if self._left is not None:
            self._left -= len(data)
        if not data:
            if self._left:
                error = OSError(f"the file ended {self._left} bytes too early")
                self._fail(Failure(error))
            else:
                self._end()
            return
        self._consumer.write(data)
        self._advance(len(data))
        if self._consumer is not None:
            self._goOn()

    def _goOn(self) -> None:
        if self._left == 0:
            # Now, and not when a thread has looked: a client of HTTP that knows the
            # size leaves after the last byte.
            self._end()
        else:
            self._fetch()

    def _end(self) -> None:
        self._release()
        self._done.callback(None)

    def _fail(self, failure: Failure) -> None:
        if self._consumer is not None:
            self._release()
            self._done.errback(failure)

    def _release(self) -> None:
        close, self._close = self._close, None
        if close is not None:
            self._inThread(close)


async def pour(
    stream: AsyncIterable[bytes],
    write: Callable[[bytes], object],
    inThread: InThread,
    advance: Callable[[int], object] = lambda count: None,
) -> None:
    """
    Write a stream with a function that blocks.

    While one call writes, the next bytes gather; when they are many, no more
    are taken from the stream.

    @param stream: Where the bytes come from.

    @param write: Takes all the bytes that it is given; called in a thread.

    @param inThread: How to call it.

    @param advance: Told of each piece that arrives, in bytes.

    @raise Exception: What C{write} or the stream raised.  When it was the
        stream, or when the Deferred of this coroutine is cancelled, one last
        C{write} may still be running.
    """
    spout = _Spout(write, inThread)
    async for data in stream:
        await spout.write(data)
        advance(len(data))
    await spout.flush()


class _Spout:
    """
    Gathers bytes while a thread writes those before them.
    """

    def __init__(self, write: Callable[[bytes], object], inThread: InThread) -> None:
        self._write = write
        self._inThread = inThread
        self._pieces: list[bytes] = []
        self._size = 0
        self._writing = False
        self._failure: Failure | None = None
        self._waiting: Deferred[None] | None = None

    async def write(self, data: bytes) -> None:
        """
        Take some bytes, and return when there is room for more.
        """
        if self._failure is not None:
            self._failure.raiseException()
        self._pieces.append(data)
        self._size += len(data)
        self._next()
        if self._size >= _BATCH:
            await self._idle()

    async def flush(self) -> None:
        """
        Return when all bytes have been written.
        """
        while self._writing:
            await self._idle()
        if self._failure is not None:
            self._failure.raiseException()

    async def _idle(self) -> None:
        self._waiting = Deferred()
        await self._waiting
        if self._failure is not None:
            self._failure.raiseException()

    def _next(self) -> None:
        if self._pieces and not self._writing and self._failure is None:
            # One call for many pieces: each costs a wait for the interpreter.
            data = b"".join(self._pieces)
            self._pieces = []
            self._size = 0
            self._writing = True
            self._inThread(self._write, data).addCallbacks(self._wrote, self._failed)

    def _failed(self, failure: Failure) -> None:
        self._failure = failure
        self._wrote(None)

    def _wrote(self, ignored: object) -> None:
        self._writing = False
        self._next()
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

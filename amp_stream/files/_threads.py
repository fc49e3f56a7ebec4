# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Reading and writing that may block, done in threads, with back-pressure.

A disk that is busy, or a pipe whose other end is slow, stops a C{read} or
C{write} for as long as it likes.  In the reactor's thread that would stop every
small call of every connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from functools import partial
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.internet.threads import deferToThread, deferToThreadPool
from twisted.python.threadpool import ThreadPool
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

_READ_SIZE = 262_144
_MAX_WAITING = 524_288


ThreadRunner = Callable[..., Deferred[Any]]
"""
L{deferToThread <twisted.internet.threads.deferToThread>}, or a function that does
the same with other threads: takes a function and its arguments.
"""


def dedicatedThread() -> ThreadRunner:
    """
    Start a thread for calls that may never return, such as reading from a terminal.

    The threads of the reactor's pool are waited for when the process ends; this
    one is not.

    @return: Calls a function in the thread, after all earlier calls.
    """
    from twisted.internet import reactor as globalReactor

    reactor: Any = globalReactor
    pool = ThreadPool(1, 1, "amp_stream")
    # The type is that of the class attribute, which pools may override.
    pool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]
    pool.start()
    return partial(deferToThreadPool, reactor, pool)


@implementer(IBodyProducer)
class ThreadedSource:
    """
    A source for a stream that is read in a thread, one piece ahead.

    @ivar onRead: Called in the thread with each piece that was read.

    @ivar onWrite: Called with each piece that leaves.
    """

    def __init__(
        self,
        read: Callable[[int], bytes],
        size: int | None = None,
        inThread: ThreadRunner = deferToThread,
        *,
        close: Callable[[], object] | None = None,
    ) -> None:
        """
        @param read: Reads up to so many bytes, none at the end; called in a
            thread.

        @param size: How many bytes to read, or L{None} to read to the end.

        @param inThread: How to call it.

        @param close: Called in a thread when the source is not read any more.
        """
        self.length: int | str = UNKNOWN_LENGTH if size is None else size
        self.onRead: Callable[[bytes], object] = lambda data: None
        self.onWrite: Callable[[bytes], object] = lambda data: None
        self._read = read
        self._left = size
        self._inThread = inThread
        self._close = close
        self._stopped = False
        self._mayWrite: Deferred[None] = succeed(None)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """
        Begin to read.

        @return: Fires when the consumer has been given the last byte.
        """
        done: Deferred[None] = Deferred()

        def finished(outcome: Any) -> None:
            if not self._stopped:
                self._release()
                done.callback(outcome)

        Deferred.fromCoroutine(self._produce(consumer)).addBoth(finished)
        return done

    def pauseProducing(self) -> None:
        """Write nothing for now."""
        if self._mayWrite.called:
            self._mayWrite = Deferred()

    def resumeProducing(self) -> None:
        """Write again, beginning with the piece that was read meanwhile."""
        if not self._mayWrite.called:
            self._mayWrite.callback(None)

    def stopProducing(self) -> None:
        """Write nothing any more."""
        self._stopped = True
        self.resumeProducing()
        self._release()

    async def _produce(self, consumer: IConsumer) -> None:
        # At its size, and not when a thread has found the end: a client of HTTP that
        # knows the size leaves after the last byte.
        while self._left != 0 and not self._stopped:
            size = _READ_SIZE if self._left is None else min(_READ_SIZE, self._left)
            data = await self._inThread(self._readOne, size)
            await self._mayWrite
            if self._stopped or not data:
                break
            if self._left is not None:
                self._left -= len(data)
            consumer.write(data)
            self.onWrite(data)
        if self._left:
            raise OSError(f"the file ended {self._left} bytes too early")

    def _readOne(self, size: int) -> bytes:
        data = self._read(size)
        self.onRead(data)
        return data

    def _release(self) -> None:
        close, self._close = self._close, None
        if close is not None:
            self._inThread(close)


async def writeInThread(
    stream: AsyncIterable[bytes],
    write: Callable[[bytes], object],
    inThread: ThreadRunner,
    onWrite: Callable[[bytes], object] = lambda data: None,
) -> None:
    """
    Write a stream with a function that blocks.

    While one call writes, the next bytes gather; when they are many, no more
    are taken from the stream.

    @param stream: Where the bytes come from.

    @param write: Takes all the bytes that it is given; called in a thread.

    @param inThread: How to call it.

    @param onWrite: Called with each piece, in the thread of the reactor.

    @raise Exception: C{write} or the stream raised it.  When it was the
        stream, or when the Deferred of this coroutine is cancelled, one last
        C{write} may still be running.
    """
    waiting: list[bytes] = []
    size = 0
    writing = False
    errors: list[Exception] = []
    written: Deferred[None] = Deferred()

    async def writeAll() -> None:
        nonlocal size, writing
        writing = True
        while waiting and not errors:
            # One call for many pieces: each costs a wait for the interpreter.
            data = b"".join(waiting)
            waiting.clear()
            size = 0
            try:
                await inThread(write, data)
            except Exception as error:
                errors.append(error)
            wake()
        writing = False
        wake()

    def wake() -> None:
        nonlocal written
        was, written = written, Deferred()
        was.callback(None)

    async for data in stream:
        if not errors:
            waiting.append(data)
            size += len(data)
            if not writing:
                Deferred.fromCoroutine(writeAll())
            if size >= _MAX_WAITING:
                await written
        if errors:
            break
        onWrite(data)
    while writing:
        await written
    if errors:
        raise errors[0]

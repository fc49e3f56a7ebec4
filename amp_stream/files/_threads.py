# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Reading and writing that may block, done in threads, with back-pressure.

A disk that is busy, or a pipe whose other end is slow, stops a C{read} or
C{write} for as long as it likes.  In the reactor's thread that would stop every
small call of every connection.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import AsyncIterable, Callable
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, ParamSpec, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from amp_stream.files._storage import WholeFile

_P = ParamSpec("_P")
_T = TypeVar("_T")

_READ_SIZE = 262_144
_MAX_WAITING = 524_288


ThreadRunner = Callable[..., Deferred[Any]]
"""
L{deferToThread <twisted.internet.threads.deferToThread>}, or a function that does
the same with other threads: takes a function and its arguments.
"""


class DedicatedThread:
    """
    One thread for calls that may never return, such as reading from a terminal.

    The threads of the reactor's pool are waited for when the process ends; this
    one is not.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Deferred[Any], Callable[[], Any]]]
        self._calls = SimpleQueue()
        self._thread: Thread | None = None

    def __call__(
        self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Deferred[_T]:
        """Call the function in the thread, after all earlier calls."""
        result: Deferred[_T] = Deferred()
        self._calls.put((result, lambda: function(*args, **kwargs)))
        if self._thread is None:
            self._thread = Thread(target=self._run, daemon=True)
            self._thread.start()
        return result

    def _run(self) -> None:
        from twisted.internet import reactor

        main: Any = reactor
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
            main.callFromThread(fire, outcome)


@implementer(IBodyProducer)
class ThreadedSource:
    """
    A source for a stream that is read in a thread, one piece ahead.

    @ivar onRead: Called in the thread with each piece that was read.

    @ivar onWrite: Called with the number of bytes of each piece that leaves.
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
        self.onWrite: Callable[[int], object] = lambda count: None
        self._read = read
        self._left = size
        self._inThread = inThread
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
        """Write nothing for now."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Go on."""
        self._paused = False
        held, self._held = self._held, None
        if held is not None:
            self._deliver(held)

    def stopProducing(self) -> None:
        """Write nothing any more."""
        self._consumer = None
        self._held = None
        self._release()

    def _fetch(self) -> None:
        size = _READ_SIZE if self._left is None else min(_READ_SIZE, self._left)
        self._inThread(self._readOne, size).addCallbacks(self._deliver, self._fail)

    def _readOne(self, size: int) -> bytes:
        data = self._read(size)
        self.onRead(data)
        return data

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
        self.onWrite(len(data))
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


@frozen
class ThreadedSink:
    """
    A sink that is written to in a thread.

    @ivar write: Takes all the bytes that it is given; it blocks.

    @ivar inThread: How to call the others.

    @ivar finish: Called after the last byte; it blocks.

    @ivar discard: Called if the bytes are not complete; it blocks.  L{None} if there is
        nothing to do.
    """

    write: Callable[[bytes], object]
    inThread: ThreadRunner = deferToThread
    finish: Callable[[], object] = lambda: None
    discard: Callable[[], object] | None = None


def openSource(path: str, inThread: ThreadRunner = deferToThread) -> ThreadedSource:
    """
    Open a file for reading.

    @param path: A file, a device, a FIFO, or C{"-"} for standard input.

    @param inThread: How to read a regular file; the others get a thread of their own.

    @raise OSError: It cannot be opened.
    """
    if path == "-":
        # Not sys.stdin: its lock would be held until there is input.
        return ThreadedSource(partial(os.read, 0), None, DedicatedThread())
    file = open(path, "rb")  # noqa: SIM115 - the source closes it
    status = os.fstat(file.fileno())
    if stat.S_ISREG(status.st_mode):
        # A file of /proc has bytes, although it says that it is empty.
        size = status.st_size or None
        return ThreadedSource(file.read, size, inThread, close=file.close)
    return ThreadedSource(file.read, None, DedicatedThread(), close=file.close)


def fileSource(file: Any, inThread: ThreadRunner) -> ThreadedSource:
    """Read an open binary file in a thread, from where it stands to its end."""
    size = None
    if isinstance(file, io.BytesIO):
        size = max(0, file.getbuffer().nbytes - file.tell())
    return ThreadedSource(file.read, size, inThread, close=getattr(file, "close", None))


def openSink(path: str, inThread: ThreadRunner = deferToThread) -> ThreadedSink:
    """
    Prepare to write a file.

    @param path: A file, a device, a FIFO, or C{"-"} for standard output.  A regular
        file, or one that does not exist yet, gets its contents in one step, when it is
        finished.  If the path is a symbolic link, that is the file it leads to.

    @param inThread: How to write a regular file; the others get a thread of their own.
    """
    if path == "-":
        return _pipeSink(lambda: os.dup(1))
    # Renaming a file onto a device, or a link to one, would remove it.
    path = os.path.realpath(path)
    if os.path.exists(path) and not os.path.isfile(path):
        return _pipeSink(partial(os.open, path, os.O_WRONLY | os.O_CLOEXEC))
    directory, name = os.path.split(path)
    file = WholeFile(directory, b".amp-stream-")
    finish = partial(file.commit, os.fsencode(name))
    return ThreadedSink(file.write, inThread, finish, file.discard)


def _pipeSink(opened: Callable[[], int]) -> ThreadedSink:
    fd = -1

    def write(data: bytes) -> None:
        nonlocal fd
        if fd == -1:
            fd = opened()  # here, as opening a FIFO waits for its reader
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]

    def finish() -> None:
        if fd != -1:
            os.close(fd)

    # Not closed when the transfer fails: the thread may be in the middle of a write.
    return ThreadedSink(write, DedicatedThread(), finish)


async def writeInThread(
    stream: AsyncIterable[bytes],
    write: Callable[[bytes], object],
    inThread: ThreadRunner,
    onWrite: Callable[[int], object] = lambda count: None,
) -> None:
    """
    Write a stream with a function that blocks.

    While one call writes, the next bytes gather; when they are many, no more
    are taken from the stream.

    @param stream: Where the bytes come from.

    @param write: Takes all the bytes that it is given; called in a thread.

    @param inThread: How to call it.

    @param onWrite: Called with the number of bytes of each piece that arrives.

    @raise Exception: C{write} or the stream raised it.  When it was the
        stream, or when the Deferred of this coroutine is cancelled, one last
        C{write} may still be running.
    """
    writer = _ThreadWriter(write, inThread)
    async for data in stream:
        await writer.write(data)
        onWrite(len(data))
    await writer.flush()


class _ThreadWriter:
    """Gathers bytes while a thread writes those before them."""

    def __init__(
        self, write: Callable[[bytes], object], inThread: ThreadRunner
    ) -> None:
        self._write = write
        self._inThread = inThread
        self._waiting: list[bytes] = []
        self._size = 0
        self._writing = False
        self._failure: Failure | None = None
        self._idle: Deferred[None] | None = None

    async def write(self, data: bytes) -> None:
        """Take some bytes, and return when there is room for more."""
        if self._failure is not None:
            self._failure.raiseException()
        self._waiting.append(data)
        self._size += len(data)
        self._next()
        if self._size >= _MAX_WAITING:
            await self._untilWritten()

    async def flush(self) -> None:
        """Return when all bytes have been written."""
        while self._writing:
            await self._untilWritten()
        if self._failure is not None:
            self._failure.raiseException()

    async def _untilWritten(self) -> None:
        self._idle = Deferred()
        await self._idle
        if self._failure is not None:
            self._failure.raiseException()

    def _next(self) -> None:
        if self._waiting and not self._writing and self._failure is None:
            # One call for many pieces: each costs a wait for the interpreter.
            data = b"".join(self._waiting)
            self._waiting = []
            self._size = 0
            self._writing = True
            self._inThread(self._write, data).addCallbacks(self._wrote, self._failed)

    def _failed(self, failure: Failure) -> None:
        self._failure = failure
        self._wrote(None)

    def _wrote(self, ignored: object) -> None:
        self._writing = False
        self._next()
        idle, self._idle = self._idle, None
        if idle is not None:
            idle.callback(None)

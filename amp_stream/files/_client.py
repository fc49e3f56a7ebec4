# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The client of the file service."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterable
from functools import partial, wraps
from typing import Any, BinaryIO, ParamSpec, Protocol, TypeVar, Union

from attrs import frozen
from twisted.internet import interfaces
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.python.filepath import FilePath
from zope.interface import implementer

from amp_stream import StreamAMP, StreamConfig
from amp_stream.errors import DigestMismatch, UsageError
from amp_stream.files import _commands as commands
from amp_stream.files._endpoints import clientEndpoint
from amp_stream.files._storage import FileInfo, WholeFile, pathOf
from amp_stream.files._threads import (
    ThreadedSource,
    ThreadRunner,
    dedicatedThread,
    writeInThread,
)
from amp_stream.outofband import Ticket

_P = ParamSpec("_P")
_T = TypeVar("_T")

Progress = Callable[[int, int | None], object]
"""
Is called with the number of bytes that have moved so far, 0 at first, and with how many
there will be in all, or L{None} while that is not known.
"""


class _Writable(Protocol):
    def write(self, data: bytes, /) -> object: ...


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


_Bytes = bytes | bytearray | memoryview
_File = Union[BinaryIO, "FilePath[str]", "os.PathLike[str]"]
_Pieces = Iterable[bytes] | AsyncIterable[bytes]

SourceLike = _Bytes | _File | _Pieces | ThreadedSource
"""
The sources of L{FileClient.put}.
"""

SinkLike = _Writable | _File | ThreadedSink
"""
The sinks of L{FileClient.get}.
"""

_FileList = list[FileInfo]  # in the class, "list" is a method


@implementer(interfaces.IHandshakeListener)
class FileClientProtocol(StreamAMP):
    """
    A connection to a file service.

    @ivar ready: Fires when the connection can be used: over TLS, when the other side
        has shown its certificate.  Fails if the connection is lost before.

    @ivar disconnected: Fires when the connection is closed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ready: Deferred[FileClientProtocol] = Deferred()
        self.disconnected: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """The connection can be used, unless there is a TLS handshake first."""
        super().connectionMade()
        if not interfaces.ISSLTransport.providedBy(self.transport):
            self.ready.callback(self)

    def handshakeCompleted(self) -> None:
        """The TLS handshake has succeeded."""
        self.ready.callback(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell those who wait for the connection or for its end."""
        super().connectionLost(reason)
        if not self.ready.called:
            self.ready.errback(reason)
        self.disconnected.callback(None)


def connect(
    endpoint: str | interfaces.IStreamClientEndpoint,
    *,
    connectTimeout: float = 30.0,
    config: StreamConfig | None = None,
    reactor: interfaces.IReactorTime | None = None,
) -> Deferred[FileClient]:
    """
    Connect to a file service.

    @param endpoint: Where it is: an endpoint, a Twisted client endpoint string, or
        C{host:port}.

    @param connectTimeout: How long to try, a TLS handshake included (seconds).

    @param config: How this side of the connection behaves; L{None} for the defaults.

    @param reactor: The clock; L{None} for the global reactor.

    @return: Fires with the client, or fails with the reason: C{TimeoutError} if
        there was no answer.

    @raise ValueError: The string is not an endpoint.
    """
    clock: Any = reactor
    if clock is None:
        from twisted.internet import reactor as clock
    if isinstance(endpoint, str):
        endpoint = clientEndpoint(clock, endpoint, connectTimeout)
    make: Any = partial(FileClientProtocol, config=config)
    factory = Factory.forProtocol(make)
    factory.noisy = False
    connecting: Deferred[Any] = Deferred.fromCoroutine(_connect(endpoint, factory))
    message = f"no answer within {connectTimeout:g} s"
    connecting.addTimeout(connectTimeout, clock, timeoutError(message))
    return connecting.addCallback(FileClient)


async def _connect(endpoint: interfaces.IStreamClientEndpoint, factory: Factory) -> Any:
    protocol: Any = await endpoint.connect(factory)
    try:
        return await protocol.ready
    except BaseException:
        if protocol.transport is not None:
            protocol.transport.abortConnection()
        raise


def timeoutError(message: str) -> Callable[[Any, float], Any]:
    """
    Make a C{onTimeoutCancel} for C{Deferred.addTimeout} that fails with a
    C{TimeoutError} of this message.
    """

    def timedOut(outcome: Any, timeout: float) -> Any:
        if isinstance(outcome, Failure):
            raise TimeoutError(message)
        return outcome

    return timedOut


def _deferred(
    function: Callable[_P, Coroutine[Any, Any, _T]],
) -> Callable[_P, Deferred[_T]]:
    """
    Make a coroutine function return a Deferred.

    Unlike that of C{callRemote}, its error may be handled late: AMP closes the
    connection if the error of its own Deferred is not handled at once.
    """

    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> Deferred[_T]:
        return Deferred.fromCoroutine(function(*args, **kwargs))

    return call


@frozen
class FileOffer:
    """
    A file that any HTTP client can read, once.

    @ivar info: The file.

    @ivar ticket: The URL and the token for the HTTP client.
    """

    info: FileInfo
    ticket: Ticket
    _number: int
    _protocol: FileClientProtocol

    @_deferred
    async def whenUsed(self) -> int:
        """
        Wait until the ticket has been used; this can be called once.

        @return: Fires with the number of bytes when the last has been handed to the
            HTTP connection; AMP cannot tell whether it arrived.  Fails with
            L{TicketExpired <amp_stream.errors.TicketExpired>}, or with the reason why
            the transfer ended.
        """
        call = self._protocol.callRemote
        answer = await call(commands.AwaitOffer, number=self._number)
        count: int = answer["size"]
        return count


class FileClient:
    """
    A connection to a file service, from L{connect}.

    The Deferreds of its methods fail with a L{FileError
    <amp_stream.files.FileError>}, with a L{StreamError
    <amp_stream.errors.StreamError>}, or with the reason for which the connection was
    lost.  Each can be cancelled.

    @ivar protocol: The AMP protocol, for other calls on the same connection.
    """

    def __init__(
        self, protocol: FileClientProtocol, *, inThread: ThreadRunner = deferToThread
    ) -> None:
        self.protocol = protocol
        self._inThread = inThread

    @_deferred
    async def put(
        self,
        name: str,
        source: SourceLike,
        *,
        outOfBand: bool = False,
        progress: Progress | None = None,
    ) -> FileInfo:
        """
        Store a file.

        @param name: The name that it shall have.

        @param source: Its bytes: a bytes-like object, a path, a binary file, or an
            iterable or async iterable of bytes.  Files are read in threads, and closed
            at the end.

        @param outOfBand: Whether the bytes travel over HTTPS, for which one of the two
            sides must listen.

        @param progress: Called as the bytes leave.

        @return: Fires when the service has the file on its disk, and both ends have
            the same SHA-256 of it.
        """
        command = commands.PutFileOutOfBand if outOfBand else commands.PutFile
        tally = _Tally(progress)
        body = tally.observe(_asSource(source, self._inThread))
        answer = await self.protocol.callRemote(command, name=name, body=body)
        if (answer["size"], answer["sha256"]) != (tally.count, tally.sha256()):
            raise DigestMismatch(
                f"the service stored other bytes than were sent as {name!r}"
            )
        return FileInfo(name=name, **answer)

    @_deferred
    async def get(
        self,
        name: str,
        sink: SinkLike,
        *,
        outOfBand: bool = False,
        progress: Progress | None = None,
    ) -> FileInfo:
        """
        Read a file.

        @param name: Its name.

        @param sink: Where to write it.  A path gets the file in one step, when it is
            complete and checked.  A binary file, or anything else whose C{write} takes
            bytes, is written to in a thread and not closed; if the file turns out to
            be incomplete or damaged, it has been given a part of it.

        @param outOfBand: Whether the bytes travel over HTTPS, for which one of the two
            sides must listen.

        @param progress: Called as the bytes arrive.

        @return: Fires when the last byte has been written, and both ends have
            the same SHA-256 of them all.
        """
        tally = _Tally(progress)
        command = commands.GetFileOutOfBand if outOfBand else commands.GetFile
        answer = await self.protocol.callRemote(command, name=name)
        body = answer["body"]
        tally.size = answer["size"]
        try:
            tally.moved(b"")
            # The stream compares its SHA-256 with that of the service.
            await self._write(body, _asSink(sink, self._inThread), tally)
        except Exception:
            body.abort()
            raise
        return FileInfo(name, tally.count, answer["modified"], tally.sha256())

    async def _write(
        self, body: AsyncIterable[bytes], sink: ThreadedSink, tally: _Tally
    ) -> None:
        def write(data: bytes) -> None:
            sink.write(data)
            tally.hash(data)

        try:
            await writeInThread(body, write, sink.inThread, tally.moved)
            await sink.inThread(sink.finish)
        except Exception:
            if sink.discard is not None:
                await sink.inThread(sink.discard)
            raise

    @_deferred
    async def list(self) -> _FileList:
        """List all files, in the order of their names."""
        files: _FileList = []
        call, limit, more = self.protocol.callRemote, commands.MAX_PAGE, True
        while more:
            after = files[-1].name if files else ""
            answer = await call(commands.ListFiles, after=after, limit=limit)
            files += [FileInfo(**described) for described in answer["files"]]
            more = answer["more"]
        return files

    @_deferred
    async def stat(self, name: str) -> FileInfo:
        """Describe a file."""
        answer = await self.protocol.callRemote(commands.StatFile, name=name)
        return FileInfo(name=name, **answer)

    @_deferred
    async def remove(self, name: str) -> None:
        """Remove a file for good."""
        await self.protocol.callRemote(commands.RemoveFile, name=name)

    @_deferred
    async def ping(self) -> None:
        """Wait for the answer to a small call."""
        await self.protocol.callRemote(commands.Ping)

    @_deferred
    async def offer(self, name: str) -> FileOffer:
        """
        Get a ticket with which any HTTP client can read a file, once, with a GET.  The
        ticket is void when this connection is closed.

        @param name: The name of the file.
        """
        answer = await self.protocol.callRemote(commands.OfferFile, name=name)
        info = FileInfo(name, answer["size"], answer["modified"])
        return FileOffer(info, answer["ticket"], answer["number"], self.protocol)

    def close(self) -> Deferred[None]:
        """
        Close the connection, if it is open.

        @return: Fires when it is closed.
        """
        transport: Any = self.protocol.transport
        if transport is not None:
            transport.loseConnection()
        # Each caller gets its own, so that one may cancel it.
        closed: Deferred[None] = Deferred()
        self.protocol.disconnected.addCallback(closed.callback)
        return closed


class _Tally:
    """
    The size and the SHA-256 of the bytes of one transfer.

    @ivar size: How many bytes there will be, or L{None}.

    @ivar count: How many bytes there were.
    """

    def __init__(self, progress: Progress | None) -> None:
        self.size: int | None = None
        self.count = 0
        self._moved = 0
        self._progress = progress
        self._hash = hashlib.sha256()

    def sha256(self) -> bytes:
        """The SHA-256 of the bytes so far."""
        return self._hash.digest()

    def hash(self, data: bytes) -> None:
        """Count bytes, in any thread."""
        self._hash.update(data)
        self.count += len(data)

    def moved(self, data: bytes) -> None:
        """Report bytes, in the thread of the reactor."""
        self._moved += len(data)
        if self._progress is not None:
            self._progress(self._moved, self.size)

    def take(self, data: bytes) -> bytes:
        """Count, report and return bytes."""
        self.hash(data)
        self.moved(data)
        return data

    def observe(self, source: Any) -> Any:
        """
        Count the bytes of a source as they are read.

        @param source: A source from L{_asSource}.

        @return: The source to send.
        """
        if isinstance(source, ThreadedSource):
            self.size = source.length if isinstance(source.length, int) else None
            source.onRead, source.onWrite = self.hash, self.moved
            self.moved(b"")
            return source
        self.moved(b"")
        if isinstance(source, AsyncIterable):
            return (self.take(piece) async for piece in source)
        return (self.take(piece) for piece in source)


# Files, as sources and sinks.


def _asSource(source: Any, inThread: ThreadRunner) -> Any:
    """
    @return: A L{ThreadedSource}, or an iterable or async iterable.

    @raise OSError: The file cannot be opened.

    @raise UsageError: The source is of another type.
    """
    if isinstance(source, ThreadedSource):
        return source
    if isinstance(source, io.TextIOBase):
        raise UsageError("a file is made from bytes: open the source as rb")
    if isinstance(source, (FilePath, os.PathLike)):
        return openSource(pathOf(source), inThread)
    if isinstance(source, (bytes, bytearray, memoryview)):
        source = io.BytesIO(source)
    if callable(getattr(source, "read", None)):
        size = None
        if isinstance(source, io.BytesIO):
            size = max(0, source.getbuffer().nbytes - source.tell())
        close = getattr(source, "close", None)
        return ThreadedSource(source.read, size, inThread, close=close)
    if isinstance(source, (AsyncIterable, Iterable)) and not isinstance(
        source, (str, Awaitable)
    ):
        return source
    raise UsageError(
        "a file is made from bytes, a path, a binary file, or an iterable or async "
        f"iterable of bytes, not from {type(source).__name__}"
    )


def openSource(path: str, inThread: ThreadRunner = deferToThread) -> ThreadedSource:
    """
    Open a file for reading.

    @param path: A file, a device, a FIFO, or C{"-"} for standard input.

    @param inThread: How to read a regular file; the others get a thread of their own.

    @raise OSError: It cannot be opened.
    """
    if path == "-":
        # Not sys.stdin: its lock would be held until there is input.
        return ThreadedSource(partial(os.read, 0), None, dedicatedThread())
    file = open(path, "rb")  # noqa: SIM115 - the source closes it
    status = os.fstat(file.fileno())
    size = None
    if stat.S_ISREG(status.st_mode):
        # A file of /proc has bytes, although it says that it is empty.
        size = status.st_size or None
    else:
        inThread = dedicatedThread()
    return ThreadedSource(file.read, size, inThread, close=file.close)


def _asSink(sink: Any, inThread: ThreadRunner) -> ThreadedSink:
    if isinstance(sink, ThreadedSink):
        return sink
    if isinstance(sink, (FilePath, os.PathLike)):
        return openSink(pathOf(sink), inThread)
    if callable(getattr(sink, "write", None)):
        return ThreadedSink(sink.write, inThread)
    raise UsageError(
        f"a file is written to a path or a binary file, not to {type(sink).__name__}"
    )


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
    return ThreadedSink(write, dedicatedThread(), finish)

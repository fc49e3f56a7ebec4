# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The side of the file service that wants the files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.threads import deferToThread
from twisted.protocols.amp import Command
from twisted.python.failure import Failure

from amp_stream import StreamAMP
from amp_stream.blocking import InThread, ThreadedSource, pour
from amp_stream.errors import DigestMismatch
from amp_stream.fileerrors import FileTooLarge
from amp_stream.files import (
    FILE_LIMITS,
    MAX_BIG,
    MAX_PAGE,
    GetBig,
    GetFile,
    GetValue,
    ListFiles,
    Ping,
    PutBig,
    PutFile,
    PutValue,
    RemoveFile,
    StatFile,
)
from amp_stream.storage import FileInfo

__all__ = [
    "TRANSPORTS",
    "Fetched",
    "FileClient",
    "FileClientProtocol",
    "Progress",
    "Stored",
    "Transport",
    "connect",
    "tooLate",
]


@frozen
class Stored:
    """
    What was put.

    @ivar name: Its name.

    @ivar size: Its length in bytes.

    @ivar sha256: Its SHA-256, on which both ends agree: 32 bytes.
    """

    name: str
    size: int
    sha256: bytes


@frozen
class Fetched:
    """
    What was got.

    @ivar name: Its name.

    @ivar size: Its length in bytes.

    @ivar sha256: Its SHA-256, on which both ends agree: 32 bytes.

    @ivar modified: When it was written, in UTC.
    """

    name: str
    size: int
    sha256: bytes
    modified: datetime


class Progress(Protocol):
    """
    What wants to know how far a transfer is.
    """

    def start(self, size: int | None) -> None:
        """
        The transfer begins.

        @param size: How many bytes it will move, if that is known.
        """

    def advance(self, count: int) -> None:
        """
        So many more bytes have moved.
        """


class _NoProgress:
    def start(self, size: int | None) -> None:
        """
        Do nothing.
        """

    def advance(self, count: int) -> None:
        """
        Do nothing.
        """


class FileClientProtocol(StreamAMP):
    """
    A connection to a file service.

    @ivar disconnected: Fires when the connection is closed.
    """

    limits = FILE_LIMITS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.disconnected: Deferred[None] = Deferred()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Tell who waits for it.
        """
        super().connectionLost(reason)
        self.disconnected.callback(None)


def connect(
    reactor: IReactorTime,
    endpoint: IStreamClientEndpoint,
    timeout: float,
    version: str | int = "auto",
) -> Deferred[FileClient]:
    """
    Connect to a file service.

    @param timeout: How long to try (seconds).

    @param version: The version of AMP to speak, as L{StreamAMP} takes it.

    @return: Fires with the client, or fails with the reason: C{TimeoutError} if
        there was no answer.
    """
    protocol: Any = partial(FileClientProtocol, version=version)
    factory = Factory.forProtocol(protocol)
    factory.noisy = False
    connecting: Deferred[Any] = endpoint.connect(factory)
    connecting.addTimeout(timeout, reactor, tooLate)
    return connecting.addCallback(FileClient)


def tooLate(outcome: Any, timeout: float) -> Any:
    """
    Say in words that a Deferred took too long; see C{Deferred.addTimeout}.

    @param timeout: How long it was waited for (seconds).
    """
    if isinstance(outcome, Failure):
        raise TimeoutError(f"no answer within {timeout:g} s")
    return outcome


class FileClient:
    """
    What can be asked of a file service.

    Everything fails with the errors of L{amp_stream.fileerrors} and
    L{amp_stream.errors}, or with the reason for which the connection was lost,
    and can be cancelled.

    @ivar protocol: The connection.
    """

    def __init__(
        self, protocol: FileClientProtocol, inThread: InThread = deferToThread
    ) -> None:
        """
        @param protocol: The connection.

        @param inThread: How to call what blocks.
        """
        self.protocol = protocol
        self._inThread = inThread

    def put(
        self,
        name: str,
        read: Callable[[int], bytes],
        *,
        size: int | None = None,
        via: str = "stream",
        progress: Progress | None = None,
        inThread: InThread | None = None,
    ) -> Deferred[Stored]:
        """
        Store a value.

        @param name: The name that it shall have.

        @param read: Reads up to so many bytes of it, none at its end, such as
            the C{read} of a binary file; called in a thread.

        @param size: Its length in bytes, if that is known.

        @param via: One of L{TRANSPORTS}.

        @param progress: What to tell how far it is.

        @param inThread: How to call C{read}, if not as the client does.

        @return: Fires when the service has stored the value for good, and both
            ends have the same SHA-256 of it.
        """
        source = _Source(
            name, read, size, progress or _NoProgress(), inThread or self._inThread
        )
        return ensureDeferred(self._put(source, TRANSPORTS[via]))

    async def _put(self, source: _Source, transport: Transport) -> Stored:
        source.progress.start(source.size)
        answer = await transport.put(self.protocol, source)
        if (answer["size"], answer["sha256"]) != (source.count, source.sha256):
            raise DigestMismatch(
                f"the service did not store what was sent as {source.name!r}"
            )
        return Stored(source.name, source.count, source.sha256)

    def get(
        self,
        name: str,
        write: Callable[[bytes], object],
        *,
        via: str = "stream",
        progress: Progress | None = None,
        inThread: InThread | None = None,
    ) -> Deferred[Fetched]:
        """
        Read a value.

        @param name: Its name.

        @param write: Takes some bytes of it, all of them; called in a thread.
            If the value turns out to be incomplete or damaged, it has been
            given a part, and the Deferred fails.

        @param via: One of L{TRANSPORTS}.

        @param progress: What to tell how far it is.

        @param inThread: How to call C{write}, if not as the client does.

        @return: Fires when the last byte has been written, and both ends have
            the same SHA-256 of them all.
        """
        sink = _Sink(name, write, progress or _NoProgress(), inThread or self._inThread)
        return ensureDeferred(self._get(sink, TRANSPORTS[via]))

    async def _get(self, sink: _Sink, transport: Transport) -> Fetched:
        answer = await transport.get(self.protocol, sink)
        return Fetched(sink.name, sink.count, sink.sha256, answer["modified"])

    def listFiles(self) -> Deferred[list[FileInfo]]:
        """
        List all files, in the order of their names.
        """
        return ensureDeferred(self._listFiles())

    async def _listFiles(self) -> list[FileInfo]:
        files: list[FileInfo] = []
        after, more = "", True
        while more:
            answer = await self.protocol.callRemote(
                ListFiles, after=after, limit=MAX_PAGE
            )
            files += [FileInfo(**described) for described in answer["files"]]
            more = answer["more"]
            if answer["files"]:
                after = files[-1].name
        return files

    def stat(self, name: str) -> Deferred[FileInfo]:
        """
        Describe a file.
        """
        return ensureDeferred(self._stat(name))

    async def _stat(self, name: str) -> FileInfo:
        return FileInfo(
            name=name, **await self.protocol.callRemote(StatFile, name=name)
        )

    def remove(self, name: str) -> Deferred[None]:
        """
        Remove a file for good.
        """
        return ensureDeferred(self._call(RemoveFile, name=name))

    def ping(self) -> Deferred[None]:
        """
        Wait for an answer to a small call.
        """
        return ensureDeferred(self._call(Ping))

    async def _call(self, command: type[Command], **arguments: object) -> None:
        # A coroutine, as all else here: its error may be handled late.  AMP closes
        # the connection if that of its own Deferred is not handled at once.
        await self.protocol.callRemote(command, **arguments)

    def disconnect(self) -> Deferred[None]:
        """
        Close the connection, if it is open.

        @return: Fires when it is closed.
        """
        if not self.protocol.disconnected.called:
            transport: Any = self.protocol.transport
            transport.loseConnection()
        return self.protocol.disconnected


class _Source:
    """
    A value on its way out, hashed as it is read.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[int], bytes],
        size: int | None,
        progress: Progress,
        inThread: InThread,
    ) -> None:
        self.name = name
        self.size = size
        self.count = 0
        self.progress = progress
        self.inThread = inThread
        self._read = read
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> bytes:
        """
        The SHA-256 of what has been read: 32 bytes.
        """
        return self._hash.digest()

    def read(self, size: int) -> bytes:
        """
        Read some of it, in a thread.
        """
        data = self._read(size)
        self._hash.update(data)
        self.count += len(data)
        return data

    def readAll(self) -> bytes:
        """
        Read all of it, in a thread.
        """
        pieces = []
        self._checkBig(self.size or 0)
        while data := self.read(2**20):
            pieces.append(data)
            self._checkBig(self.count)
        return b"".join(pieces)

    def _checkBig(self, size: int) -> None:
        if size > MAX_BIG:
            raise FileTooLarge(
                f"{self.name!r} has more than the {MAX_BIG} bytes that one box "
                "carries: put it over a stream"
            )


class _Sink:
    """
    A value on its way in, hashed as it is written.
    """

    def __init__(
        self,
        name: str,
        write: Callable[[bytes], object],
        progress: Progress,
        inThread: InThread,
    ) -> None:
        self.name = name
        self.count = 0
        self.progress = progress
        self.inThread = inThread
        self._write = write
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> bytes:
        """
        The SHA-256 of what has been written: 32 bytes.
        """
        return self._hash.digest()

    def write(self, data: bytes) -> None:
        """
        Write some of it, in a thread.
        """
        self._write(data)
        self._hash.update(data)
        self.count += len(data)


_Answer = Mapping[str, Any]


async def _putStream(protocol: StreamAMP, source: _Source) -> _Answer:
    body = ThreadedSource(
        source.read, source.size, source.inThread, source.progress.advance
    )
    answer: _Answer
    answer = await protocol.callRemote(PutFile, name=source.name, body=body)
    return answer


async def _getStream(protocol: StreamAMP, sink: _Sink) -> _Answer:
    answer: _Answer = await protocol.callRemote(GetFile, name=sink.name)
    sink.progress.start(answer["size"])
    body = answer["body"]
    try:
        # The stream compares its SHA-256 with that of the service.
        await pour(body, sink.write, sink.inThread, sink.progress.advance)
    except Exception:
        body.abort()
        raise
    return answer


async def _putWhole(
    command: type[Command], protocol: StreamAMP, source: _Source
) -> _Answer:
    body = await source.inThread(source.readAll)
    answer: _Answer = await protocol.callRemote(
        command, name=source.name, body=body, sha256=source.sha256
    )
    source.progress.advance(len(body))
    return answer


async def _getWhole(
    command: type[Command], protocol: StreamAMP, sink: _Sink
) -> _Answer:
    answer: _Answer = await protocol.callRemote(command, name=sink.name)
    body = answer["body"]
    sink.progress.start(len(body))
    await sink.inThread(sink.write, body)
    sink.progress.advance(len(body))
    if answer["sha256"] != sink.sha256:
        raise DigestMismatch
    return answer


@frozen
class Transport:
    """
    A way for a file to travel.

    @ivar name: What a person calls it.

    @ivar maxSize: The most bytes that it carries, or L{None}.

    @ivar put: Makes the call that stores a file.

    @ivar get: Makes the call that reads one.

    @ivar version: The version of AMP to speak, as L{StreamAMP} takes it.
    """

    name: str
    maxSize: int | None
    put: Callable[[StreamAMP, Any], Awaitable[_Answer]]
    get: Callable[[StreamAMP, Any], Awaitable[_Answer]]
    version: str | int = "auto"


TRANSPORTS = {
    transport.name: transport
    for transport in (
        Transport("stream", None, _putStream, _getStream),
        Transport(
            "argument",
            MAX_BIG,
            partial(_putWhole, PutValue),
            partial(_getWhole, GetValue),
        ),
        # In version 1, for this is what to use where the peer is a plain amp.AMP:
        # in "auto", the box would be cut into fragments like that of an argument.
        Transport(
            "bigstring",
            MAX_BIG,
            partial(_putWhole, PutBig),
            partial(_getWhole, GetBig),
            version=1,
        ),
    )
}
"""
All ways for a file to travel.  The command line and the demonstration offer
each entry of this table.
"""

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The side of the file service that wants the files.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.threads import deferToThread
from twisted.protocols.amp import Command
from twisted.python.failure import Failure

from amp_stream import StreamAMP
from amp_stream.blocking import InThread
from amp_stream.errors import DigestMismatch
from amp_stream.files import (
    FILE_LIMITS,
    MAX_PAGE,
    AwaitTicket,
    ListFiles,
    Ping,
    RemoveFile,
    StatFile,
    TicketFile,
)
from amp_stream.hashed import HashedSink, HashedSource, Progress
from amp_stream.outofband import OutOfBandClient, OutOfBandServer, Ticket
from amp_stream.storage import FileInfo
from amp_stream.transports import TRANSPORTS, Transport

__all__ = [
    "Fetched",
    "FileClient",
    "FileClientProtocol",
    "FileTicket",
    "Stored",
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


@frozen
class FileTicket:
    """
    With what somebody who has no AMP connection can get a file, once.

    @ivar number: What to ask L{FileClient.ticketUsed} for.

    @ivar info: The file.

    @ivar ticket: What it takes.
    """

    number: int
    info: FileInfo
    ticket: Ticket


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
    *,
    bulkServer: OutOfBandServer | None = None,
    bulkClient: OutOfBandClient | None = None,
) -> Deferred[FileClient]:
    """
    Connect to a file service.

    @param timeout: How long to try (seconds).

    @param version: The version of AMP to speak, as L{StreamAMP} takes it.

    @param bulkServer: What serves the out-of-band transfers at this side.

    @param bulkClient: Which of those at the other side are made.

    @return: Fires with the client, or fails with the reason: C{TimeoutError} if
        there was no answer.
    """
    protocol: Any = partial(
        FileClientProtocol,
        version=version,
        bulkServer=bulkServer,
        bulkClient=bulkClient,
    )
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
        source = HashedSource(name, read, size, progress, inThread or self._inThread)
        return ensureDeferred(self._put(source, TRANSPORTS[via]))

    async def _put(self, source: HashedSource, transport: Transport) -> Stored:
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
        sink = HashedSink(name, write, progress, inThread or self._inThread)
        return ensureDeferred(self._get(sink, TRANSPORTS[via]))

    async def _get(self, sink: HashedSink, transport: Transport) -> Fetched:
        answer = await transport.get(self.protocol, sink)
        return Fetched(sink.name, sink.count, sink.sha256, answer["modified"])

    def ticket(self, name: str) -> Deferred[FileTicket]:
        """
        Get a ticket for a value, which is good for one HTTP GET by anybody.  It is
        void when this connection is closed.

        @param name: The name of the value.
        """
        return ensureDeferred(self._ticket(name))

    async def _ticket(self, name: str) -> FileTicket:
        answer = await self.protocol.callRemote(TicketFile, name=name)
        info = FileInfo(name=name, size=answer["size"], modified=answer["modified"])
        return FileTicket(answer["number"], info, answer["ticket"])

    def ticketUsed(self, number: int) -> Deferred[int]:
        """
        Wait until a ticket has been used; this can be asked once for each.

        @param number: That of the ticket.

        @return: Fires with the number of bytes (bytes) when the last has been handed
            to the HTTP connection; nobody confirms that it arrived.  Fails with
            L{TicketExpired <amp_stream.errors.TicketExpired>}, or with what has
            ended the transfer.
        """
        return ensureDeferred(self._ticketUsed(number))

    async def _ticketUsed(self, number: int) -> int:
        answer = await self.protocol.callRemote(AwaitTicket, number=number)
        count: int = answer["size"]
        return count

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

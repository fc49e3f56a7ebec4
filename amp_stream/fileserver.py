# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The side of the file service that has the files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from amp_stream import IncomingStream, StreamAMP
from amp_stream.blocking import InThread, ThreadedSource, pour
from amp_stream.errors import DigestMismatch, NobodyListens
from amp_stream.fileerrors import FileTooLarge
from amp_stream.files import (
    FILE_LIMITS,
    MAX_BIG,
    MAX_PAGE,
    AwaitTicket,
    GetBig,
    GetFile,
    GetFileOutOfBand,
    GetValue,
    ListFiles,
    Ping,
    PutBig,
    PutFile,
    PutFileOutOfBand,
    PutValue,
    RemoveFile,
    StatFile,
    TicketFile,
)
from amp_stream.filetickets import FileTickets
from amp_stream.outofband import OutOfBandServer
from amp_stream.storage import FileInfo, FileStore, Incoming

__all__ = ["DEFAULT_MAX_CONNECTIONS", "FileServiceFactory", "FileServiceProtocol"]

DEFAULT_MAX_CONNECTIONS = 1000
"""
How many connections a factory serves at once when it is not told otherwise.
"""

_Response = dict[str, Any]
_R = TypeVar("_R")


class FileServiceProtocol(StreamAMP):
    """
    One connection to the file service.
    """

    factory: FileServiceFactory
    limits = FILE_LIMITS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._tickets = FileTickets()

    def connectionMade(self) -> None:
        """
        Count this connection.
        """
        super().connectionMade()
        self.factory.opened(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Count this connection no more.
        """
        super().connectionLost(reason)
        self.factory.closed(self)

    @PutFile.responder
    @PutFileOutOfBand.responder
    def putFile(self, name: str, body: IncomingStream) -> Deferred[_Response]:
        """
        Store the bytes of a stream.
        """
        # Refused here, before a thread is asked for anything.
        incoming = self.factory.store.receive(name, body.size)
        return self.factory.receiving(self._putFile(incoming, body))

    async def _putFile(self, incoming: Incoming, body: IncomingStream) -> _Response:
        inThread = self.factory.inThread
        try:
            await pour(body, incoming.write, inThread)
            await inThread(incoming.commit)
        except Exception:
            await inThread(incoming.discard)
            raise
        return {"size": incoming.size, "sha256": incoming.sha256}

    @PutBig.responder
    @PutValue.responder
    def putBig(self, name: str, body: bytes, sha256: bytes) -> Deferred[_Response]:
        """
        Store the bytes that came in a box.
        """
        incoming = self.factory.store.receive(name, len(body))
        return self.factory.receiving(self._putBig(incoming, body, sha256))

    async def _putBig(
        self, incoming: Incoming, body: bytes, sha256: bytes
    ) -> _Response:
        inThread = self.factory.inThread
        try:
            await inThread(incoming.write, body)
            if incoming.sha256 != sha256:
                raise DigestMismatch
            await inThread(incoming.commit)
        except Exception:
            await inThread(incoming.discard)
            raise
        return {"size": incoming.size, "sha256": incoming.sha256}

    @GetFile.responder
    @GetFileOutOfBand.responder
    async def getFile(self, name: str) -> _Response:
        """
        Send a file over a stream.
        """
        body, info = await self._open(name)
        return {"size": info.size, "modified": info.modified, "body": body}

    @TicketFile.responder
    async def ticketFile(self, name: str) -> _Response:
        """
        Let somebody else get a file.
        """
        if self.bulkServer is None:
            raise NobodyListens
        number = self._tickets.reserve()
        try:
            body, info = await self._open(name)
            offer = await self.offer(body)
        except Exception:
            self._tickets.cancel(number)
            raise
        self._tickets.issued(number, offer.done)
        return {
            "number": number,
            "size": info.size,
            "modified": info.modified,
            "ticket": offer.ticket,
        }

    @AwaitTicket.responder
    async def awaitTicket(self, number: int) -> _Response:
        """
        Tell what became of a ticket.
        """
        return {"size": await self._tickets.outcome(number)}

    async def _open(self, name: str) -> tuple[ThreadedSource, FileInfo]:
        inThread = self.factory.inThread
        file, info = await inThread(self.factory.store.open, name)
        body = ThreadedSource(file.read, info.size, inThread, close=file.close)
        if self.transport is None:
            # The connection was lost meanwhile, so this will never be begun.
            body.stopProducing()
        return body, info

    @GetBig.responder
    @GetValue.responder
    async def getBig(self, name: str) -> _Response:
        """
        Send a file in a box.
        """
        answer: _Response
        answer = await self.factory.inThread(_readBig, self.factory.store, name)
        return answer

    @ListFiles.responder
    async def listFiles(self, after: str, limit: int) -> _Response:
        """
        Describe some files.
        """
        limit = max(1, min(limit, MAX_PAGE))
        page = self.factory.store.page
        files, more = await self.factory.inThread(page, after, limit)
        described = [
            {"name": info.name, "size": info.size, "modified": info.modified}
            for info in files
        ]
        return {"files": described, "more": more}

    @StatFile.responder
    async def statFile(self, name: str) -> _Response:
        """
        Describe one file.
        """
        info = await self.factory.inThread(self.factory.store.stat, name)
        return {"size": info.size, "modified": info.modified}

    @RemoveFile.responder
    async def removeFile(self, name: str) -> _Response:
        """
        Remove one file.
        """
        await self.factory.inThread(self.factory.store.remove, name)
        return {}

    @Ping.responder
    def ping(self, payload: bytes | None = None) -> _Response:
        """
        Answer.
        """
        return {"payload": payload}


def _readBig(store: FileStore, name: str) -> _Response:
    file, info = store.open(name)
    with file:
        if info.size > MAX_BIG:
            raise FileTooLarge(
                f"{name!r} has {info.size} bytes, one box carries up to {MAX_BIG}: "
                "get it over a stream"
            )
        body = file.read()
    sha256 = hashlib.sha256(body).digest()
    return {"modified": info.modified, "body": body, "sha256": sha256}


class FileServiceFactory(ServerFactory):
    """
    Makes the connections of one file service.

    @ivar store: Where the files are.

    @ivar inThread: How to call what blocks.

    @ivar bulkServer: What serves the out-of-band transfers, or L{None}.
    """

    noisy = False
    _log = Logger()

    def __init__(
        self,
        store: FileStore,
        *,
        maxConnections: int = DEFAULT_MAX_CONNECTIONS,
        inThread: InThread = deferToThread,
        bulkServer: OutOfBandServer | None = None,
    ) -> None:
        """
        @param store: Where the files are.

        @param maxConnections: How many connections to serve at once: more are
            closed as they come.

        @param inThread: How to call what blocks.

        @param bulkServer: What serves the out-of-band transfers; without one, only
            clients that have one of their own can make them.
        """
        self.store = store
        self.inThread = inThread
        self.bulkServer = bulkServer
        self._connections: set[FileServiceProtocol] = set()
        self._maxConnections = maxConnections
        self._receiving = 0
        self._waiting: list[Deferred[None]] = []

    def buildProtocol(  # type: ignore[override]
        self, addr: IAddress | None
    ) -> FileServiceProtocol | None:
        """
        Serve a connection, unless there are too many.
        """
        if len(self._connections) >= self._maxConnections:
            self._log.warn(
                "refused {addr}: {most} connections are open",
                addr=addr,
                most=self._maxConnections,
            )
            return None
        protocol = FileServiceProtocol(bulkServer=self.bulkServer)
        protocol.factory = self
        return protocol

    def receiving(
        self, work: Coroutine[Deferred[Any], Any, _Response]
    ) -> Deferred[_Response]:
        """
        Start to receive a value, and remember it until its temporary file has
        its name or is gone.
        """
        result: Deferred[_Response] = ensureDeferred(work)
        self._receiving += 1
        return result.addBoth(self._received)

    def opened(self, connection: FileServiceProtocol) -> None:
        """
        A connection was opened.
        """
        self._connections.add(connection)

    def closed(self, connection: FileServiceProtocol) -> None:
        """
        A connection was closed.
        """
        self._connections.discard(connection)
        self._tell()

    def loseConnections(self) -> None:
        """
        Close all connections when their last answers have left.
        """
        for connection in list(self._connections):
            transport: Any = connection.transport
            transport.loseConnection()

    def abortConnections(self) -> None:
        """
        Close all connections now.
        """
        for connection in list(self._connections):
            transport: Any = connection.transport
            transport.abortConnection()

    def settled(self) -> Deferred[None]:
        """
        Tell when no connection is open, and nothing is being received any more.

        @return: Fires when, besides, each value whose receipt had begun is
            stored, or its temporary file is gone.
        """
        result: Deferred[None] = Deferred()
        self._waiting.append(result)
        self._tell()
        return result

    def _received(self, outcome: _R) -> _R:
        self._receiving -= 1
        self._tell()
        return outcome

    def _tell(self) -> None:
        if not self._receiving and not self._connections:
            waiting, self._waiting = self._waiting, []
            for result in waiting:
                result.callback(None)

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The file service: the protocol, its factory, and the service that listens."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any

from attrs import asdict
from twisted.application.service import Service
from twisted.internet import interfaces
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    gatherResults,
    maybeDeferred,
    succeed,
)
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.filepath import FilePath

from amp_stream import IncomingStream, StreamAMP, StreamConfig
from amp_stream.errors import CapacityExceeded, NoOutOfBandServer, StreamError
from amp_stream.files import _commands as commands
from amp_stream.files._endpoints import clientString, serverEndpoint
from amp_stream.files._storage import FileInfo, FileStore, NoSuchOffer
from amp_stream.files._threads import ThreadedSource, ThreadRunner, writeInThread
from amp_stream.outofband import OutOfBandServer

DEFAULT_MAX_CONNECTIONS = 1000
"""
How many connections a factory serves at once by default.
"""

MAX_OFFERS = 100
"""
How many offers one connection may have whose end it has not been told: the service
holds an open file for each that can still be used.
"""

_GRACE = 2.0
_HTTP_PACKAGES = ("cryptography", "OpenSSL", "h11", "service_identity")

_Response = dict[str, Any]


def whyNoOutOfBand() -> str | None:
    """
    @return: Why this machine cannot make out-of-band transfers, or L{None} if
        it can.
    """
    missing = ", ".join(name for name in _HTTP_PACKAGES if find_spec(name) is None)
    if not missing:
        return None
    return f"out-of-band transfers need {missing}: pip install 'amp_stream[http]'"


def startOutOfBand(server: OutOfBandServer) -> Deferred[object]:
    """
    Start a server for out-of-band transfers.

    @return: Fires when it listens, and fails with the reason if it cannot.
    """
    started: Deferred[object] = Deferred()
    # Before it starts: its own Deferred tells of a failure once.
    server.whenListening().addCallbacks(started.callback, started.errback)
    server.privilegedStartService()
    return started.addCallback(lambda ignored: server.startService())


class FileServerProtocol(StreamAMP):
    """One connection to the file service."""

    factory: FileServerFactory

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # By number; None once the client waits for the end.
        self._offers: dict[int, Deferred[list[Any]] | None] = {}
        self._lastOffer = 0

    def connectionMade(self) -> None:
        """Count this connection among those that are open."""
        super().connectionMade()
        self.factory.opened(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Remove this connection from those that are open."""
        super().connectionLost(reason)
        self.factory.closed(self)

    @commands.PutFile.responder
    @commands.PutFileOutOfBand.responder
    async def putFile(self, name: str, body: IncomingStream) -> _Response:
        """Store the bytes of a stream."""
        # Refused here, before a thread is asked for anything.
        upload = self.factory.store.receive(name, body.size)
        inThread = self.factory.inThread
        with self.factory.receiving():
            try:
                await writeInThread(body, upload.write, inThread)
                info = await inThread(upload.commit)
            except Exception:
                await inThread(upload.discard)
                raise
        return asdict(info)

    @commands.GetFile.responder
    @commands.GetFileOutOfBand.responder
    async def getFile(self, name: str) -> _Response:
        """Send a file over a stream."""
        body, info = await self._open(name)
        return {**asdict(info), "body": body}

    @commands.OfferFile.responder
    async def offerFile(self, name: str) -> _Response:
        """Make a ticket for a file."""
        if self.streams.config.outOfBandServer is None:
            raise NoOutOfBandServer
        if len(self._offers) >= MAX_OFFERS:
            raise CapacityExceeded(
                f"this connection has {MAX_OFFERS} offers: wait for the end of one",
                b"OOB_TICKETS",
            )
        self._lastOffer = number = self._lastOffer + 1
        end: Deferred[list[Any]] = Deferred()
        self._offers[number] = end
        try:
            body, info = await self._open(name)
            offer = await self.streams.offer(body)
        except Exception:
            del self._offers[number]
            raise

        def ended(outcome: Any) -> None:
            # Unless the connection was lost, and with it the client that could ask.
            if not isinstance(outcome, Failure) or outcome.check(StreamError):
                # In a list, so that a failure is not logged if the client never asks.
                end.callback([outcome])

        offer.done.addBoth(ended)
        return {**asdict(info), "number": number, "ticket": offer.ticket}

    @commands.AwaitOffer.responder
    async def awaitOffer(self, number: int) -> _Response:
        """Tell how an offer ended."""
        end = self._offers.get(number)
        if end is None:
            raise NoSuchOffer(
                f"this connection made no offer {number}, or was told how it ended"
            )
        self._offers[number] = None
        (outcome,) = await end
        del self._offers[number]
        if isinstance(outcome, Failure):
            outcome.raiseException()
        return {"size": outcome}

    async def _open(self, name: str) -> tuple[ThreadedSource, FileInfo]:
        inThread = self.factory.inThread
        file, info = await inThread(self.factory.store.open, name)
        body = ThreadedSource(file.read, info.size, inThread, close=file.close)
        if self.transport is None:
            # The connection was lost meanwhile, so this will never be begun.
            body.stopProducing()
        return body, info

    @commands.ListFiles.responder
    async def listFiles(self, after: str, limit: int) -> _Response:
        """Answer with a page of the list of files."""
        limit = max(1, min(limit, commands.MAX_PAGE))
        page = self.factory.store.page
        files, more = await self.factory.inThread(page, after, limit)
        return {"files": [asdict(info) for info in files], "more": more}

    @commands.StatFile.responder
    async def statFile(self, name: str) -> _Response:
        """Answer with the size and the time of a file."""
        info = await self.factory.inThread(self.factory.store.stat, name)
        return asdict(info)

    @commands.RemoveFile.responder
    async def removeFile(self, name: str) -> _Response:
        """Remove a file from the store."""
        await self.factory.inThread(self.factory.store.remove, name)
        return {}

    @commands.Ping.responder
    def ping(self, payload: bytes | None = None) -> _Response:
        """Answer with the payload."""
        return {"payload": payload}


class FileServerFactory(ServerFactory):
    """
    Makes the connections of one file service.

    @cvar protocol: The class of the connections.

    @ivar store: Where the files are.

    @ivar inThread: How to call functions that block.

    @ivar config: How each connection behaves.
    """

    protocol: type[FileServerProtocol] = FileServerProtocol  # type: ignore[assignment]
    noisy = False
    _log = Logger()

    def __init__(
        self,
        store: FileStore,
        *,
        maxConnections: int = DEFAULT_MAX_CONNECTIONS,
        config: StreamConfig | None = None,
        inThread: ThreadRunner = deferToThread,
    ) -> None:
        """
        @param store: Where the files are.

        @param maxConnections: How many connections to serve at once: further ones are
            closed as they come.

        @param config: How each connection behaves.  Without an C{outOfBandServer}, only
            clients that listen themselves can make out-of-band transfers.

        @param inThread: How to call functions that block; for tests.
        """
        self.store = store
        self.inThread = inThread
        self.config = config or self.protocol.streamConfig
        self._connections: set[Any] = set()
        self._maxConnections = maxConnections
        self._receiving = 0
        self._waiting: list[Deferred[None]] = []

    def buildProtocol(  # type: ignore[override]
        self, addr: interfaces.IAddress | None
    ) -> FileServerProtocol | None:
        """Serve a connection, unless there are too many."""
        if len(self._connections) >= self._maxConnections:
            text = "refused {addr}: {most} connections are open"
            self._log.warn(text, addr=addr, most=self._maxConnections)
            return None
        protocol = self.protocol(config=self.config)
        protocol.factory = self
        return protocol

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """
        Remember that a file is being received, until its temporary file has its name
        or is gone.
        """
        self._receiving += 1
        try:
            yield
        finally:
            self._receiving -= 1
            self._fireIfSettled()

    def opened(self, connection: FileServerProtocol) -> None:
        """A connection was opened."""
        self._connections.add(connection)

    def closed(self, connection: FileServerProtocol) -> None:
        """A connection was closed."""
        self._connections.discard(connection)
        self._fireIfSettled()

    def loseConnections(self) -> None:
        """Close all connections when their last answers have left."""
        for connection in list(self._connections):
            connection.transport.loseConnection()

    def abortConnections(self) -> None:
        """Close all connections now."""
        for connection in list(self._connections):
            connection.transport.abortConnection()

    def settled(self) -> Deferred[None]:
        """
        @return: Fires when no connection is open, and each file whose receipt had
            begun is stored, or its temporary file is gone.
        """
        result: Deferred[None] = Deferred()
        self._waiting.append(result)
        self._fireIfSettled()
        return result

    def _fireIfSettled(self) -> None:
        if not self._receiving and not self._connections:
            waiting, self._waiting = self._waiting, []
            for result in waiting:
                result.callback(None)


class FileService(Service):
    """
    The file service, on any number of ports.

    It does not use a C{StreamServerEndpointService} for each port, as that has no
    public way to tell the address of the port, nor to raise when it cannot be opened.
    """

    _log = Logger()

    def __init__(
        self,
        endpoints: Sequence[str | interfaces.IStreamServerEndpoint],
        factory: FileServerFactory,
        *,
        addressFile: str | None = None,
        reactor: interfaces.IReactorTime | None = None,
    ) -> None:
        """
        @param endpoints: Where to listen: endpoints, or Twisted server endpoint
            strings.

        @param factory: The factory of the connections.  The C{outOfBandServer} of its
            C{config}, if it has one, is started and stopped with this service.

        @param addressFile: The path of a file that gets one client endpoint string a
            line, in the order of C{endpoints}, as soon as all of them listen.

        @param reactor: The clock; L{None} for the global reactor.

        @raise ValueError: One of the strings is not an endpoint.
        """
        clock: Any = reactor
        if clock is None:
            from twisted.internet import reactor as clock
        self._reactor = clock
        self._endpoints = [
            serverEndpoint(clock, each) if isinstance(each, str) else each
            for each in endpoints
        ]
        self._factory = factory
        self._addressFile = addressFile
        self._ports: list[interfaces.IListeningPort] = []
        self._starting: Deferred[None] | None = None

    def privilegedStartService(self) -> None:
        """
        Clean the store, and listen.

        @raise Exception: It cannot listen.  C{twistd} then ends with status 1.
        """
        super().privilegedStartService()
        for name in self._factory.store.removeStale():
            self._log.info("removed {name}, left by a process that died", name=name)
        failures: list[Failure] = []
        starting = self._starting = Deferred.fromCoroutine(self._start())
        starting.addErrback(failures.append)
        if failures:
            failures[0].raiseException()
        starting.addCallback(self._maybeGiveUp, failures)

    def startService(self) -> None:
        """Listen, unless L{privilegedStartService} has done so."""
        super().startService()
        if self._starting is None:
            self.privilegedStartService()

    def stopService(self) -> Deferred[None]:
        """
        Stop listening and close the connections.

        @return: Fires when they are closed, and each upload has its name or has left
            nothing behind.  Out-of-band transfers end with their connections, and then
            their server stops.
        """
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _start(self) -> None:
        try:
            if self._factory.config.outOfBandServer is not None:
                # Before the clients that are told of it connect.
                await startOutOfBand(self._factory.config.outOfBandServer)
            addresses = []
            for endpoint in self._endpoints:
                port = await endpoint.listen(self._factory)
                self._ports.append(port)
                addresses.append(clientString(endpoint, port.getHost()))
            if self._addressFile is not None:
                lines = "".join(f"{each}\n" for each in addresses)
                # In one step, by way of a file beside it.
                FilePath(self._addressFile).setContent(lines.encode("utf-8"))
        except Exception as error:
            self._log.critical("the file service cannot start: {error}", error=error)
            for port in self._ports:
                maybeDeferred(port.stopListening)
            self._ports = []
            # Its ports are closed when this returns.
            self._stopOutOfBand()
            raise
        root, where = self._factory.store.root, " ".join(addresses)
        self._log.info("serving {root} at {addresses}", root=root, addresses=where)

    def _maybeGiveUp(self, ignored: object, failures: list[Failure]) -> None:
        # An endpoint of a plugin may fail after some time, when no caller is left to
        # catch an exception.  This stops the reactor, and makes the status not 0.
        if failures and failures[0].check(CancelledError) is None:
            signal.raise_signal(signal.SIGTERM)

    async def _stop(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
            self._starting = None
        ports, self._ports = self._ports, []
        closing = [maybeDeferred(port.stopListening) for port in ports]
        if ports and self._addressFile is not None:
            with suppress(OSError):
                os.unlink(self._addressFile)
        self._factory.loseConnections()
        patience = self._reactor.callLater(_GRACE, self._factory.abortConnections)
        await gatherResults(closing)
        await self._factory.settled()
        if patience.active():
            patience.cancel()
        await self._stopOutOfBand()

    def _stopOutOfBand(self) -> Deferred[None]:
        server = self._factory.config.outOfBandServer
        return succeed(None) if server is None else server.stopService()

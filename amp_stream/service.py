# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The file service as a L{Service<twisted.application.service.IService>}: it
listens, says where, and stops.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress

from twisted.application.service import Service
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    ensureDeferred,
    gatherResults,
    maybeDeferred,
    succeed,
)
from twisted.internet.interfaces import (
    IListeningPort,
    IReactorTime,
    IStreamServerEndpoint,
)
from twisted.logger import Logger
from twisted.python.failure import Failure

from amp_stream.addresses import clientString
from amp_stream.bulk import startBulk
from amp_stream.fileserver import FileServiceFactory
from amp_stream.outofband import OutOfBandServer
from amp_stream.wholefile import WholeFile

__all__ = ["FileService"]

_GRACE = 2.0


class FileService(Service):
    """
    The file service, on any number of ports.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        endpoints: Sequence[tuple[str, IStreamServerEndpoint]],
        factory: FileServiceFactory,
        addressFile: str | None = None,
    ) -> None:
        """
        @param reactor: The clock.

        @param endpoints: Where to listen: the endpoint strings and what they
            stand for.

        @param factory: What serves the connections.  Its C{bulkServer}, if it has
            one, is started and stopped with this service.

        @param addressFile: A file that is given one client endpoint string per
            line, in the order of C{endpoints}, as soon as all of them listen.
        """
        self._reactor = reactor
        self._endpoints = endpoints
        self._factory = factory
        self._addressFile = addressFile
        self._ports: list[IListeningPort] = []
        self._starting: Deferred[None] | None = None
        self._bulk: OutOfBandServer | None = None

    def privilegedStartService(self) -> None:
        """
        Clean the store, and listen.

        @raise Exception: It cannot listen.  C{twistd} then ends with status 1.
        """
        super().privilegedStartService()
        for name in self._factory.store.removeStale():
            self._log.info("removed {name}, left by a process that died", name=name)
        failures: list[Failure] = []
        starting = self._starting = ensureDeferred(self._start())
        starting.addErrback(failures.append)
        if failures:
            failures[0].raiseException()
        starting.addCallback(self._maybeGiveUp, failures)

    def startService(self) -> None:
        """
        Listen, unless L{privilegedStartService} has done so.
        """
        super().startService()
        if self._starting is None:
            self.privilegedStartService()

    def stopService(self) -> Deferred[None]:
        """
        Stop listening and close the connections.

        @return: Fires when they are closed, and what was being received has its
            name or has left nothing behind.  Out-of-band transfers end with their
            connections, and then their server stops.
        """
        super().stopService()
        return ensureDeferred(self._stop())

    async def _start(self) -> None:
        try:
            if self._factory.bulkServer is not None:
                # Before those who are told of it connect.
                self._bulk = self._factory.bulkServer
                await startBulk(self._bulk)
            for description, endpoint in self._endpoints:
                self._log.debug("listening on {what}", what=description)
                self._ports.append(await endpoint.listen(self._factory))
            addresses = [
                clientString(description, port.getHost())
                for (description, _), port in zip(
                    self._endpoints, self._ports, strict=True
                )
            ]
            if self._addressFile is not None:
                _writeLines(self._addressFile, addresses)
        except Exception as error:
            self._log.critical("the file service cannot start: {error}", error=error)
            for port in self._ports:
                maybeDeferred(port.stopListening)
            self._ports = []
            # Its ports are closed when this returns.
            self._stopBulk()
            raise
        self._log.info(
            "serving {root} at {addresses}",
            root=self._factory.store.root,
            addresses=" ".join(addresses),
        )

    def _maybeGiveUp(self, ignored: object, failures: list[Failure]) -> None:
        # An endpoint of a plugin may fail after some time.  Nobody would catch an
        # exception then; this stops the reactor, and makes the status not 0.
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
        await self._stopBulk()

    def _stopBulk(self) -> Deferred[None]:
        bulk, self._bulk = self._bulk, None
        return succeed(None) if bulk is None else bulk.stopService()


def _writeLines(path: str, lines: Sequence[str]) -> None:
    directory, name = os.path.split(os.path.abspath(path))
    file = WholeFile(directory)
    try:
        file.write("".join(line + "\n" for line in lines).encode("utf-8"))
        file.commit(os.fsencode(name))
    finally:
        file.discard()

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""What a way to move bytes has to offer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    UNIXClientEndpoint,
    UNIXServerEndpoint,
    connectProtocol,
)
from twisted.internet.interfaces import IProtocol, IProtocolFactory

from benchmarks.job import Job
from benchmarks.measuring import Meter

__all__ = ["NAME", "Peer", "Session", "authority", "clientOptions", "serverOptions"]

NAME = "localhost"


class Session(ABC):
    """The client's side of one connection."""

    @abstractmethod
    async def upload(self, size: int) -> None:
        """Move bytes to the server; done when the server has said that it has them."""

    @abstractmethod
    async def download(self, size: int) -> None:
        """Move bytes from the server."""

    def call(self, answered: Callable[[], None]) -> None:
        """Make a small call on the same connection, and say when it was answered."""
        raise NotImplementedError


class Peer(ABC):
    """Either side of one way to move bytes."""

    def __init__(self, reactor: Any, job: Job, meter: Meter) -> None:
        self.reactor = reactor
        self.job = job
        self.meter = meter

    @abstractmethod
    async def serve(self) -> int:
        """Listen, and tell on which port."""

    @abstractmethod
    async def connect(self) -> Session:
        """Connect to the server of the job."""

    async def listen(self, factory: IProtocolFactory) -> int:
        """Listen as the job says: with or without TLS, or on a UNIX socket."""
        if self.job.unix:
            await UNIXServerEndpoint(self.reactor, self._path()).listen(factory)
            return 0
        if self.job.certificate:
            # Not for those that need no TLS: to import it takes a while.
            from twisted.internet.endpoints import SSL4ServerEndpoint

            endpoint: Any = SSL4ServerEndpoint(
                self.reactor, 0, serverOptions(self.job), 4096, self.job.host
            )
        else:
            endpoint = TCP4ServerEndpoint(self.reactor, 0, 4096, self.job.host)
        port = await endpoint.listen(factory)
        return port.getHost().port

    async def reach(self, protocol: IProtocol) -> Any:
        """Connect as the job says: with or without TLS, or to a UNIX socket."""
        if self.job.unix:
            unix = UNIXClientEndpoint(self.reactor, self._path())
            return await connectProtocol(unix, protocol)
        endpoint: Any = TCP4ClientEndpoint(self.reactor, self.job.host, self.job.port)
        if self.job.certificate:
            from twisted.internet.endpoints import wrapClientTLS

            endpoint = wrapClientTLS(clientOptions(self.job), endpoint)
        return await connectProtocol(endpoint, protocol)

    def _path(self) -> str:
        return str(Path(self.job.directory, "socket"))


def serverOptions(job: Job) -> Any:
    """The certificate that was made for this run."""
    from twisted.internet import ssl

    return ssl.PrivateCertificate.loadPEM(Path(job.certificate).read_text()).options()


def clientOptions(job: Job) -> Any:
    """Trust that certificate and no other."""
    from twisted.internet import ssl

    return ssl.optionsForClientTLS(NAME, trustRoot=authority(job))


def authority(job: Job) -> Any:
    """The run's certificate, as one to trust."""
    from twisted.internet import ssl

    return ssl.Certificate.loadPEM(Path(job.certificate).read_text())

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Where an HTTP server listens, with which certificate, and what that is called.
"""

from __future__ import annotations

import re
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from attrs import frozen
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.protocol import ServerFactory

__all__ = ["EndpointLike", "Listener", "Place"]

EndpointLike: TypeAlias = "str | IStreamServerEndpoint"
"""
A server endpoint, or the string for one.
"""

_URL = re.compile(r"https?://[!\"$->@-~]{1,2000}")
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound


@frozen
class Place:
    """
    A place where a server listens.
    """

    scheme: str
    host: str
    port: int

    def url(self, localHost: str) -> str:
        """
        @param localHost: What to call this machine, if the place is every address of
            it; empty if that is not known.

        @return: How to get there.
        """
        host = self.host
        if host in _ANY:
            host = localHost or _ANY[host]
        if ":" in host:
            host = f"[{host}]"
        return f"{self.scheme}://{host}:{self.port}/"


class Listener:
    """
    Listens for one server, at any number of places, with one certificate.

    @ivar identity: Its key and certificate, if they are known here; see
        L{Identity}.
    """

    def __init__(
        self,
        reactor: Any,
        endpoint: EndpointLike,
        plain: bool,
        certificate: str | None,
        url: str | None,
    ) -> None:
        """
        For the parameters see L{BulkServer}.

        @raise ValueError: If they do not go together.
        """
        ownTLS = isinstance(endpoint, str) and endpoint.lower().startswith("ssl:")
        if ownTLS and (plain or certificate is not None):
            raise ValueError("an ssl: endpoint has its own certificate, and does TLS")
        if plain and certificate is not None:
            raise ValueError("plain HTTP has no certificate")
        self._reactor = reactor
        self._scheme = "http" if plain else "https"
        self._wraps = not (plain or ownTLS)
        self._publicHost = None if url is None else _hostOf(url)
        self._ports: list[IListeningPort] = []
        self.identity: Any = None
        if certificate is not None:
            from amp_stream.outofband.certificates import readIdentity

            self.identity = readIdentity(certificate)
        self.isShareable = not self._wraps or certificate is not None
        self._made = self._wraps and certificate is None
        self.main = self.endpoint(endpoint)

    def endpoint(self, endpoint: EndpointLike) -> IStreamServerEndpoint:
        """
        Make an endpoint of a string.
        """
        if isinstance(endpoint, str):
            made: IStreamServerEndpoint = serverFromString(self._reactor, endpoint)
            return made
        return endpoint

    @property
    def certificate(self) -> bytes:
        """
        The certificate in PEM, if clients have to be told of it.
        """
        return b"" if self.identity is None else self.identity.certificate

    async def listen(self, endpoint: IStreamServerEndpoint, factory: Any) -> Place:
        """
        Listen.

        @raise Exception: If that is not possible.
        """
        late = _Late()
        port = await endpoint.listen(late if self._wraps else factory)
        address = port.getHost()
        if not isinstance(address, (IPv4Address, IPv6Address)):
            await maybeDeferred(port.stopListening)
            raise ValueError(f"HTTP needs an IP address, and not {address}")
        self._ports.append(port)
        place = Place(self._scheme, address.host, address.port)
        if self._wraps:
            late.factory = self._encrypted(place, factory)
        return place

    def serverNameAt(self, host: str) -> str:
        """
        @return: The name to look for in the certificate, if it is not C{host}.
        """
        if self.identity is None or host in self.identity.names:
            return ""
        from amp_stream.outofband.certificates import SELF_MADE_NAME

        if SELF_MADE_NAME in self.identity.names:
            return SELF_MADE_NAME
        names = [name for name in self.identity.names if "*" not in name]
        return min(names, default="")

    def stop(self) -> Deferred[Any]:
        """
        Stop listening.

        @return: Fires when that is done.
        """
        ports, self._ports = self._ports, []
        if self._made:
            # Each start makes its own.
            self.identity = None
        return gatherResults([maybeDeferred(port.stopListening) for port in ports])

    def _encrypted(self, place: Place, factory: Any) -> Any:
        from twisted.protocols.tls import TLSMemoryBIOFactory

        if self.identity is None:
            from amp_stream.outofband.certificates import selfSigned

            hosts = {place.host} - set(_ANY)
            if self._publicHost is not None:
                hosts.add(self._publicHost)
            self.identity = selfSigned(hosts)
        return TLSMemoryBIOFactory(self.identity.options, False, factory)


class _Late(ServerFactory):
    """
    Stands for a factory that can be made only when it is known where it listens: that
    is in the certificate.
    """

    noisy = False
    factory: Any = None

    def buildProtocol(self, addr: Any) -> Any:
        """
        Leave it to the factory.
        """
        return None if self.factory is None else self.factory.buildProtocol(addr)


def _hostOf(url: str) -> str:
    problem = ValueError("url must be like https://host:port/path")
    if not _URL.fullmatch(url):
        raise problem
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        raise problem from None
    if not parts.hostname or port == 0 or "@" in parts.netloc:
        raise problem
    return parts.hostname

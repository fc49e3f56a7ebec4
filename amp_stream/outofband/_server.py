# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The HTTP(S) server of out-of-band transfers: where it listens, and its tickets.

A ticket leads to the server that issued it, and is kept in the memory of its process:
the bytes have to reach the process that holds the AMP connection, so a ticket could be
of no use anywhere else.
"""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from twisted.application.service import Service
from twisted.internet import interfaces
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from amp_stream._multiplexer import StreamMultiplexer
from amp_stream._outgoing import Source
from amp_stream.errors import (
    NoOutOfBandServer,
    TicketExpired,
    TransferRefused,
    ValueTooLong,
)
from amp_stream.outofband._client import checkNumber, checkType, parseURL
from amp_stream.outofband._tickets import (
    MAX_TICKETS,
    Grant,
    Refusal,
    RequestTarget,
    Ticket,
    TicketBook,
    hashToken,
    judge,
)
from amp_stream.outofband._transfer import Offer, Transfers

_TOKEN_SIZE = 32
_URL = re.compile(r"https?://[^#?@]{1,2000}")
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound


class OutOfBandServer(Service):
    """
    Receives and sends the bytes of L{OutOfBand} arguments over HTTP or HTTPS.

    One server can be shared by any number of L{StreamAMP} connections.
    """

    _log = Logger()

    def __init__(
        self,
        endpoint: str | interfaces.IStreamServerEndpoint,
        *,
        certificate: str | os.PathLike[str] | None = None,
        plainHTTP: bool = False,
        publicURL: str | None = None,
        ticketLifetime: float = 60.0,
        maxConnections: int = 1000,
        idleTimeout: float | None = 300.0,
        reactor: Any = None,
    ) -> None:
        """
        @param endpoint: Where to listen: a Twisted server endpoint, or its description.
            An endpoint with C{ssl:} does TLS itself, with a certificate that the
            authorities of the clients must vouch for; with any other endpoint, this
            server does TLS.

        @param certificate: The path of a PEM file with a private key and its
            certificate.  If it is L{None}, the server makes a key and a certificate at
            each start, and its tickets contain that certificate.

        @param plainHTTP: Whether to speak HTTP without TLS.  Then every machine on the
            way can read and change the tokens and the bytes.

        @param publicURL: The URL by which clients reach this server, such as
            C{"https://host:port/path"}, if that is not the address of the endpoint.

        @param ticketLifetime: For how long a ticket is valid (seconds, at least 1).

        @param maxConnections: How many HTTP connections to serve at once, at least 1.
            Further ones are closed as they come.

        @param idleTimeout: How long a client may accept no byte of its response
            (seconds), or L{None} to wait without a limit.

        @param reactor: The reactor, or L{None} for the global one.

        @raise TypeError: A parameter has the wrong type.

        @raise ValueError: A value is out of range, the parameters do not fit together,
            or C{certificate} does not contain a key and its certificate.

        @raise OSError: C{certificate} cannot be read.

        @raise ImportError: The extra C{http} is not installed.
        """
        checkNumber("ticketLifetime", ticketLifetime, 1)
        checkNumber("maxConnections", maxConnections, 1, int)
        if idleTimeout is not None:
            checkNumber("idleTimeout", idleTimeout, 0)
        checkType("plainHTTP", plainHTTP, bool, "True or False")
        self._publicHost = None if publicURL is None else _hostOf(publicURL)
        if certificate is not None:
            checkType("certificate", certificate, (str, os.PathLike), "a path or None")
        if not interfaces.IStreamServerEndpoint.providedBy(endpoint):
            wanted = "a server endpoint or its description, such as 'tcp:8443'"
            checkType("endpoint", endpoint, str, wanted)
        ownTLS = isinstance(endpoint, str) and endpoint.lower().startswith("ssl:")
        if ownTLS and (plainHTTP or certificate is not None):
            raise ValueError(
                "an ssl: endpoint does TLS with a certificate of its own: pass neither "
                "certificate nor plainHTTP"
            )
        if plainHTTP and certificate is not None:
            raise ValueError("plain HTTP has no certificate: pass one of the two")
        try:
            from amp_stream.outofband._http import HTTPServerFactory
        except ImportError as error:
            raise ImportError(
                "an HTTP server needs h11: pip install 'amp-stream[http]'"
            ) from error
        if reactor is None:
            from twisted.internet import reactor
        self._reactor: interfaces.IReactorTime = reactor
        if isinstance(endpoint, str):
            endpoint = serverFromString(reactor, endpoint)
        self._endpoint: Any = endpoint
        self._publicURL = publicURL
        self._scheme = "http" if plainHTTP else "https"
        self._wraps = not (plainHTTP or ownTLS)
        self._identity: Any = None
        if certificate is not None:
            from amp_stream.outofband._certificates import readIdentity

            self._identity = readIdentity(os.fspath(certificate))
        self._makesIdentity = self._wraps and certificate is None
        self._lifetime = ticketLifetime
        self._tickets = TicketBook(ticketLifetime, MAX_TICKETS)
        self._timer: interfaces.IDelayedCall | None = None
        self._factory = HTTPServerFactory(
            self._consume, maxConnections, idleTimeout, reactor
        )
        self._port: interfaces.IListeningPort | None = None
        self._address: IPv4Address | IPv6Address | None = None
        self._starting: Deferred[None] | None = None
        self._outcome: OutOfBandServer | Failure | None = None
        self._waiting: list[Deferred[OutOfBandServer]] = []

    def __repr__(self) -> str:
        where = "not listening" if self._address is None else self._urlFor("")
        return f"<OutOfBandServer {where}, {len(self._tickets)} tickets>"

    def privilegedStartService(self) -> None:
        """Listen."""
        super().privilegedStartService()
        if self._starting is None:
            self._starting = Deferred.fromCoroutine(self._listen())
            Deferred.fromCoroutine(self._watch(self._starting))

    def startService(self) -> None:
        """Listen, unless L{privilegedStartService} has done so."""
        super().startService()
        self.privilegedStartService()

    def stopService(self) -> Deferred[None]:
        """
        Stop listening, close all connections, and revoke all tickets.

        @return: Fires when the port and the connections are closed.
        """
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    def whenListening(self) -> Deferred[OutOfBandServer]:
        """
        Wait for the server to listen.

        @return: A new Deferred, which fires with this server once it listens, and
            fails with the reason if it cannot.
        """
        waiting: Deferred[OutOfBandServer] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        if self._outcome is not None:
            self._tell(self._outcome)
        return waiting

    def offer(self, multiplexer: StreamMultiplexer, source: Source) -> Deferred[Offer]:
        """
        Make an offer for L{StreamConnection.offer}.

        @param multiplexer: The streams of the AMP connection that it belongs to.
        """
        return Deferred.fromCoroutine(multiplexer.extension(Transfers).offer(source))

    # Listening.

    async def _watch(self, starting: Deferred[None]) -> None:
        try:
            await starting
        except Exception as error:
            failure = Failure()
            if not isinstance(error, CancelledError):
                text = "the server of out-of-band transfers cannot start: {error}"
                self._log.critical(text, error=error)
            try:
                await self._closePort()
            finally:
                self._tell(failure)
        else:
            self._log.info("out-of-band transfers at {url}", url=self._urlFor(""))
            self._tell(self)

    async def _listen(self) -> None:
        late = _LateFactory()
        port = await self._endpoint.listen(late if self._wraps else self._factory)
        self._port = port
        address = port.getHost()
        if not isinstance(address, (IPv4Address, IPv6Address)):
            raise ValueError(f"HTTP needs an IP address to listen on, not {address}")
        if self._wraps:
            late.factory = self._encrypted(address.host)
        self._address = address

    def _encrypted(self, host: str) -> Any:
        from twisted.protocols.tls import TLSMemoryBIOFactory

        if self._identity is None:
            from amp_stream.outofband._certificates import selfSigned

            hosts = {host} - set(_ANY)
            if self._publicHost is not None:
                hosts.add(self._publicHost)
            self._identity = selfSigned(hosts)
        return TLSMemoryBIOFactory(self._identity.options, False, self._factory)

    def _tell(self, outcome: OutOfBandServer | Failure) -> None:
        self._outcome = outcome
        while self._waiting:
            waiting = self._waiting.pop(0)
            if isinstance(outcome, Failure):
                waiting.errback(outcome)
            else:
                waiting.callback(outcome)

    async def _closePort(self) -> None:
        port, self._port = self._port, None
        self._address = None
        if port is not None:
            await maybeDeferred(port.stopListening)

    async def _stop(self) -> None:
        starting, self._starting = self._starting, None
        if starting is not None:
            starting.cancel()
        closing = Deferred.fromCoroutine(self._closePort())
        for grant in self._tickets.clear():
            grant.target.fail(NoOutOfBandServer("the OutOfBandServer has been stopped"))
        self._setTimer()
        if self._makesIdentity:
            self._identity = None
        await closing
        await self._factory.abortConnections()
        self._outcome = None

    def _urlFor(self, localHost: str) -> str:
        """
        Tell where a client reaches this server.

        @param localHost: The address of this machine by which that client has reached
            it over AMP, for a server that listens on all addresses; or an empty string.

        @raise NoOutOfBandServer: The server does not listen.
        """
        if self._address is None:
            raise NoOutOfBandServer(
                "the OutOfBandServer does not listen: start it as a service, and wait "
                "for whenListening()"
            )
        host = self._address.host
        if host in _ANY:
            host = localHost or _ANY[host]
        if ":" in host:
            host = f"[{host}]"
        return self._publicURL or f"{self._scheme}://{host}:{self._address.port}/"

    # Tickets.

    async def _issue(
        self,
        target: RequestTarget,
        method: bytes,
        size: int | None = None,
        maxSize: int | None = None,
        localHost: str = "",
    ) -> Ticket:
        """
        Issue a ticket, as soon as the server listens if it is being started.

        @param target: The end of a stream that the request is for.

        @param method: C{b"GET"} or C{b"PUT"}.

        @param size: The length of the stream (bytes), or L{None}.

        @param maxSize: The most bytes that the body may have, or L{None}.

        @param localHost: See L{_urlFor}.

        @raise NoOutOfBandServer: The server does not listen.

        @raise CapacityExceeded: Too many tickets wait to be used.
        """
        if self._starting is not None and self._outcome is None:
            # If the start fails, C{_urlFor} says so.
            await self.whenListening().addErrback(_passCancelled)
        url = self._urlFor(localHost)
        token = secrets.token_urlsafe(_TOKEN_SIZE).encode("ascii")
        grant = Grant(method=method, target=target, size=size, maxSize=maxSize)
        self._tickets.issue(hashToken(token), grant, self._reactor.seconds())
        self._setTimer()
        identity = self._identity
        host = urlsplit(url).hostname or ""
        return Ticket(
            url=url,
            token=token,
            method=method,
            lifetime=int(self._lifetime),
            maxSize=maxSize if size is None else size,
            certificate=b"" if identity is None else identity.certificate,
            serverName="" if identity is None else identity.nameAt(host),
        )

    def _revoke(self, ticket: Ticket) -> None:
        self._tickets.revoke(hashToken(ticket.token))
        self._setTimer()

    def _consume(
        self, token: bytes, method: bytes, length: int | None, hasLength: bool
    ) -> RequestTarget | Refusal:
        """
        Authorise a request.

        For the parameters see L{Authorise}.

        @return: The target of the request, or why it is refused.
        """
        grant = self._tickets.consume(hashToken(token), self._reactor.seconds())
        self._setTimer()
        if grant is None:
            return Refusal(401, "the token is unknown, has been used, or is too old")
        refusal = judge(grant, method, length, hasLength)
        if refusal is None:
            return grant.target
        kind = ValueTooLong if refusal.status == 413 else TransferRefused
        grant.target.fail(kind(f"a request was refused: {refusal.reason}"))
        return refusal

    def _setTimer(self) -> None:
        end = self._tickets.nextEnd
        if end is None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        elif self._timer is None:
            # A ticket that is issued later ends later.
            delay = max(0.0, end - self._reactor.seconds())
            self._timer = self._reactor.callLater(delay, self._expire)

    def _expire(self) -> None:
        self._timer = None
        for grant in self._tickets.expire(self._reactor.seconds()):
            grant.target.fail(TicketExpired())
        self._setTimer()


class _LateFactory(ServerFactory):
    """
    Delegates to a factory that is made after listening, because the certificate that
    the server makes names the address that the port is bound to.
    """

    noisy = False
    factory: Any = None

    def buildProtocol(self, addr: Any) -> Any:
        """Let the factory build the protocol."""
        return None if self.factory is None else self.factory.buildProtocol(addr)


def _passCancelled(failure: Failure) -> None:
    if failure.check(CancelledError):
        failure.raiseException()


def _hostOf(url: str) -> str:
    checkType("publicURL", url, str, "a str or None")
    with suppress(ValueError):
        if _URL.fullmatch(url):
            return parseURL(url).hostname or ""
    raise ValueError(f"publicURL must be like 'https://host:port/path', not {url!r}")

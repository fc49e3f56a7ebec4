# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The HTTP(S) server of out-of-band transfers.
"""

from __future__ import annotations

import secrets
from typing import Any, Protocol
from urllib.parse import urlsplit

from attrs import evolve, frozen
from twisted.application.service import Service
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    ensureDeferred,
    fail,
    succeed,
)
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from amp_stream._multiplexer import StreamLink
from amp_stream._outgoing import Source
from amp_stream._sansio.ticketbox import Ticket
from amp_stream._sansio.tickets import Grant, Owner, Refusal, hashToken, judge
from amp_stream.errors import (
    NobodyListens,
    OutOfBandError,
    StreamError,
    StreamTooLong,
    TicketExpired,
    TransferRefused,
)
from amp_stream.outofband.httpserver import BulkFactory
from amp_stream.outofband.listening import EndpointLike, Listener, Place
from amp_stream.outofband.offers import Offer
from amp_stream.outofband.side import OutOfBandSide
from amp_stream.outofband.store import MemoryTicketStore, TicketStore

__all__ = ["DEFAULT_LIFETIME", "BulkServer", "Exchange"]

DEFAULT_LIFETIME = 60
"""
For how long a ticket can be used where nobody says otherwise (seconds).
"""

_TOKEN_SIZE = 32


class Exchange(Protocol):
    """
    What a ticket is for: one end of a stream.
    """

    def begin(self, message: Any) -> object:
        """
        The request has come.

        @param message: For a C{PUT}, the L{Body} of the request; for a C{GET}, the
            L{Sink} of the response.
        """

    def fail(self, error: StreamError) -> None:
        """
        It will not come.
        """


@frozen
class _Waiting:
    exchange: Exchange
    hashed: bytes
    timer: IDelayedCall


class BulkServer(Service):
    """
    Takes and gives the bytes of L{OutOfBand} streams, over HTTP or HTTPS.

    Any number of L{StreamAMP} connections can share one: pass it to each as
    C{bulkServer}.

    """

    _log = Logger()

    def __init__(
        self,
        endpoint: EndpointLike,
        *,
        plain: bool = False,
        certificate: str | None = None,
        url: str | None = None,
        store: TicketStore | None = None,
        handover: EndpointLike | None = None,
        lifetime: int = DEFAULT_LIFETIME,
        maxConnections: int = 1000,
        idleTimeout: float | None = 300.0,
        reactor: Any = None,
    ) -> None:
        """
        @param endpoint: Where to listen: a Twisted server endpoint, or the string for
            one.  With C{ssl:} the endpoint does TLS, with a certificate that the
            clients' authorities have to vouch for; with any other this server does.

        @param plain: Whether to speak HTTP without TLS: then everybody on the way can
            read the tokens and the bytes, and change them.

        @param certificate: A file in PEM with a private key and its certificate.
            Without it, a key and a certificate are made at each start, and tickets
            tell clients of that certificate.

        @param url: Where clients reach this server, if not at the address and port
            of its endpoint: C{"https://host:port/path"}.

        @param store: Where tickets are kept; in memory if it is L{None}.

        @param handover: With a store that several servers share: where this one
            takes requests from the others, for tickets of its own; an endpoint that
            only they reach.

        @param lifetime: For how long a ticket can be used (seconds, 1 or more).

        @param maxConnections: How many HTTP connections to serve at once.

        @param idleTimeout: How long a client may take no byte of what it gets
            (seconds), or L{None} to wait for ever.

        @param reactor: The reactor; the global one if it is L{None}.

        @raise ValueError: If these do not go together, or C{certificate} is no such
            file.

        @raise OSError: If it cannot be read.
        """
        if reactor is None:
            from twisted.internet import reactor
        if lifetime < 1:
            raise ValueError("lifetime must be 1 second or more")
        self._reactor: IReactorTime = reactor
        self._listener = Listener(reactor, endpoint, plain, certificate, url)
        if handover is not None and not self._listener.isShareable:
            raise ValueError(
                "servers that share a port need one certificate: pass certificate=..."
            )
        self._handover = handover
        self._url = url
        self._store = MemoryTicketStore(reactor) if store is None else store
        self._lifetime = lifetime
        self._factory = BulkFactory(self, maxConnections, idleTimeout, reactor)
        self._place: Place | None = None
        self._owner = Owner(secrets.token_hex(16))
        self._waiting: dict[tuple[str, int, bytes], _Waiting] = {}
        self._starting: Deferred[None] | None = None
        self._outcome: BulkServer | Failure | None = None
        self._expecting: list[Deferred[BulkServer]] = []

    def __repr__(self) -> str:
        where = "not listening" if self._place is None else self.urlFor("")
        return f"<BulkServer {where}, {len(self._waiting)} tickets>"

    def privilegedStartService(self) -> None:
        """
        Listen.
        """
        super().privilegedStartService()
        if self._starting is None:
            self._starting = ensureDeferred(self._start())
            self._starting.addCallbacks(self._started, self._startFailed)

    def startService(self) -> None:
        """
        Listen, unless L{privilegedStartService} has done so.
        """
        super().startService()
        self.privilegedStartService()

    def stopService(self) -> Deferred[None]:
        """
        Stop listening, close all connections, and forget all tickets.
        """
        super().stopService()
        return ensureDeferred(self._stop())

    @property
    def listening(self) -> Deferred[BulkServer]:
        """
        A new Deferred that fires with this once it listens, and fails if it cannot.
        """
        if isinstance(self._outcome, Failure):
            return fail(self._outcome)
        if self._outcome is not None:
            return succeed(self._outcome)
        expecting: Deferred[BulkServer] = Deferred()
        self._expecting.append(expecting)
        return expecting

    def urlFor(self, localHost: str) -> str:
        """
        Tell where a client reaches this server.

        @param localHost: The address of this machine by which that client reaches it
            otherwise; what to use where this server listens on all addresses.

        @raise NobodyListens: If it does not listen.
        """
        if self._place is None:
            raise NobodyListens(
                "the BulkServer does not listen (yet): start it as a service, and wait "
                "for its listening"
            )
        if self._url is not None:
            return self._url
        return self._place.url(localHost)

    def offer(self, link: StreamLink, source: Source) -> Deferred[Offer]:
        """
        See L{StreamAMP.offer}.
        """
        return link.extension(OutOfBandSide).offer(source)

    def admit(
        self,
        exchange: Exchange,
        method: bytes,
        connection: str,
        stream: int,
        *,
        size: int | None = None,
        maxSize: int | None = None,
        localHost: str = "",
    ) -> Deferred[Ticket]:
        """
        Issue a ticket.

        @param exchange: What the request is for.

        @param method: C{b"GET"} or C{b"PUT"}.

        @param connection: The name of the AMP connection.

        @param stream: The number of the stream.

        @param size: How many bytes it has, if that is known (bytes).

        @param maxSize: The most that a body may have (bytes), or L{None}.

        @param localHost: See L{urlFor}.

        @return: Fires with the ticket once it can be used, and fails with an
            L{OutOfBandError} if there cannot be one.
        """
        try:
            url = self.urlFor(localHost)
        except NobodyListens:
            return fail()
        token = secrets.token_urlsafe(_TOKEN_SIZE).encode("ascii")
        hashed = hashToken(token)
        grant = Grant(
            method=method,
            connection=connection,
            stream=stream,
            owner=self._owner,
            size=size,
            maxSize=maxSize,
        )
        key = (connection, stream, method)
        timer = self._reactor.callLater(self._lifetime, self._expired, key)
        self._waiting[key] = _Waiting(exchange, hashed, timer)
        host = urlsplit(url).hostname or ""
        ticket = Ticket(
            url=url,
            token=token,
            method=method,
            lifetime=self._lifetime,
            maxSize=maxSize if size is None else size,
            certificate=self._listener.certificate,
            serverName=self._listener.serverNameAt(host),
        )
        issuing = self._store.issue(hashed, grant, self._lifetime)
        issuing.addCallbacks(
            lambda ignored: ticket, self._notIssued, errbackArgs=(key,)
        )
        return issuing  # type: ignore[return-value]

    def forget(self, connection: str, stream: int, method: bytes) -> None:
        """
        Let a ticket be used no more, if it has not been.
        """
        waiting = self._waiting.pop((connection, stream, method), None)
        if waiting is not None:
            if waiting.timer.active():
                waiting.timer.cancel()
            revoking = self._store.revoke(waiting.hashed)
            revoking.addErrback(self._storeFailed)

    def consume(
        self, token: bytes, method: bytes, length: int | None
    ) -> Deferred[Exchange | Refusal]:
        """
        A request has come.

        @param token: What it has for a token.

        @param method: Its method.

        @param length: The length of its body (bytes), or L{None}.

        @return: Fires with what it is for, or with why it is refused.
        """
        consuming = ensureDeferred(self._consume(hashToken(token), method, length))
        return consuming.addErrback(self._storeGone)

    async def _consume(
        self, hashed: bytes, method: bytes, length: int | None
    ) -> Exchange | Refusal:
        grant = await self._store.consume(hashed)
        if grant is None:
            return Refusal(401, "the token is unknown, has been used, or is too old")
        refusal = judge(grant, method, length)
        if grant.owner.name != self._owner.name:
            if refusal is not None:
                return refusal
            return await self._handOver(grant)
        waiting = self._waiting.pop(
            (grant.connection, grant.stream, grant.method), None
        )
        if waiting is None:
            return Refusal(403, "the call that this token belonged to has ended")
        if waiting.timer.active():
            waiting.timer.cancel()
        if refusal is None:
            return waiting.exchange
        kind = StreamTooLong if refusal.status == 413 else TransferRefused
        waiting.exchange.fail(kind(f"a request was refused: {refusal.reason}"))
        return refusal

    async def _handOver(self, grant: Grant) -> Exchange | Refusal:
        """
        The ticket is of another server that shares the store: make another, and use
        that there.
        """
        owner = grant.owner
        if not owner.url:
            return Refusal(403, "this token is for another server")
        from amp_stream.outofband.relay import Relay

        token = secrets.token_urlsafe(_TOKEN_SIZE).encode("ascii")
        await self._store.issue(hashToken(token), grant, self._lifetime)
        ticket = Ticket(
            url=owner.url,
            token=token,
            method=grant.method,
            lifetime=self._lifetime,
            certificate=owner.certificate,
            serverName=owner.serverName,
        )
        return Relay(ticket, grant.size, self._reactor)

    async def _start(self) -> None:
        # Here first: what it is called is in the certificate.
        self._place = await self._listener.listen(self._listener.main, self._factory)
        if self._handover is None:
            return
        endpoint = self._listener.endpoint(self._handover)
        inner = await self._listener.listen(endpoint, self._factory)
        self._owner = evolve(
            self._owner,
            url=inner.url(""),
            certificate=self._listener.certificate,
            serverName=self._listener.serverNameAt(inner.host),
        )

    async def _stop(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
            self._starting = None
        self._place = None
        closing = self._listener.stop()
        for (connection, stream, method), waiting in list(self._waiting.items()):
            self.forget(connection, stream, method)
            waiting.exchange.fail(NobodyListens("the BulkServer has been stopped"))
        await closing
        await self._factory.abortConnections()
        await self._store.close()
        self._outcome = None

    def _started(self, ignored: object) -> None:
        self._log.info("out-of-band transfers at {url}", url=self.urlFor(""))
        self._tell(self)

    def _startFailed(self, failure: Failure) -> None:
        self._place = None
        if failure.check(CancelledError) is None:
            self._log.critical(
                "the server of out-of-band transfers cannot start: {error}",
                error=failure.value,
            )
        stopping = self._listener.stop()
        stopping.addBoth(lambda ignored: self._tell(failure))

    def _tell(self, outcome: BulkServer | Failure) -> None:
        self._outcome = outcome
        expecting, self._expecting = self._expecting, []
        for deferred in expecting:
            if isinstance(outcome, Failure):
                deferred.errback(outcome)
            else:
                deferred.callback(outcome)

    def _expired(self, key: tuple[str, int, bytes]) -> None:
        waiting = self._waiting.pop(key, None)
        if waiting is not None:
            self._store.revoke(waiting.hashed).addErrback(self._storeFailed)
            waiting.exchange.fail(TicketExpired())

    def _notIssued(self, failure: Failure, key: tuple[str, int, bytes]) -> Failure:
        waiting = self._waiting.pop(key, None)
        if waiting is not None and waiting.timer.active():
            waiting.timer.cancel()
        return failure

    def _storeGone(self, failure: Failure) -> Refusal:
        failure.trap(OutOfBandError)
        self._log.error("{error}", error=failure.value)
        return Refusal(503, "the tickets cannot be looked up now")

    def _storeFailed(self, failure: Failure) -> None:
        # It forgets by itself when the time is up.
        self._log.warn("a ticket was not revoked: {error}", error=failure.value)

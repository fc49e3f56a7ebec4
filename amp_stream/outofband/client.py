# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The HTTP(S) client of out-of-band transfers.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred, TimeoutError, ensureDeferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import (
    ConnectError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    DNSLookupError,
)
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.python.failure import Failure
from twisted.web.client import Agent
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from amp_stream._sansio.ticketbox import Ticket
from amp_stream.errors import (
    OutOfBandError,
    StreamError,
    StreamTooLong,
    TransferCut,
    TransferRefused,
    Unreachable,
    UntrustedServer,
)
from amp_stream.outofband.httpbodies import (
    FirstLine,
    NoBodyYet,
    RequestBody,
    ResponseBody,
)

__all__ = ["BulkClient"]

_PATIENCE = 10.0
_LOOPBACK = "127.0.0.1"
# urlsplit drops some others without a word, and would look at another URL than the
# one that is used.
_URL = frozenset(map(chr, range(0x21, 0x7F)))
_LOST = (ConnectionAborted, ConnectionDone, ConnectionLost)


class BulkClient:
    """
    Makes the HTTP requests of out-of-band transfers, and says which it would make.

    A ticket comes from the peer, and tells this side to connect to somewhere.  Without
    a rule for that, a peer could reach through this process whatever it reaches.  So
    by default the server must have the address that the peer itself has.
    """

    def __init__(
        self,
        *,
        hosts: Collection[str] = (),
        plain: bool = False,
        connectTimeout: float = 30.0,
        reactor: Any = None,
    ) -> None:
        """
        @param hosts: Host names and addresses that a ticket may lead to, besides the
            address of the peer; C{"*"} for any.

        @param plain: Whether to make requests without TLS, too: then everybody on the
            way can read the tokens and the bytes, and change them.

        @param connectTimeout: How long to try to connect (seconds).

        @param reactor: The reactor; the global one if it is L{None}.
        """
        self._hosts = frozenset(_canonical(host) for host in hosts)
        self._plain = plain
        self._connectTimeout = connectTimeout
        self._reactor = reactor

    def check(self, ticket: Ticket, peerHost: str) -> None:
        """
        Decide whether to use a ticket.

        @param peerHost: The address of the peer that sent it; empty if it is on this
            machine.

        @raise UntrustedServer: If not.
        """
        if not ticket.url.isascii() or not _URL.issuperset(ticket.url):
            raise UntrustedServer("the URL of the ticket makes no sense")
        try:
            parts = urlsplit(ticket.url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            host, port = "", None
        if not host or port == 0:
            raise UntrustedServer("the URL of the ticket makes no sense")
        if parts.username is not None or parts.password is not None:
            raise UntrustedServer("the URL of the ticket has a user name in it")
        if parts.scheme not in ("http", "https"):
            raise UntrustedServer("the URL of the ticket is not one of HTTP or HTTPS")
        if parts.scheme == "http" and not self._plain:
            raise UntrustedServer(
                "the transfer would be in plain HTTP: use TLS at the server, or allow "
                "it here with BulkClient(plain=True)"
            )
        allowed = {_canonical(peerHost or _LOOPBACK), *self._hosts}
        if "*" not in allowed and _canonical(host) not in allowed:
            raise UntrustedServer(
                f"the server is at {host}, which is not the address of the peer: allow "
                f"it with BulkClient(hosts=[{host!r}])"
            )

    def get(self, ticket: Ticket, receiver: Any) -> None:
        """
        Make a GET request.

        @param receiver: Its C{begin} gets the body of the response; then its C{data},
            C{ended} and C{cut} are called, see L{IncomingCarrier}.  If there is no
            body, its C{cut} gets an L{OutOfBandError}.
        """
        getting = ensureDeferred(self._get(ticket, receiver))
        receiver.begin(NoBodyYet(getting))
        getting.addErrback(_failed, receiver)

    def put(self, ticket: Ticket, size: int | None, sender: Any) -> Deferred[bool]:
        """
        Make a PUT request.

        @param size: How many bytes there will be (bytes), or L{None}.

        @param sender: Its C{begin} gets the sink for them; its C{cut} an
            L{OutOfBandError} if the server has not got them all.

        @return: Fires with whether it has.
        """
        body = RequestBody(size, sender, self._clock)
        putting = ensureDeferred(self._put(ticket, body))
        body.request = putting
        return putting.addCallbacks(_done, _failed, errbackArgs=(sender,))

    async def _get(self, ticket: Ticket, receiver: Any) -> None:
        response = await self._client(ticket).get(
            ticket.url, headers=_headers(ticket), allow_redirects=False, unbuffered=True
        )
        await _checkStatus(response, 200, self._clock)
        response.deliverBody(ResponseBody(receiver))

    async def _put(self, ticket: Ticket, body: RequestBody) -> None:
        try:
            response = await self._client(ticket, body).put(
                ticket.url, data=body, headers=_headers(ticket), allow_redirects=False
            )
        finally:
            body.over()
        await _checkStatus(response, 204, self._clock)

    @property
    def _clock(self) -> Any:
        if self._reactor is None:
            from twisted.internet import reactor

            return reactor
        return self._reactor

    def _client(self, ticket: Ticket, body: RequestBody | None = None) -> Any:
        try:
            from treq.client import HTTPClient

            from amp_stream.outofband.certificates import TrustPolicy
        except ImportError as error:
            raise OutOfBandError(
                "an HTTP client is missing: pip install 'amp-stream[http]'"
            ) from error
        try:
            policy = TrustPolicy(ticket.certificate, ticket.serverName)
        except ValueError as error:
            raise UntrustedServer("the certificate of the ticket is none") from error
        endpoints = _Endpoints(self._clock, policy, self._connectTimeout, body)
        return HTTPClient(Agent.usingEndpointFactory(self._clock, endpoints))


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """
    Connects as C{Agent} does by itself, and tells a request's body what it is written
    to, which an agent keeps to itself.
    """

    def __init__(
        self, reactor: Any, policy: Any, timeout: float, body: RequestBody | None
    ) -> None:
        self._reactor = reactor
        self._policy = policy
        self._timeout = timeout
        self._body = body

    def endpointForURI(self, uri: Any) -> Any:
        """
        See L{IAgentEndpointFactory.endpointForURI}.
        """
        endpoint: Any = HostnameEndpoint(
            self._reactor, uri.host.decode("ascii"), uri.port, timeout=self._timeout
        )
        if uri.scheme == b"https":
            creator = self._policy.creatorForNetloc(uri.host, uri.port)
            endpoint = wrapClientTLS(creator, endpoint)
        return endpoint if self._body is None else _Noting(endpoint, self._body)


@implementer(IStreamClientEndpoint)
class _Noting:
    def __init__(self, endpoint: IStreamClientEndpoint, body: RequestBody) -> None:
        self._endpoint = endpoint
        self._body = body

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """
        See L{IStreamClientEndpoint.connect}.
        """
        return self._endpoint.connect(protocolFactory).addCallback(self._note)

    def _note(self, protocol: Any) -> Any:
        self._body.transport = protocol.transport
        return protocol


def _headers(ticket: Ticket) -> dict[bytes, bytes]:
    return {
        b"Authorization": b"Bearer " + ticket.token,
        b"Accept-Encoding": b"identity",
    }


async def _checkStatus(response: Any, expected: int, clock: Any) -> None:
    status: int = response.code
    if status == expected:
        return
    reader = FirstLine()
    response.deliverBody(reader)
    try:
        text = await reader.line.addTimeout(_PATIENCE, clock)
    except TimeoutError:
        text = "without a reason"
    if status == 413:
        raise StreamTooLong(f"the HTTP server refused the body: {text}")
    raise TransferRefused(f"the HTTP server answered {status}: {text}")


def _done(ignored: object) -> bool:
    return True


def _failed(failure: Failure, end: Any) -> bool:
    end.cut(_explained(failure))
    return False


def _explained(failure: Failure) -> StreamError:
    """
    Say what has happened in the words of this package, and nothing of the request.
    """
    if failure.check(StreamError):
        return failure.value  # type: ignore[return-value]
    causes = [failure, *getattr(failure.value, "reasons", [])]
    for cause in causes:
        kind = type(cause.value)
        if kind.__module__.startswith(("OpenSSL", "service_identity")):
            return UntrustedServer(
                "the certificate of the server is not that of the ticket "
                f"({_why(cause)})"
            )
    if failure.check(ConnectError, DNSLookupError, ConnectTimeout):
        return Unreachable(f"the HTTP server does not answer: {_why(failure)}")
    if any(cause.check(*_LOST) for cause in causes):
        return TransferCut()
    return OutOfBandError(f"the HTTP request failed: {_why(causes[-1])}")


def _why(failure: Failure) -> str:
    return f"{type(failure.value).__name__}: {failure.getErrorMessage()}"[:300]


def _canonical(host: str) -> str:
    try:
        address: Any = ip_address(host.split("%", maxsplit=1)[0])
    except ValueError:
        return host.lower().rstrip(".")
    mapped = getattr(address, "ipv4_mapped", None)
    return str(address if mapped is None else mapped)

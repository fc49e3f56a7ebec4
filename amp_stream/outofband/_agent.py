# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The HTTP requests of out-of-band transfers, made with C{twisted.web.client.Agent}.

This is apart from L{OutOfBandClient} so that an application that makes no such request
does not load C{twisted.web.client}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import (
    CancelledError,
    Deferred,
    TimeoutError,
    ensureDeferred,
)
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import (
    ConnectError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    DNSLookupError,
)
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IProtocolFactory,
    IPushProducer,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from amp_stream._transport import tuneForBulk
from amp_stream.errors import (
    OutOfBandError,
    StreamError,
    StreamTooLong,
    TransferCut,
    TransferRefused,
    Unreachable,
    UntrustedServer,
)
from amp_stream.outofband._tickets import Ticket

_ANSWER = 30.0
"""
How long to wait for the head of the response, once the request with its body has been
sent (seconds).
"""

_PATIENCE = 10.0
"""How long to wait for the first line of the text of an error (seconds)."""

_LINGER = 5.0
"""How long to wait for the end of a body whose stream is complete (seconds)."""

_MAX_LINE = 512
"""The longest such line (bytes)."""

_LOST = (ConnectionAborted, ConnectionDone, ConnectionLost)


def get(ticket: Ticket, receiver: Any, reactor: Any, timeout: float) -> None:
    """
    Make a GET request.

    @param receiver: The L{HTTPReceiver} of the body.

    @param timeout: How long to try to connect (seconds).
    """
    getting = ensureDeferred(_get(ticket, receiver, reactor, timeout))
    receiver.begin(_NoBodyYet(getting, reactor))
    getting.addErrback(_failed, receiver)


def put(
    ticket: Ticket, size: int | None, sender: Any, reactor: Any, timeout: float
) -> Deferred[bool]:
    """
    Make a PUT request.

    @param size: The length of the body (bytes), or L{None}.

    @param sender: The L{HTTPSender} of the body.

    @param timeout: How long to try to connect (seconds).

    @return: Fires with whether the server has got the body.
    """
    body = _RequestBody(size, sender, reactor)
    putting = ensureDeferred(_put(ticket, body, reactor, timeout))
    body.request = putting
    return putting.addCallbacks(lambda _: True, _failed, errbackArgs=(sender,))


async def _get(ticket: Ticket, receiver: Any, reactor: Any, timeout: float) -> None:
    requesting = _request(ticket, None, reactor, timeout)
    response = await requesting.addTimeout(timeout + _ANSWER, reactor)
    await _checkStatus(response, 200, reactor)
    _checkEncoding(response)
    response.deliverBody(_ResponseBody(receiver, reactor))


async def _put(
    ticket: Ticket, body: _RequestBody, reactor: Any, timeout: float
) -> None:
    try:
        response = await _request(ticket, body, reactor, timeout)
    finally:
        body.over()
    await _checkStatus(response, 204, reactor)


def _request(
    ticket: Ticket, body: _RequestBody | None, reactor: Any, timeout: float
) -> Deferred[Any]:
    endpoints = _Endpoints(ticket, body, reactor, timeout)
    headers = Headers(
        {
            b"Authorization": [b"Bearer " + ticket.token],
            b"Accept-Encoding": [b"identity"],
        }
    )
    # Without a pool, each request has a connection of its own, and there are neither
    # redirects nor decoding: the bytes are bounded as they come.
    agent = Agent.usingEndpointFactory(reactor, endpoints)
    url = ticket.url.encode("ascii")
    requesting: Deferred[Any] = agent.request(ticket.method, url, headers, body)
    return requesting


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """
    Connects as L{Agent} does by itself, but trusts only the server of the ticket, and
    tells the body of the request its transport, which an agent keeps to itself.
    """

    def __init__(
        self, ticket: Ticket, body: _RequestBody | None, reactor: Any, timeout: float
    ) -> None:
        self._ticket = ticket
        self._body = body
        self._reactor = reactor
        self._timeout = timeout

    def endpointForURI(self, uri: Any) -> Any:
        """Make the endpoint."""
        endpoint: Any = HostnameEndpoint(
            self._reactor, uri.host.decode("ascii"), uri.port, timeout=self._timeout
        )
        if uri.scheme == b"https":
            creator = self._policy().creatorForNetloc(uri.host, uri.port)
            endpoint = wrapClientTLS(creator, endpoint)
        return endpoint if self._body is None else _Noting(endpoint, self._body)

    def _policy(self) -> Any:
        try:
            from amp_stream.outofband._certificates import TrustPolicy
        except ImportError as error:
            raise OutOfBandError(
                "HTTPS needs more packages: pip install 'amp-stream[http]'"
            ) from error
        ticket = self._ticket
        try:
            return TrustPolicy(ticket.certificate, ticket.serverName)
        except ValueError as error:
            raise UntrustedServer(
                "the certificate of the ticket is malformed"
            ) from error


@implementer(IStreamClientEndpoint)
class _Noting:
    def __init__(self, endpoint: IStreamClientEndpoint, body: _RequestBody) -> None:
        self._endpoint = endpoint
        self._body = body

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Connect, and tell the body."""
        return self._endpoint.connect(protocolFactory).addCallback(self._note)

    def _note(self, protocol: Any) -> Any:
        self._body.transport = protocol.transport
        return protocol


async def _checkStatus(response: Any, expected: int, clock: Any) -> None:
    status: int = response.code
    if status == expected:
        return
    reader = _FirstLine()
    response.deliverBody(reader)
    try:
        text = await reader.line.addTimeout(_PATIENCE, clock)
    except TimeoutError:
        text = "without a reason"
    if status == 413:
        raise StreamTooLong(f"the HTTP server refused the body: {text}")
    raise TransferRefused(f"the HTTP server answered {status}: {text}")


def _checkEncoding(response: Any) -> None:
    """
    Refuse an encoded body: 400 MB of zeros are 400 KB of gzip, and would be decoded
    all at once (RFC 9110, section 8.4).
    """
    values = response.headers.getRawHeaders(b"content-encoding") or []
    codings = b",".join(values).lower().replace(b" ", b"").replace(b"\t", b"")
    if not set(codings.split(b",")) <= {b"", b"identity"}:
        response.deliverBody(_Unwanted())
        shown = codings[:40].decode("ascii", "backslashreplace")
        raise TransferRefused(
            f"the HTTP server sent the body with Content-Encoding {shown!r}, although "
            "identity was asked for: let nothing between the two ends encode it"
        )


class _Unwanted(Protocol):
    """Closes the connection of a response."""

    def connectionMade(self) -> None:
        """Close it."""
        _abort(self.transport)


class _FirstLine(Protocol):
    """
    Reads the first line of the text of an error, up to a bound.

    @ivar line: Fires with that line.
    """

    def __init__(self) -> None:
        self.line: Deferred[str] = Deferred(lambda _: _abort(self.transport))
        self._data = b""

    def dataReceived(self, data: bytes) -> None:
        """Keep the beginning."""
        self._data += data[: _MAX_LINE - len(self._data)]
        if len(self._data) >= _MAX_LINE:
            _abort(self.transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Give the line."""
        if not self.line.called:
            text = self._data.decode("utf-8", "replace").partition("\n")[0]
            self.line.callback("".join(c for c in text if c.isprintable()))


class _NoBodyYet:
    """Stands for the body of a response that has not come yet, as a L{BodyReader}."""

    def __init__(self, request: Deferred[None], clock: Any) -> None:
        self._request = request
        self._clock = clock

    def pauseProducing(self) -> None:
        """Nothing comes yet."""

    def resumeProducing(self) -> None:
        """Nothing waits yet."""

    def expectEnd(self) -> None:
        """Give the request up if no response comes soon."""
        self._request.addTimeout(_LINGER, self._clock)

    def finish(self) -> None:
        """Nothing can be complete yet."""

    def abort(self, error: BaseException) -> None:
        """Give the request up."""
        self._request.cancel()


class _ResponseBody(Protocol):
    """Hands on the body of a response; a L{BodyReader}."""

    transport: Any

    def __init__(self, receiver: Any, clock: Any) -> None:
        self._receiver = receiver
        self._clock = clock
        self._ending: IDelayedCall | None = None
        self._aborted = False

    def connectionMade(self) -> None:
        """Offer the body."""
        tuneForBulk(_below(self.transport))
        self._receiver.begin(self)

    def dataReceived(self, data: bytes) -> None:
        """Hand the next bytes on."""
        if not self._aborted:
            self._receiver.data(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Say whether the body is complete."""
        if self._ending is not None and self._ending.active():
            self._ending.cancel()
        if self._aborted:
            return
        self._aborted = True
        if reason.check(ResponseDone):
            self._receiver.ended()
        else:
            # PotentialDataLoss, too: a body without a length has no end to trust.
            self._receiver.cut(TransferCut())

    def pauseProducing(self) -> None:
        """Leave further bytes in the socket."""
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read on."""
        self.transport.resumeProducing()

    def expectEnd(self) -> None:
        """Close the connection if the body does not end soon."""
        if not self._aborted:
            self._ending = self._clock.callLater(_LINGER, _abort, self.transport)

    def finish(self) -> None:
        """The server hears of the outcome over AMP."""

    def abort(self, error: BaseException) -> None:
        """Close the connection."""
        if not self._aborted:
            self._aborted = True
            _abort(self.transport)


@implementer(IBodyProducer)
class _RequestBody:
    """
    The body of a request; a L{BodyWriter}.

    @ivar transport: That of the connection of the request, as soon as there is one.

    @ivar request: The request, to cancel if the body cannot be completed.
    """

    transport: Any = None
    request: Deferred[Any]

    def __init__(self, size: int | None, sender: Any, clock: Any) -> None:
        self._clock = clock
        self._patience: IDelayedCall | None = None
        self.length: Any = UNKNOWN_LENGTH if size is None else size
        self._sender = sender
        self._consumer: IConsumer | None = None
        self._producer: IPushProducer | None = None
        self._done: Deferred[None] = Deferred()

    # What the agent calls.

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Let the sender begin."""
        self._consumer = consumer
        self._sender.begin(self)
        return self._done

    def pauseProducing(self) -> None:
        """Let the sender pause."""
        if self._producer is not None:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        """Let the sender go on."""
        if self._producer is not None:
            self._producer.resumeProducing()

    def stopProducing(self) -> None:
        """Write no more; the request tells the reason."""
        self._consumer = self._producer = None

    # What the sender calls.

    def start(self, size: int | None) -> None:
        """The agent has sent the length."""

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """Tell the sender when to pause, and when to go on."""
        self._producer = producer

    def write(self, data: bytes) -> None:
        """Send the next bytes."""
        if self._consumer is not None:
            self._consumer.write(data)

    def finish(self) -> None:
        """End the body, and wait for the answer."""
        if self._consumer is not None:
            self._consumer = self._producer = None
            self._patience = self._clock.callLater(_ANSWER, self.request.cancel)
            self._done.callback(None)

    def abort(self) -> None:
        """Give the request up."""
        self._consumer = self._producer = None
        self.request.cancel()

    def over(self) -> None:
        """Take note that the request has ended, whether or not all bytes were sent."""
        self._consumer = self._producer = None
        if self._patience is not None and self._patience.active():
            self._patience.cancel()


def _below(transport: Any) -> Any:
    """
    @return: The transport that a response reads from.  C{twisted.web} gives no public
        way to it; without it only tuning and closing at once are lost.
    """
    return getattr(transport, "_producer", transport)


def _abort(transport: Any) -> None:
    """Close a connection now: TLS would wait for the other end."""
    if transport is not None:
        below = _below(transport)
        getattr(below, "abortConnection", transport.loseConnection)()


def _failed(failure: Failure, end: Any) -> bool:
    end.cut(_explained(failure))
    return False


def _explained(failure: Failure) -> StreamError:
    """Say why a request has failed in the words of this package, without its token."""
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
    if any(cause.check(TimeoutError, CancelledError) for cause in causes):
        # Cancelled when the time was up, or by the stream, which knows its own reason.
        return Unreachable(
            f"the HTTP server has not answered the request within {_ANSWER:.0f} s"
        )
    if any(cause.check(*_LOST) for cause in causes):
        return TransferCut()
    return OutOfBandError(f"the HTTP request failed: {_why(causes[-1])}")


def _why(failure: Failure) -> str:
    return f"{type(failure.value).__name__}: {failure.getErrorMessage()}"[:300]

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The HTTP requests of out-of-band transfers, made with C{twisted.web.client.Agent}.

This is apart from L{OutOfBandClient} so that an application that makes no such request
does not load C{twisted.web.client}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import error as neterror
from twisted.internet import interfaces
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from amp_stream._transport import tuneForBulk
from amp_stream.errors import (
    OutOfBandError,
    ServerUnreachable,
    StreamError,
    TransferInterrupted,
    TransferRefused,
    UntrustedServer,
    ValueTooLong,
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

_LOST = (neterror.ConnectionAborted, neterror.ConnectionDone, neterror.ConnectionLost)
_NO_CONNECTION = (neterror.ConnectError, neterror.DNSLookupError, neterror.TimeoutError)


def get(ticket: Ticket, receiver: Any, reactor: Any, timeout: float) -> None:
    """
    Make a GET request.

    @param receiver: The L{HTTPReceiver} of the body.

    @param timeout: How long to try to connect (seconds).
    """
    request = _Get(ticket, receiver, reactor, timeout)
    done = request.send()
    receiver.begin(request)
    done.addErrback(request.failed)


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
    request = _Put(ticket, sender, reactor, timeout)
    request.length = UNKNOWN_LENGTH if size is None else size
    done: Deferred[bool] = request.send()
    return done.addCallbacks(lambda _: True, request.failed)


@implementer(IAgentEndpointFactory, interfaces.IStreamClientEndpoint)
class _Request:
    """
    A request, and the body of it or of its response.

    It connects as L{Agent} does by itself, but trusts only the server of the ticket,
    and keeps the connection, which an agent keeps to itself.

    @ivar transport: That of the connection, as soon as there is one.
    """

    transport: Any = None

    def __init__(self, ticket: Ticket, end: Any, reactor: Any, timeout: float) -> None:
        """@param end: The L{HTTPReceiver} or L{HTTPSender}."""
        self._ticket = ticket
        self._end = end
        self._reactor = reactor
        self._timeout = timeout
        self._connection: Any = None
        self._patience: interfaces.IDelayedCall | None = None
        self._done: Deferred[Any]

    async def run(self) -> None:
        """Make the request, and take the response."""
        raise NotImplementedError

    def send(self) -> Deferred[Any]:
        """@return: Fires with the outcome of L{run}."""
        self._done = Deferred.fromCoroutine(self.run())
        return self._done

    def request(self, producer: IBodyProducer | None) -> Any:
        """@return: A Deferred that fires with the response."""
        headers = Headers({b"Accept-Encoding": [b"identity"]})
        headers.addRawHeader(b"Authorization", b"Bearer " + self._ticket.token)
        # Without a pool, each request has a connection of its own, and there are
        # neither redirects nor decoding: the bytes are bounded as they come.
        agent = Agent.usingEndpointFactory(self._reactor, self)
        url = self._ticket.url.encode("ascii")
        return agent.request(self._ticket.method, url, headers, producer)

    def endpointForURI(self, uri: Any) -> _Request:
        """Find out how to connect."""
        host = uri.host.decode("ascii")
        timeout = self._timeout
        self._endpoint: Any = HostnameEndpoint(self._reactor, host, uri.port, timeout)
        if uri.scheme == b"https":
            self._endpoint = wrapClientTLS(_trust(self._ticket, host), self._endpoint)
        return self

    def connect(self, protocolFactory: interfaces.IProtocolFactory) -> Deferred[Any]:
        """Connect."""
        connecting: Deferred[Any] = self._endpoint.connect(protocolFactory)
        return connecting.addCallback(self._connected)

    def _connected(self, protocol: Any) -> Any:
        self._connection = protocol.transport
        return protocol

    async def expectStatus(self, response: Any, expected: int) -> None:
        """@raise StreamError: The response has another status."""
        status: int = response.code
        if status == expected:
            return
        reader = _FirstLine(self._connection)
        response.deliverBody(reader)
        try:
            text = await reader.line.addTimeout(_PATIENCE, self._reactor)
        except TimeoutError:
            text = "without a reason"
        if status == 413:
            raise ValueTooLong(f"the HTTP server refused the body: {text}")
        raise TransferRefused(f"the HTTP server answered {status}: {text}")

    def close(self) -> None:
        """Give the request up, and close its connection: TLS would wait."""
        self._done.cancel()
        if self._connection is not None:
            self._connection.abortConnection()

    def closeIn(self, seconds: float) -> None:
        """Close the connection, unless L{over} is called before (seconds)."""
        self._patience = self._reactor.callLater(seconds, self.close)

    def over(self) -> None:
        """Take note that there is nothing more to wait for."""
        if self._patience is not None and self._patience.active():
            self._patience.cancel()

    def failed(self, failure: Failure) -> bool:
        """Take note that the request has failed."""
        self.over()
        self._end.cut(_explained(failure))
        return False


class _Get(_Request, Protocol):
    """Hands on the body of a response; a L{BodyReader}."""

    _isOver = False

    async def run(self) -> None:
        """Get the response, and take its body."""
        requesting = self.request(None)
        response = await requesting.addTimeout(self._timeout + _ANSWER, self._reactor)
        await self.expectStatus(response, 200)
        # 400 MB of zeros are 400 KB of gzip, and would be decoded all at once (RFC
        # 9110, section 8.4).
        values = response.headers.getRawHeaders(b"content-encoding") or []
        codings = b",".join(values).lower().replace(b" ", b"").replace(b"\t", b"")
        if not set(codings.split(b",")) <= {b"", b"identity"}:
            self._connection.abortConnection()
            shown = codings[:40].decode("ascii", "backslashreplace")
            raise TransferRefused(
                f"the HTTP server sent the body with Content-Encoding {shown!r}, "
                "although identity was asked for: let nothing between the two ends "
                "encode it"
            )
        tuneForBulk(self._connection)
        response.deliverBody(self)

    def dataReceived(self, data: bytes) -> None:
        """Hand the next bytes on."""
        if not self._isOver:
            self._end.data(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Say whether the body is complete."""
        self.over()
        if self._isOver:
            return
        self._isOver = True
        if reason.check(ResponseDone):
            self._end.ended()
        else:
            # PotentialDataLoss, too: a body without a length has no end to trust.
            self._end.cut(TransferInterrupted())

    def pauseProducing(self) -> None:
        """Leave further bytes in the socket."""
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read on."""
        self.transport.resumeProducing()

    def expectEnd(self) -> None:
        """Close the connection if the body does not end soon."""
        if not self._isOver:
            self.closeIn(_LINGER)

    def finish(self) -> None:
        """The server hears of the outcome over AMP."""

    def abort(self, error: BaseException) -> None:
        """Close the connection."""
        if not self._isOver:
            self._isOver = True
            self.close()


@implementer(IBodyProducer)
class _Put(_Request):
    """Sends the body of a request; a L{BodyWriter}."""

    length: Any

    _consumer: interfaces.IConsumer | None = None

    async def run(self) -> None:
        """Send the body, and wait for the answer."""
        self._written: Deferred[None] = Deferred()
        try:
            response = await self.request(self)
        finally:
            # Whether or not all bytes were sent.
            self._consumer = None
            self.over()
        await self.expectStatus(response, 204)

    # What the agent calls.

    def startProducing(self, consumer: interfaces.IConsumer) -> Deferred[None]:
        """Let the sender begin."""
        self._consumer = consumer
        self.transport = self._connection
        self._end.begin(self)
        return self._written

    def pauseProducing(self) -> None:
        """Let the sender pause."""
        self._end.pauseProducing()

    def resumeProducing(self) -> None:
        """Let the sender go on."""
        self._end.resumeProducing()

    def stopProducing(self) -> None:
        """Write no more; the request tells the reason."""
        self._consumer = None

    # What the sender calls.

    def start(self, size: int | None) -> None:
        """The agent has sent the length."""

    def write(self, data: bytes) -> None:
        """Send the next bytes."""
        if self._consumer is not None:
            self._consumer.write(data)

    def finish(self) -> None:
        """End the body, and wait for the answer."""
        if self._consumer is not None:
            self._consumer = None
            self.closeIn(_ANSWER)
            self._written.callback(None)

    def abort(self) -> None:
        """Give the request up."""
        self._consumer = None
        self._done.cancel()


class _FirstLine(Protocol):
    """
    Reads the first line of the text of an error, up to a bound.

    @ivar line: Fires with that line.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.line: Deferred[str] = Deferred(lambda _: connection.abortConnection())
        self._data = b""

    def dataReceived(self, data: bytes) -> None:
        """Keep the beginning."""
        self._data += data[: _MAX_LINE - len(self._data)]
        if len(self._data) >= _MAX_LINE:
            self._connection.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Give the line."""
        if not self.line.called:
            text = self._data.decode("utf-8", "replace").partition("\n")[0]
            self.line.callback("".join(c for c in text if c.isprintable()))


def _trust(ticket: Ticket, host: str) -> Any:
    try:
        from amp_stream.outofband._certificates import trustOnly
    except ImportError as error:
        raise OutOfBandError(
            "HTTPS needs more packages: pip install 'amp-stream[http]'"
        ) from error
    try:
        return trustOnly(ticket.certificate, ticket.serverName or host)
    except ValueError as error:
        raise UntrustedServer("the certificate of the ticket is malformed") from error


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
    if failure.check(*_NO_CONNECTION):
        return ServerUnreachable(f"the HTTP server does not answer: {_why(failure)}")
    if any(cause.check(TimeoutError, CancelledError) for cause in causes):
        # Cancelled when the time was up, or by the stream, which knows its own reason.
        return ServerUnreachable(
            f"the HTTP server has not answered the request within {_ANSWER:.0f} s"
        )
    if any(cause.check(*_LOST) for cause in causes):
        return TransferInterrupted()
    return OutOfBandError(f"the HTTP request failed: {_why(causes[-1])}")


def _why(failure: Failure) -> str:
    return f"{type(failure.value).__name__}: {failure.getErrorMessage()}"[:300]

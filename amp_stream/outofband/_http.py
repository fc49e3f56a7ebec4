# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
HTTP/1.1 on the server's side, one request per connection.

C{twisted.web} gathers the body of a request in a file, and calls the application when
it has all of it.  Here a request is authorised before its body, and the body goes to
its stream as it comes; where that has no room, the body waits in the socket.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IProtocolNegotiationFactory,
    IPushProducer,
)
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.web.http import RESPONSES, HTTPChannel, HTTPFactory, Request
from zope.interface import implementer

from amp_stream._transport import lowestTransport, tuneForBulk
from amp_stream.errors import (
    FinalSizeError,
    StreamTooLong,
    StreamTruncated,
    TransferCut,
)
from amp_stream.outofband._tickets import Authorise, Refusal

__all__ = ["HTTPServerFactory"]

_log = Logger()

_HEADER_TIMEOUT = 30
_LINGER = 5

_BAD_TOKEN = Refusal(401, "an Authorization header with a Bearer token is needed")


class _Request(Request):
    """One request, which is all that its connection is for."""

    _target: Any = None
    _own: Any
    _length: int | None = 0
    _begun = False
    _uploading = False
    _received = False
    _lost = False
    _answered = False

    def gotLength(self, length: int | None) -> None:
        """Make no place for the body."""
        self._length = length

    def parseCookies(self) -> None:
        """There is no use for any."""

    def begin(self, method: bytes, uri: bytes, version: bytes) -> None:
        """The headers have come, and perhaps nothing else."""
        self._begun = True
        # That of the base class is gone when the response has been written.
        self._own = self.channel
        self.method, self.uri, self.path = method, uri, uri
        self.clientproto = version
        headers = self.requestHeaders.getRawHeaders(b"authorization") or []
        # From here on nobody can show it by accident.
        self.requestHeaders.removeHeader(b"authorization")
        scheme, _, token = (headers[0] if len(headers) == 1 else b"").partition(b" ")
        if scheme.lower() != b"bearer" or not token.strip():
            self.refuse(_BAD_TOKEN)
            return
        try:
            self._authorise(token.strip(), method)
        except Exception:
            _log.failure("while a request was authorised")
            self.refuse(Refusal(500, "an error of the server"))

    def _authorise(self, token: bytes, method: bytes) -> None:
        authorise = self._own.serverFactory.authorise
        decision = authorise(token, method, self._length)
        if isinstance(decision, Refusal):
            self.refuse(decision)
            return
        self._target = decision
        self._own.setTimeout(None)
        if method == b"GET":
            decision.begin(_ResponseWriter(self))
            return
        self._uploading = True
        decision.begin(_RequestReader(self))
        if self._received and self._uploading:
            self._uploading = False
            decision.ended()
        elif self._uploading:
            self._own.welcome(self)

    def handleContentChunk(self, data: bytes) -> None:
        """Some of the body has come."""
        if not self._uploading:
            return
        self._target.data(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """All of the request has come."""
        self._received = True
        if not self._begun:
            self.begin(command, path, version)
        elif self._uploading:
            self._uploading = False
            self._target.ended()

    def connectionLost(self, reason: Failure) -> None:
        """The client is gone."""
        super().connectionLost(reason)
        self._lost = True
        target, self._target = self._target, None
        if target is not None and not self._answered:
            self._answered = True
            target.cut(TransferCut())

    def refuse(self, refusal: Refusal) -> None:
        """
        Answer with an error, and read no more of the body than the client needs to
        notice.
        """
        if self._answered or self._lost:
            return
        self._answered = True
        self._uploading = False
        self._target = None
        if refusal.status == 401:
            self.setHeader(b"WWW-Authenticate", b'Bearer realm="amp_stream"')
        if refusal.status == 405:
            self.setHeader(b"Allow", refusal.allowed)
        text = refusal.reason.encode("utf-8", "replace") + b"\n"
        self.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        if not self._received:
            self._own.discard()
        self._reply(refusal.status, text)

    def succeed(self) -> None:
        """The body was welcome."""
        if not (self._answered or self._lost):
            self._answered = True
            self._target = None
            self._reply(204, b"")

    def startResponse(self, size: int | None) -> None:
        """Begin to answer a GET."""
        self.setResponseCode(200)
        self.setHeader(b"Content-Type", b"application/octet-stream")
        self.setHeader(b"Cache-Control", b"no-store")
        if size is not None:
            self.setHeader(b"Content-Length", b"%d" % size)

    def endResponse(self) -> None:
        """The body of the response is complete."""
        if not (self._answered or self._lost):
            self._answered = True
            self._target = None
            self.unregisterProducer()
            self.finish()

    def breakResponse(self) -> None:
        """The body of the response stays incomplete, and the client shall see that."""
        self._answered = True
        self._target = None
        if not self._lost:
            self._own.abort()

    def hold(self) -> None:
        """Let the body wait."""
        if not self._lost:
            self._own.hold()

    def go(self) -> None:
        """Let it come."""
        if not self._lost:
            self._own.go()

    def _reply(self, status: int, text: bytes) -> None:
        self.setResponseCode(status, RESPONSES.get(status, b"Refused"))
        if text:
            self.setHeader(b"Content-Length", b"%d" % len(text))
            self.write(text)
        self.finish()


class _RequestReader:
    """The body of a PUT."""

    def __init__(self, request: _Request) -> None:
        self._request = request

    def pauseProducing(self) -> None:
        """Let it wait in the socket."""
        self._request.hold()

    def resumeProducing(self) -> None:
        """Let it come."""
        self._request.go()

    def finish(self) -> None:
        """Say that it has come."""
        self._request.succeed()

    def abort(self, error: BaseException) -> None:
        """Say that it is not wanted."""
        status = 409
        if isinstance(error, (StreamTooLong, FinalSizeError)):
            status = 413
        elif isinstance(error, StreamTruncated):
            status = 400
        self._request.refuse(Refusal(status, str(error)))
        self._request.go()


class _ResponseWriter:
    """The body of the response to a GET."""

    def __init__(self, request: _Request) -> None:
        self._request = request
        self.transport: Any = request.transport

    def start(self, size: int | None) -> None:
        """It begins."""
        self._request.startResponse(size)

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """Say when to go on, and when to wait."""
        self._request.registerProducer(producer, streaming)

    def write(self, data: bytes) -> None:
        """Send some of it."""
        self._request.write(data)

    def finish(self) -> None:
        """That was all."""
        self._request.endResponse()

    def abort(self) -> None:
        """There will be no more, though that was not all."""
        self._request.breakResponse()


@implementer(IProtocolNegotiationFactory)
class HTTPServerFactory(HTTPFactory):
    """Makes the connections of one server."""

    noisy = False

    def __init__(
        self,
        authorise: Authorise,
        maxConnections: int,
        idleTimeout: float | None,
        reactor: Any,
    ) -> None:
        """
        @param authorise: Decides about each request.

        @param maxConnections: How many connections to serve at once: more are closed
            as they come.

        @param idleTimeout: How long a client may take no byte of a response
            (seconds), or L{None} to wait for ever.

        @param reactor: The clock.
        """
        super().__init__(timeout=_HEADER_TIMEOUT, reactor=reactor)
        self.idleTimeout = idleTimeout
        # Not its default, which would offer HTTP/2 where that is installed.
        self.protocol: Any = _Channel
        self.authorise = authorise
        self._maxConnections = maxConnections
        self._channels: set[_Channel] = set()
        self._empty: list[Deferred[None]] = []

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Serve a connection, unless there are too many."""
        if len(self._channels) >= self._maxConnections:
            _log.warn(
                "refused {addr}: {most} connections are open",
                addr=addr,
                most=self._maxConnections,
            )
            # TLS has wrapped it already, and does not expect nothing.
            return _Refused()
        return super().buildProtocol(addr)

    def acceptableProtocols(self) -> list[bytes]:
        return [b"http/1.1"]

    def startFactory(self) -> None:
        """Keep no access log: who moved what is known at the AMP connection."""

    def stopFactory(self) -> None:
        """See L{startFactory}."""

    def opened(self, channel: _Channel) -> None:
        """A connection was opened."""
        self._channels.add(channel)

    def closed(self, channel: _Channel) -> None:
        """A connection was closed."""
        self._channels.discard(channel)
        if not self._channels:
            empty, self._empty = self._empty, []
            for deferred in empty:
                deferred.callback(None)

    def abortConnections(self) -> Deferred[None]:
        """
        Close all connections now.

        @return: Fires when they are closed.
        """
        if not self._channels:
            return succeed(None)
        empty: Deferred[None] = Deferred()
        self._empty.append(empty)
        for channel in list(self._channels):
            channel.abort()
        return empty


class _Refused(TwistedProtocol):
    """A connection that is one too many."""

    def connectionMade(self) -> None:
        """Close it."""
        transport: Any = self.transport
        transport.abortConnection()


class _Channel(HTTPChannel):
    """One connection."""

    requestFactory = _Request
    serverFactory: HTTPServerFactory
    _discarding = False
    _lingering = False

    def connectionMade(self) -> None:
        """Count this connection."""
        super().connectionMade()
        self.serverFactory = cast(HTTPServerFactory, self.factory)
        tuneForBulk(self.transport)
        self.serverFactory.opened(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Count it no more."""
        super().connectionLost(reason)
        self.serverFactory.closed(self)

    def dataReceived(self, data: bytes) -> None:
        """
        Take bytes.  The time for the headers is one for all of them together, so it
        does not begin anew with each byte.
        """
        if not self._discarding:
            LineReceiver.dataReceived(self, data)

    def rawDataReceived(self, data: bytes) -> None:
        if not (self._discarding or self._handlingRequest):
            super().rawDataReceived(data)

    def allContentReceived(self) -> None:
        if not self._discarding:
            super().allContentReceived()

    def write(self, data: bytes) -> None:
        """
        Write, if there is somebody to read it.  When a client closes TLS while it is
        written to, the transport takes bytes for ever, and does nothing with them.
        """
        if self._isHeard():
            super().write(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        if self._isHeard():
            super().writeSequence(iovec)

    def allHeadersReceived(self) -> None:
        """
        Authorise the request, if it has a body: one without is complete, and
        authorised when this returns.  C{100 Continue} is not said before that.
        """
        request = cast(_Request, self.requests[-1])
        self.persistent = False
        request.setHeader(b"Connection", b"close")
        request.gotLength(self.length)
        if self.length != 0:
            request.begin(self._command, self._path, self._version)

    def welcome(self, request: _Request) -> None:
        """Ask for the body, if the client waits to be asked."""
        expected = request.requestHeaders.getRawHeaders(b"expect") or [b""]
        isNew = request.clientproto == b"HTTP/1.1"
        if isNew and expected[0].lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def hold(self) -> None:
        """Take no bytes for now, neither from the socket nor from what was read."""
        self.paused = True
        self._networkProducer.pauseProducing()

    def go(self) -> None:
        """Take bytes again."""
        if self.paused:
            self.paused = False
            self._networkProducer.resumeProducing()
            self.dataReceived(b"")

    def pauseProducing(self) -> None:
        """
        The socket takes no bytes for now.  A body that is held back is the business of
        its stream; a response that nobody reads may be nobody's.
        """
        super().pauseProducing()
        if self._handlingRequest and not self._lingering:
            self.setTimeout(self.serverFactory.idleTimeout)

    def resumeProducing(self) -> None:
        """The socket takes bytes again; that does not mean that the body may come."""
        if self._handlingRequest and not self._lingering:
            self.setTimeout(None)
        super().resumeProducing()
        if self.paused:
            self._networkProducer.pauseProducing()

    def discard(self) -> None:
        """
        The request is about to be refused: what is still coming is thrown away, for a
        while.  To close at once would make the client's system throw the answer away.
        """
        self._discarding = True
        self.clearLineBuffer()

    def loseConnection(self) -> None:
        """
        Close, once everything has been written, and the client had time to read it.
        """
        if self._discarding and not self._lingering:
            self._lingering = True
            self.setTimeout(_LINGER)
            return
        # Somebody has to take what has been written.
        self.setTimeout(_LINGER if self._lingering else self.serverFactory.idleTimeout)
        super().loseConnection()

    def timeoutConnection(self) -> None:
        """The client has had its time."""
        if self._discarding or self._handlingRequest:
            self.abort()
        else:
            super().timeoutConnection()

    def abort(self) -> None:
        """Close now."""
        self._transport.abortConnection()

    def _isHeard(self) -> bool:
        if lowestTransport(self.transport).disconnecting:
            self.abort()
            return False
        return True

    @property
    def _transport(self) -> Any:
        return self.transport

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
HTTP/1.1 on the server's side, one request per connection.

C{h11} reads the head of a request and writes those of responses (RFC 9112).  Bodies do
not pass through it, because it would copy each byte several times.

A request is authorised before its body.  The body goes to its stream as it comes, and
waits in the socket where the stream has no room.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any, cast

import h11
from attrs import define, field
from twisted.internet import interfaces
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from amp_stream._transport import lowestTransport, tuneForBulk
from amp_stream.errors import TransferInterrupted
from amp_stream.outofband._tickets import Authorise, Refusal, RequestTarget

_log = Logger()

_MAX_HEAD = 16_384
"""The most bytes of a head, and of all trailers."""

_MAX_DIGITS = 19
"""The most digits of a length: 2**62 has as many."""

_HEAD_TIMEOUT = 30.0
"""How long the head of a request may take, from the start of a connection (seconds)."""

_LINGER = 5.0
"""
For how long to read on when the rest of a body is not needed (seconds).  The body of a
refused request is thrown away for that long.  If the connection
were closed at once, with bytes unread, the client's system would throw away the answer
(RFC 9112, section 9.6).
"""

_MAX_LINE = 1024
"""The most bytes of the line before a chunk, or of a trailer."""

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n\0]*)?\r\n")

_CONTINUE = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")

# The status of the answer to a body that was given up with a code; 409 for any other.
_STATUS = {b"STREAM_TOO_LONG": 413, b"STREAM_FINAL_SIZE": 413, b"STREAM_TRUNCATED": 400}

_BAD_TOKEN = Refusal(401, "an Authorization header with a Bearer token is needed")


@implementer(interfaces.IProtocolNegotiationFactory)
@define(eq=False, slots=False)
class HTTPServerFactory(ServerFactory):
    """
    Makes the connections of one server.

    @ivar authorise: Decides about each request.

    @ivar maxConnections: How many connections to serve at once.

    @ivar idleTimeout: How long a client may accept no byte of a response (seconds), or
        L{None}.

    @ivar reactor: The clock.

    @ivar connections: Those that are open.
    """

    noisy = False

    authorise: Authorise
    maxConnections: int
    idleTimeout: float | None
    reactor: Any
    connections: set[_Connection] = field(factory=set, init=False)

    def buildProtocol(self, addr: interfaces.IAddress | None) -> Protocol:
        """Serve a connection, unless too many are open."""
        if len(self.connections) >= self.maxConnections:
            text = "refused {addr}: {most} connections are open"
            _log.warn(text, addr=addr, most=self.maxConnections)
            # TLS has wrapped the connection already, and needs a protocol.
            return _Excess()
        return _Connection(self)

    def acceptableProtocols(self) -> list[bytes]:
        """@return: What TLS may negotiate: not HTTP/2."""
        return [b"http/1.1"]

    def abortConnections(self) -> Deferred[Any]:
        """
        Close all connections now.

        @return: Fires when they are closed.
        """
        closed = gatherResults([each.closed for each in self.connections])
        for connection in list(self.connections):
            connection.transport.abortConnection()
        return closed


class _Excess(Protocol):
    """Closes a connection that is one too many."""

    def connectionMade(self) -> None:
        """Close it."""
        cast(Any, self.transport).abortConnection()


class _Connection(Protocol):
    """
    One connection, with one request.

    @ivar parser: Reads the request, and writes the heads of the response.

    @ivar isReceived: Whether the request is complete.

    @ivar isOver: Whether the response is complete, or can never be: everything that
        still comes is thrown away.

    @ivar closed: Fires when the connection is closed.
    """

    transport: Any

    def __init__(self, factory: HTTPServerFactory) -> None:
        self.factory: HTTPServerFactory = factory
        self.parser = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD)
        self.isReceived = False
        self.isOver = False
        self.closed: Deferred[None] = Deferred()
        self._method = b""
        self._transfer: _Upload | _Download | None = None
        self._timer: interfaces.IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Wait for a request."""
        self.factory.connections.add(self)
        tuneForBulk(self.transport)
        # One deadline for the whole head, which does not begin anew with each byte.
        self.setTimer(_HEAD_TIMEOUT)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Let the transfer fail, unless it is complete."""
        self.isOver = True
        self.setTimer(None)
        transfer, self._transfer = self._transfer, None
        self.factory.connections.discard(self)
        try:
            if transfer is not None:
                transfer.target.cut(TransferInterrupted())
        finally:
            self.closed.callback(None)

    def dataReceived(self, data: bytes) -> None:
        """Read the request."""
        if self.isOver:
            return
        if self._transfer is not None:
            self._transfer.dataReceived(data)
            return
        try:
            self.parser.receive_data(data)
            event = self.parser.next_event()
        except h11.RemoteProtocolError as error:
            status = error.error_status_hint
            self.refuse(Refusal(status, "this is no valid request of HTTP/1.1"))
            return
        if isinstance(event, h11.Request):
            try:
                self._requested(event)
            except Exception:
                _log.failure("while a request was authorised")
                self.refuse(Refusal(500, "an error of the server"))

    def _requested(self, request: h11.Request) -> None:
        self._method = request.method
        found: dict[bytes, list[bytes]] = {}
        for name, value in request.headers:
            found.setdefault(name, []).append(value)
        refusal = _malformed(request.http_version, found)
        if refusal is not None:
            self.refuse(refusal)
            return
        (digits,) = found.get(b"content-length", [b""])
        isChunked = b"transfer-encoding" in found
        length = None if isChunked else int(digits or b"0")
        self.isReceived = length == 0
        token, hasLength = _tokenIn(found), isChunked or bool(digits)
        target = self.factory.authorise(token, self._method, length, hasLength)
        if isinstance(target, Refusal):
            self.refuse(target)
            return
        self.setTimer(None)
        if self._method == b"GET":
            self._transfer = download = _Download(self, target, request.http_version)
            # What follows the request is thrown away.  But reading goes on, to notice
            # that the client leaves.
            target.begin(download)
            return
        body = self.parser.trailing_data[0]
        self._transfer = upload = _Upload(self, target, length)
        target.begin(upload)
        if self.parser.they_are_waiting_for_100_continue and not (body or self.isOver):
            self.write(self.parser.send(_CONTINUE) or b"")
        upload.dataReceived(body)

    def refuse(self, refusal: Refusal) -> None:
        """Answer with an error, unless an answer has been sent."""
        if self.isOver:
            return
        headers = [(b"Content-Type", b"text/plain; charset=utf-8")]
        if refusal.status == 401:
            headers.append((b"WWW-Authenticate", b'Bearer realm="amp_stream"'))
        if refusal.status == 405:
            headers.append((b"Allow", refusal.allowed))
        self.reply(refusal.status, headers, refusal.reason.encode("utf-8", "replace"))

    def reply(
        self, status: int, headers: Sequence[tuple[bytes, bytes]], text: bytes = b""
    ) -> None:
        """Send a response with a short text, or without a body."""
        if text:
            text += b"\n"
            headers = [*headers, (b"Content-Length", b"%d" % len(text))]
        head = self.head(status, headers)
        self.write(head if self._method == b"HEAD" else head + text)
        self.close()

    def head(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        """@return: The head of the response."""
        headers = [*headers, (b"Connection", b"close")]
        reason = HTTPStatus(status).phrase.encode("ascii")
        response = h11.Response(status_code=status, headers=headers, reason=reason)
        return self.parser.send(response) or b""

    def write(self, *data: bytes) -> None:
        """
        Write, if the client listens.  If it closes TLS while it is written to, the
        transport would take bytes for ever, and drop them.
        """
        if lowestTransport(self.transport).disconnecting:
            self.abort()
        elif not self.isOver:
            self.transport.writeSequence(data)

    def close(self) -> None:
        """Close the connection, once the client has got the response."""
        self.isOver = True
        self._transfer = None
        if self.closed.called:
            return
        if self.isReceived:
            self.setTimer(self.factory.idleTimeout)
            self.transport.loseConnection()
            return
        self.setTimer(_LINGER)
        self.transport.resumeProducing()
        # Either ends this side's half, and lets the other half go on: TLS waits for
        # the client to close, too.
        if interfaces.ISSLTransport.providedBy(self.transport):
            self.transport.loseConnection()
        else:
            self.transport.loseWriteConnection()

    def abort(self) -> None:
        """Close the connection now."""
        if not self.closed.called:
            self.transport.abortConnection()

    def setTimer(self, seconds: float | None) -> None:
        """Close the connection after some time (seconds), or do not."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        if seconds is not None:
            self._timer = self.factory.reactor.callLater(seconds, self.abort)


class _MalformedChunks(Exception):
    """A chunked body breaks the rules of RFC 9112."""


class _Body:
    """
    Finds the bytes of a body in what comes after the head, and passes over what follows
    the body.  A body has a length, or comes in chunks (RFC 9112, section 7.1), whose
    extensions and trailers are passed over, too.

    C{h11} does this, too, but copies each byte three times, which would cost a quarter
    of the throughput.

    @ivar isComplete: Whether the body has ended.
    """

    def __init__(self, length: int | None) -> None:
        """@param length: The length (bytes), or L{None} for chunks."""
        self.isComplete = length == 0
        self._isChunked = length is None
        # Of the body, or of the chunk.
        self._remaining = length or 0
        # A line that has not ended, and what to do with it.
        self._line = b""
        self._take = self._takeSize
        self._trailers = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """
        Yield the bytes of the body among those that have come.

        @raise _MalformedChunks: There are none, or no more.
        """
        start = 0
        while start < len(data) and not self.isComplete:
            if self._remaining:
                piece = data[start : start + self._remaining]
                start += len(piece)
                self._remaining -= len(piece)
                self.isComplete = not (self._isChunked or self._remaining)
                yield piece
                continue
            end = data.find(b"\n", start, start + _MAX_LINE) + 1 or len(data)
            self._line += data[start : min(end, start + _MAX_LINE)]
            start = end
            if len(self._line) >= _MAX_LINE:
                raise _MalformedChunks
            if self._line.endswith(b"\n"):
                line, self._line = self._line, b""
                # Bare line feeds are refused: others may read them otherwise.
                if not line.endswith(b"\r\n"):
                    raise _MalformedChunks
                self._take(line)

    def _takeSize(self, line: bytes) -> None:
        found = _SIZE.fullmatch(line)
        if found is None:
            raise _MalformedChunks
        self._remaining = int(found[1], 16)
        self._take = self._takeEnd if self._remaining else self._takeTrailer

    def _takeEnd(self, line: bytes) -> None:
        if line != b"\r\n":
            raise _MalformedChunks
        self._take = self._takeSize

    def _takeTrailer(self, line: bytes) -> None:
        self._trailers += len(line)
        if self._trailers > _MAX_HEAD:
            raise _MalformedChunks
        self.isComplete = line == b"\r\n"


class _Upload:
    """
    The body of a C{PUT}; a L{BodyReader}.

    @ivar target: The receiver of the body.
    """

    def __init__(
        self, connection: _Connection, target: RequestTarget, length: int | None
    ) -> None:
        """
        @param length: The length of the body (bytes), or L{None} if it is
            chunked.
        """
        self.target = target
        self._connection = connection
        self._body = _Body(length)
        self._hasEnded = False
        self.pauseProducing = connection.transport.pauseProducing
        self.resumeProducing = connection.transport.resumeProducing

    def dataReceived(self, data: bytes) -> None:
        """
        Hand on what has come, even if the target pauses meanwhile: that is no more than
        one read of the socket.
        """
        connection, body = self._connection, self._body
        try:
            for piece in body.feed(data):
                self.target.data(piece)
                if connection.isOver:
                    return
        except _MalformedChunks:
            self.target.cut(TransferInterrupted("the chunks of the body are malformed"))
            connection.refuse(Refusal(400, "the chunks of the body are malformed"))
            return
        if body.isComplete and not (self._hasEnded or connection.isOver):
            self._hasEnded = connection.isReceived = True
            self.target.ended()

    def expectEnd(self) -> None:
        """Close the connection if the body does not end soon."""
        if not (self._hasEnded or self._connection.isOver):
            self._connection.setTimer(_LINGER)

    def finish(self) -> None:
        """Say that the body has been accepted."""
        if not self._connection.isOver:
            self._connection.reply(204, [])

    def abort(self, error: BaseException) -> None:
        """Refuse the body, or the rest of it."""
        status = _STATUS.get(getattr(error, "code", b""), 409)
        self._connection.refuse(Refusal(status, str(error)))


@implementer(interfaces.IPushProducer)
class _Download:
    """
    The body of the response to a C{GET}; a L{BodyWriter}.

    @ivar target: The sender of the body.
    """

    def __init__(self, connection: _Connection, target: Any, version: bytes) -> None:
        self.target = target
        self.transport: Any = connection.transport
        self._connection = connection
        self._version = version
        self._isChunked = False

    def dataReceived(self, data: bytes) -> None:
        """Throw away what follows the request."""

    def start(self, size: int | None) -> None:
        """Send the head of the response."""
        headers = [
            (b"Content-Type", b"application/octet-stream"),
            (b"Cache-Control", b"no-store"),
        ]
        if size is not None:
            headers.append((b"Content-Length", b"%d" % size))
        # A client of HTTP/1.0 knows no chunks, and reads until the connection closes.
        self._isChunked = size is None and self._version == b"1.1"
        self._connection.write(self._connection.head(200, headers))
        if not self._connection.isOver:
            self.transport.registerProducer(self, True)

    def pauseProducing(self) -> None:
        """
        Let the sender pause, and the client read on within C{idleTimeout}: a response
        that no one reads would keep its connection.
        """
        self._connection.setTimer(self._connection.factory.idleTimeout)
        self.target.pauseProducing()

    def resumeProducing(self) -> None:
        """Let the sender go on."""
        if not self._connection.isOver:
            self._connection.setTimer(None)
        self.target.resumeProducing()

    def stopProducing(self) -> None:
        """The connection tells the sender that it is lost."""

    def write(self, data: bytes) -> None:
        """Send the next bytes."""
        if self._isChunked:
            self._connection.write(b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._connection.write(data)

    def finish(self) -> None:
        """End the response."""
        connection = self._connection
        if connection.isOver:
            return
        if self._isChunked:
            connection.write(b"0\r\n\r\n")
        self.transport.unregisterProducer()
        connection.close()

    def abort(self) -> None:
        """Close the connection, so that the client sees an incomplete response."""
        self._connection.abort()


def _tokenIn(found: dict[bytes, list[bytes]]) -> bytes:
    values = found.get(b"authorization", [])
    scheme, _, token = (values[0] if len(values) == 1 else b"").partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


def _malformed(version: bytes, found: dict[bytes, list[bytes]]) -> Refusal | None:
    """
    Check what C{h11} leaves open.

    @param version: The version of HTTP, such as C{b"1.1"}.

    @param found: The values of each header, by its name in lower case.
    """
    if not version.startswith(b"1."):
        return Refusal(505, "this server speaks HTTP/1.1")
    isChunked = b"transfer-encoding" in found
    if isChunked and (b"content-length" in found or version == b"1.0"):
        # RFC 9112, section 6.1: what is between may see another end of the body.
        return Refusal(
            400, "a body has either a length or chunks, and these in HTTP/1.1"
        )
    if len(found.get(b"content-length", [b""])[0]) > _MAX_DIGITS:
        return Refusal(413, "the body is too long")
    # RFC 9110, section 10.1.1.
    expected = b",".join(found.get(b"expect", [])).lower().split(b",")
    others = {each.strip() for each in expected} - {b"", b"100-continue"}
    if others and version != b"1.0":
        return Refusal(417, "100-continue is all that can be expected")
    return None if _tokenIn(found) else _BAD_TOKEN

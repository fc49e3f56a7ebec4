# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
One HTTP request of a transfer: authorised before its body, which is never kept.

C{twisted.web} gathers the body of a request in a file and calls the application when
it has all of it.  Here the body goes where it belongs as it comes, and waits in the
socket where that has no room.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import RESPONSES, Request

from amp_stream._sansio.tickets import Refusal
from amp_stream.errors import (
    FinalSizeError,
    StreamTooLong,
    StreamTruncated,
    TransferCut,
)

__all__ = ["BulkRequest"]

_log = Logger()

_BAD_TOKEN = Refusal(401, "an Authorization header with a Bearer token is needed")


class BulkRequest(Request):
    """
    One request, which is all that its connection is for.
    """

    _exchange: Any = None
    _own: Any
    _length: int | None = 0
    _begun = False
    _uploading = False
    _paused = False
    _received = False
    _lost = False
    _answered = False

    def gotLength(self, length: int | None) -> None:
        """
        Make no place for the body.
        """
        self._length = length

    def parseCookies(self) -> None:
        """
        There is no use for any.
        """

    def begin(self, method: bytes, uri: bytes, version: bytes) -> None:
        """
        The headers have come, and perhaps nothing else.
        """
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
        self._own.hold()
        authority = self._own.bulkFactory.authority
        deciding = authority.consume(token.strip(), method, self._length)
        deciding.addCallback(self._decided).addErrback(self._broken)

    def handleContentChunk(self, data: bytes) -> None:
        """
        Some of the body has come.
        """
        if not self._uploading:
            return
        self._exchange.data(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """
        All of the request has come.
        """
        self._received = True
        if not self._begun:
            self.begin(command, path, version)
        elif self._uploading:
            self._uploading = False
            self._exchange.ended()

    def connectionLost(self, reason: Failure) -> None:
        """
        The client is gone.
        """
        super().connectionLost(reason)
        self._lost = True
        exchange, self._exchange = self._exchange, None
        if exchange is not None and not self._answered:
            self._answered = True
            exchange.cut(TransferCut())

    def refuse(self, refusal: Refusal) -> None:
        """
        Answer with an error, and read no more of the body than the client needs to
        notice.
        """
        if self._answered or self._lost:
            return
        self._answered = True
        self._uploading = False
        self._exchange = None
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
        """
        The body was welcome.
        """
        if not (self._answered or self._lost):
            self._answered = True
            self._exchange = None
            self._reply(204, b"")

    def startResponse(self, size: int | None) -> None:
        """
        Begin to answer a GET.
        """
        self.setResponseCode(200)
        self.setHeader(b"Content-Type", b"application/octet-stream")
        self.setHeader(b"Cache-Control", b"no-store")
        if size is not None:
            self.setHeader(b"Content-Length", b"%d" % size)

    def endResponse(self) -> None:
        """
        The body of the response is complete.
        """
        if not (self._answered or self._lost):
            self._answered = True
            self._exchange = None
            self.unregisterProducer()
            self.finish()

    def breakResponse(self) -> None:
        """
        The body of the response stays incomplete, and the client shall see that.
        """
        self._answered = True
        self._exchange = None
        if not self._lost:
            self._own.abort()

    def hold(self) -> None:
        """
        Let the body wait.
        """
        self._paused = True
        if not self._lost:
            self._own.hold()

    def go(self) -> None:
        """
        Let it come.
        """
        self._paused = False
        if not self._lost:
            self._own.go()

    def _decided(self, decision: Any) -> None:
        if isinstance(decision, Refusal):
            if not self._lost:
                self.refuse(decision)
                self.go()
            return
        if self._lost:
            decision.fail(TransferCut("the client went away before it was authorised"))
            return
        self._exchange = decision
        self._own.setTimeout(None)
        if self.method == b"GET":
            decision.begin(_ResponseSink(self))
            # Or nobody would notice that the client has left.
            self.go()
            return
        self._uploading = True
        decision.begin(_RequestBody(self))
        if self._received and self._uploading:
            self._uploading = False
            decision.ended()
        elif self._uploading:
            self._own.welcome(self)
        if not self._paused:
            self.go()

    def _broken(self, failure: Failure) -> None:
        _log.failure("while a request was authorised", failure)
        self.refuse(Refusal(500, "an error of the server"))
        self.go()

    def _reply(self, status: int, text: bytes) -> None:
        self.setResponseCode(status, RESPONSES.get(status, b"Refused"))
        if text:
            self.setHeader(b"Content-Length", b"%d" % len(text))
            self.write(text)
        self.finish()


class _RequestBody:
    """
    The body of a PUT.
    """

    def __init__(self, request: BulkRequest) -> None:
        self._request = request

    def pauseProducing(self) -> None:
        """
        Let it wait in the socket.
        """
        self._request.hold()

    def resumeProducing(self) -> None:
        """
        Let it come.
        """
        self._request.go()

    def finish(self) -> None:
        """
        Say that it has come.
        """
        self._request.succeed()

    def abort(self, error: BaseException) -> None:
        """
        Say that it is not wanted.
        """
        status = 409
        if isinstance(error, (StreamTooLong, FinalSizeError)):
            status = 413
        elif isinstance(error, StreamTruncated):
            status = 400
        self._request.refuse(Refusal(status, str(error)))
        self._request.go()


class _ResponseSink:
    """
    The body of the response to a GET.
    """

    def __init__(self, request: BulkRequest) -> None:
        self._request = request
        self.transport: Any = request.transport

    def start(self, size: int | None) -> None:
        """
        It begins.
        """
        self._request.startResponse(size)

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """
        Say when to go on, and when to wait.
        """
        self._request.registerProducer(producer, streaming)

    def write(self, data: bytes) -> None:
        """
        Send some of it.
        """
        self._request.write(data)

    def finish(self) -> None:
        """
        That was all.
        """
        self._request.endResponse()

    def abort(self) -> None:
        """
        There will be no more, though that was not all.
        """
        self._request.breakResponse()

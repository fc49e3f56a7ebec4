# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
HTTP, as far as a transfer needs it: one request per connection.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IProtocolNegotiationFactory,
)
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, HTTPFactory
from zope.interface import implementer

from amp_stream._transport import lowestTransport, tuneForBulk
from amp_stream.outofband.httprequest import BulkRequest

__all__ = ["Authority", "BulkFactory"]

_log = Logger()

_HEADER_TIMEOUT = 30
_LINGER = 5


class Authority(Protocol):
    """
    What knows the tokens.
    """

    def consume(self, token: bytes, method: bytes, length: int | None) -> Deferred[Any]:
        """
        See L{BulkServer.consume}.
        """


@implementer(IProtocolNegotiationFactory)
class BulkFactory(HTTPFactory):
    """
    Makes the connections of one server.
    """

    noisy = False

    def __init__(
        self,
        authority: Authority,
        maxConnections: int,
        idleTimeout: float | None,
        reactor: Any,
    ) -> None:
        """
        @param authority: What knows the tokens.

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
        self.authority = authority
        self._maxConnections = maxConnections
        self._channels: set[_Channel] = set()
        self._empty: list[Deferred[None]] = []

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """
        Serve a connection, unless there are too many.
        """
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
        """
        See L{IProtocolNegotiationFactory.acceptableProtocols}.
        """
        return [b"http/1.1"]

    def startFactory(self) -> None:
        """
        Keep no access log: who moved what is known at the AMP connection.
        """

    def stopFactory(self) -> None:
        """
        See L{startFactory}.
        """

    def opened(self, channel: _Channel) -> None:
        """
        A connection was opened.
        """
        self._channels.add(channel)

    def closed(self, channel: _Channel) -> None:
        """
        A connection was closed.
        """
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
    """
    A connection that is one too many.
    """

    def connectionMade(self) -> None:
        """
        Close it.
        """
        transport: Any = self.transport
        transport.abortConnection()


class _Channel(HTTPChannel):
    """
    One connection.
    """

    requestFactory = BulkRequest
    bulkFactory: BulkFactory
    _discarding = False
    _lingering = False

    def connectionMade(self) -> None:
        """
        Count this connection.
        """
        super().connectionMade()
        self.bulkFactory = cast(BulkFactory, self.factory)
        tuneForBulk(self.transport)
        self.bulkFactory.opened(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Count it no more.
        """
        super().connectionLost(reason)
        self.bulkFactory.closed(self)

    def dataReceived(self, data: bytes) -> None:
        """
        Take bytes.  The time for the headers is one for all of them together, so it
        does not begin anew with each byte.
        """
        if not self._discarding:
            LineReceiver.dataReceived(self, data)

    def rawDataReceived(self, data: bytes) -> None:
        """
        See L{HTTPChannel.rawDataReceived}.
        """
        if not (self._discarding or self._handlingRequest):
            super().rawDataReceived(data)

    def allContentReceived(self) -> None:
        """
        See L{HTTPChannel.allContentReceived}.
        """
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
        """
        See L{write}.
        """
        if self._isHeard():
            super().writeSequence(iovec)

    def allHeadersReceived(self) -> None:
        """
        Authorise the request, if it has a body: one without is complete, and
        authorised when this returns.  C{100 Continue} is not said before that.
        """
        request = cast(BulkRequest, self.requests[-1])
        self.persistent = False
        request.setHeader(b"Connection", b"close")
        request.gotLength(self.length)
        if self.length != 0:
            request.begin(self._command, self._path, self._version)

    def welcome(self, request: BulkRequest) -> None:
        """
        Ask for the body, if the client waits to be asked.
        """
        expected = request.requestHeaders.getRawHeaders(b"expect") or [b""]
        isNew = request.clientproto == b"HTTP/1.1"
        if isNew and expected[0].lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def hold(self) -> None:
        """
        Take no bytes for now, neither from the socket nor from what was read.
        """
        self.paused = True
        self._networkProducer.pauseProducing()

    def go(self) -> None:
        """
        Take bytes again.
        """
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
            self.setTimeout(self.bulkFactory.idleTimeout)

    def resumeProducing(self) -> None:
        """
        The socket takes bytes again; that does not mean that the body may come.
        """
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
        self.setTimeout(_LINGER if self._lingering else self.bulkFactory.idleTimeout)
        super().loseConnection()

    def timeoutConnection(self) -> None:
        """
        The client has had its time.
        """
        if self._discarding or self._handlingRequest:
            self.abort()
        else:
            super().timeoutConnection()

    def abort(self) -> None:
        """
        Close now.
        """
        self._transport.abortConnection()

    def _isHeard(self) -> bool:
        if lowestTransport(self.transport).disconnecting:
            self.abort()
            return False
        return True

    @property
    def _transport(self) -> Any:
        return self.transport

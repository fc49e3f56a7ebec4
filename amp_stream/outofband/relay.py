# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
A request that came to one server, for a ticket of another.

Servers that share a port cannot choose which of them a request reaches.  The one that
it reaches uses the ticket up, and passes the bytes on, as they come, to or from the
one that issued it.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from amp_stream._sansio.ticketbox import Ticket
from amp_stream.errors import StreamError, TransferCut
from amp_stream.outofband.carriers import Body, Sink
from amp_stream.outofband.client import BulkClient

__all__ = ["Relay"]


@implementer(IPushProducer)
class Relay:
    """
    Passes one body on.  On one side of it is the request that was received, on the
    other the one that is made.
    """

    def __init__(self, ticket: Ticket, size: int | None, reactor: Any) -> None:
        """
        @param ticket: What to make the other request with.

        @param size: How many bytes the body has (bytes), or L{None}.
        """
        self._ticket = ticket
        self._size = size
        self._client = BulkClient(reactor=reactor)
        self._body: Body | None = None
        self._sink: Sink | None = None
        self._over = False

    def begin(self, message: Any) -> None:
        """
        See L{Exchange.begin}.
        """
        if self._ticket.method == b"GET":
            self._sink = message
            self._client.get(self._ticket, _Upstream(self, None))
        else:
            self._body = message
            message.pauseProducing()
            putting = self._client.put(
                self._ticket, self._size, _Upstream(self, message)
            )
            putting.addCallback(self._put)

    def fail(self, error: StreamError) -> None:
        """
        See L{Exchange.fail}.
        """
        self.cut(error)

    def data(self, data: bytes) -> None:
        """
        Some of the body has come.
        """
        if self._sink is not None and not self._over:
            self._sink.write(data)

    def ended(self) -> None:
        """
        All of it has.
        """
        if self._sink is not None and not self._over:
            sink, self._sink = self._sink, None
            sink.finish()

    def cut(self, error: StreamError) -> None:
        """
        One of the connections is gone, and takes the other along.
        """
        if self._over:
            return
        self._over = True
        body, self._body = self._body, None
        sink, self._sink = self._sink, None
        if body is not None:
            body.abort(error)
        if sink is not None:
            sink.abort()

    def pauseProducing(self) -> None:
        """
        The receiving end takes no more for now.
        """
        if self._body is not None:
            self._body.pauseProducing()

    def resumeProducing(self) -> None:
        """
        It does again.
        """
        if self._body is not None:
            self._body.resumeProducing()

    def stopProducing(self) -> None:
        """
        It never will.
        """
        self.cut(TransferCut())

    def receive(self, body: Body) -> None:
        """
        The body that is to be passed on comes from here.
        """
        if self._over:
            body.abort(TransferCut())
        else:
            self._body = body

    def send(self, sink: Sink) -> None:
        """
        It goes there.
        """
        if self._over:
            sink.abort()
        else:
            self._sink = sink
            sink.registerProducer(self, True)
            self.resumeProducing()

    def start(self) -> None:
        """
        The answer to a GET has begun.
        """
        if self._sink is not None:
            self._sink.start(self._size)
            self._sink.registerProducer(self, True)

    def _put(self, welcome: bool) -> None:
        if welcome and not self._over:
            self._over = True
            body, self._body = self._body, None
            if body is not None:
                body.finish()


class _Upstream:
    """
    What the request that is made calls.
    """

    def __init__(self, relay: Relay, body: Body | None) -> None:
        """
        @param body: What it sends, if it is a PUT.
        """
        self._relay = relay
        self._body = body

    def begin(self, message: Any) -> None:
        """
        It has a body to send, or one has come.
        """
        if self._body is not None:
            self._relay.send(message)
            return
        self._relay.receive(message)

    def started(self) -> None:
        """
        The status of the response is what it should be.
        """
        self._relay.start()

    def data(self, data: bytes) -> None:
        """
        Some of it has come.
        """
        self._relay.data(data)

    def ended(self) -> None:
        """
        All of it has.
        """
        self._relay.ended()

    def cut(self, error: StreamError) -> None:
        """
        It has failed.
        """
        self._relay.cut(error)

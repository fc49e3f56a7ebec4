# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The bodies of HTTP messages at the client.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IPushProducer,
    IReactorTime,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from amp_stream._transport import tuneForBulk
from amp_stream.errors import TransferCut

__all__ = ["FirstLine", "NoBodyYet", "RequestBody", "ResponseBody"]

_ANSWER = 30.0
"""
How long to wait for the answer to a body that has been sent (seconds).
"""


class FirstLine(Protocol):
    """
    Reads the first line of an error, and not more than that.
    """

    _most = 512

    def __init__(self) -> None:
        self.line: Deferred[str] = Deferred(lambda _: _abort(self.transport))
        self._data = b""

    def dataReceived(self, data: bytes) -> None:
        """
        Keep the beginning.
        """
        self._data += data[: self._most - len(self._data)]
        if len(self._data) >= self._most:
            _abort(self.transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        That is all.
        """
        if not self.line.called:
            text = self._data.decode("utf-8", "replace").partition("\n")[0]
            self.line.callback("".join(c for c in text if c.isprintable()))


class NoBodyYet:
    """
    The body of a response that has not come yet.
    """

    def __init__(self, request: Deferred[None]) -> None:
        self._request = request

    def pauseProducing(self) -> None:
        """
        There is nothing to wait.
        """

    def resumeProducing(self) -> None:
        """
        There is nothing to come.
        """

    def finish(self) -> None:
        """
        It cannot have.
        """

    def abort(self, error: BaseException) -> None:
        """
        Do not wait for it.
        """
        self._request.cancel()


class ResponseBody(Protocol):
    """
    Hands on the body of a response.
    """

    transport: Any

    def __init__(self, receiver: Any) -> None:
        self._receiver = receiver
        self._aborted = False

    def connectionMade(self) -> None:
        """
        It begins.
        """
        tuneForBulk(_below(self.transport))
        self._receiver.begin(self)
        self._receiver.started()

    def dataReceived(self, data: bytes) -> None:
        """
        Some of it has come.
        """
        if not self._aborted:
            self._receiver.data(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        It has come, or will not.
        """
        if self._aborted:
            return
        self._aborted = True
        if reason.check(ResponseDone):
            self._receiver.ended()
        else:
            # PotentialDataLoss, too: a body without a length has no end to trust.
            self._receiver.cut(TransferCut())

    def pauseProducing(self) -> None:
        """
        Let it wait.
        """
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """
        Let it come.
        """
        self.transport.resumeProducing()

    def finish(self) -> None:
        """
        Nobody needs to be told.
        """

    def abort(self, error: BaseException) -> None:
        """
        Take no more.
        """
        if not self._aborted:
            self._aborted = True
            _abort(self.transport)


@implementer(IBodyProducer)
class RequestBody:
    """
    The body of a request, and the sink of what sends it.

    @ivar transport: That of the connection of the request, as soon as there is one.
    """

    transport: Any = None

    def __init__(self, size: int | None, sender: Any, clock: IReactorTime) -> None:
        self._clock = clock
        self._patience: IDelayedCall | None = None
        self.length: Any = UNKNOWN_LENGTH if size is None else size
        self.request: Deferred[None] = Deferred()
        self._sender = sender
        self._consumer: IConsumer | None = None
        self._producer: IPushProducer | None = None
        self._done: Deferred[None] = Deferred()

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """
        See L{IBodyProducer.startProducing}.
        """
        self._consumer = consumer
        self._sender.begin(self)
        return self._done

    def pauseProducing(self) -> None:
        """
        See L{IPushProducer.pauseProducing}.
        """
        if self._producer is not None:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        """
        See L{IPushProducer.resumeProducing}.
        """
        if self._producer is not None:
            self._producer.resumeProducing()

    def stopProducing(self) -> None:
        """
        See L{IProducer.stopProducing}.  Why, the request says.
        """
        self._consumer = self._producer = None

    def start(self, size: int | None) -> None:
        """
        See L{Sink.start}.
        """

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """
        See L{Sink.registerProducer}.
        """
        self._producer = producer

    def write(self, data: bytes) -> None:
        """
        See L{Sink.write}.
        """
        if self._consumer is not None:
            self._consumer.write(data)

    def finish(self) -> None:
        """
        See L{Sink.finish}.
        """
        if self._consumer is not None:
            self._consumer = self._producer = None
            self._patience = self._clock.callLater(_ANSWER, self.request.cancel)
            self._done.callback(None)

    def abort(self) -> None:
        """
        See L{Sink.abort}.
        """
        self._consumer = self._producer = None
        self.request.cancel()

    def over(self) -> None:
        """
        The server has answered, whether or not that was all, or will not.
        """
        self._consumer = self._producer = None
        if self._patience is not None and self._patience.active():
            self._patience.cancel()


def _below(transport: Any) -> Any:
    """
    @return: What the transport of a response stands for.  That is not public; without
        it, everything works but for what only it can do.
    """
    return getattr(transport, "_producer", transport)


def _abort(transport: Any) -> None:
    """
    Close a connection now: TLS would wait for the other end.
    """
    if transport is not None:
        below = _below(transport)
        getattr(below, "abortConnection", transport.loseConnection)()

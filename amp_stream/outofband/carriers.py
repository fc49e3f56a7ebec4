# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
What stands between a stream and the HTTP connection that carries its bytes.

Neither end here knows which side of HTTP it is on: a sender may answer a GET or make a
PUT, a receiver the other one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

from amp_stream._limits import MAX_NUMBER
from amp_stream._outgoing import OutgoingStream
from amp_stream._sansio.stream import SendStream
from amp_stream._transport import SendGate
from amp_stream.errors import StreamError, TransferCut

__all__ = ["GRACE", "Body", "IncomingCarrier", "OutgoingCarrier", "Sink"]

_ROOM = 262_144
_PIECE = 65_536
_AT_ONCE = 8

GRACE = 1.0
"""
When an HTTP connection breaks, how long to wait for AMP to tell why (seconds).  If the
other end has given the stream up, it says so there, and closes HTTP as well; whichever
of the two is seen first, its reason is the one that counts.
"""

CallLater = Callable[[float, Callable[[], object]], IDelayedCall]
"""
That of a reactor.
"""


class Body(Protocol):
    """
    The bytes of an HTTP message that is being received.
    """

    def pauseProducing(self) -> None:
        """
        Let them wait.
        """

    def resumeProducing(self) -> None:
        """
        Let them come.
        """

    def finish(self) -> None:
        """
        All of them were welcome.
        """

    def abort(self, error: BaseException) -> None:
        """
        Take no more.

        @param error: Why.
        """


class Sink(Protocol):
    """
    The body of an HTTP message that is being sent.

    @ivar transport: The transport that it is written to, or L{None} if that is not
        known.
    """

    transport: Any

    def start(self, size: int | None) -> None:
        """
        It begins.

        @param size: How many bytes it will have (bytes), or L{None}.
        """

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> object:
        """
        Say when to go on, and when to wait.
        """

    def write(self, data: bytes) -> object:
        """
        Send some of it.
        """

    def finish(self) -> None:
        """
        That was all.
        """

    def abort(self) -> None:
        """
        That was not all, and there will be no more.
        """


class IncomingCarrier:
    """
    Feeds a stream with the body of an HTTP message.

    @ivar onRelease: Called once, when the stream has ended.
    """

    def __init__(
        self,
        begin: Callable[[IncomingCarrier], object],
        feed: Callable[[bytes, bool], int],
        fail: Callable[[StreamError], object],
        callLater: CallLater,
    ) -> None:
        """
        @param begin: Sets the transfer up, once somebody wants its bytes.

        @param feed: Takes bytes, and whether they are the last; returns how many
            wait (bytes), or raises a L{StreamError} if the stream has failed.

        @param fail: Fails the stream.

        @param callLater: Calls something after some time (seconds).
        """
        self._begin = begin
        self._feed = feed
        self._fail = fail
        self._callLater = callLater
        self._failing: IDelayedCall | None = None
        self._begun = False
        self._body: Body | None = None
        self._paused = False
        self._released = False
        self.onRelease: Callable[[], object] = lambda: None

    def wanted(self, held: int) -> None:
        """
        See L{Carrier.wanted}.
        """
        if not self._begun:
            self._begun = True
            self._begin(self)
        elif self._paused and held < _ROOM and self._body is not None:
            self._paused = False
            self._body.resumeProducing()

    def release(self, error: BaseException | None) -> None:
        """
        See L{Carrier.release}.
        """
        self._released = True
        _stop(self._failing)
        body = self._body
        if body is not None:
            if error is not None:
                self._body = None
                body.abort(error)
            elif self._paused:
                # It has not said yet how it ends.
                self._paused = False
                body.resumeProducing()
        self.onRelease()

    def fail(self, error: StreamError) -> None:
        """
        There will be no bytes, or no more.
        """
        if not self._released:
            self._fail(error)

    def begin(self, body: Body) -> None:
        """
        An HTTP message has begun.
        """
        if self._released:
            body.abort(TransferCut("the stream has ended"))
        else:
            self._body = body

    def started(self) -> None:
        """
        It is what it should be.
        """

    def data(self, data: bytes) -> None:
        """
        Some of its bytes have come.
        """
        body = self._body
        if body is None:
            return
        if self._released:
            self._body = None
            body.abort(TransferCut("the body is longer than the stream"))
            return
        try:
            held = self._feed(data, False)
        except StreamError:
            # The stream has released this, and with it the body.
            return
        if held >= _ROOM and self._body is not None:
            self._paused = True
            body.pauseProducing()

    def ended(self) -> None:
        """
        Its last byte has come.
        """
        body, self._body = self._body, None
        if body is None:
            return
        try:
            if not self._released:
                self._feed(b"", True)
        except StreamError as error:
            body.abort(error)
        else:
            body.finish()

    def cut(self, error: StreamError) -> None:
        """
        It has no proper end.
        """
        self._body = None
        if not self._released and self._failing is None:
            self._failing = self._callLater(GRACE, partial(self.fail, error))


@implementer(IPushProducer)
class OutgoingCarrier:
    """
    Sends a stream as the body of an HTTP message.

    @ivar stream: The stream, as soon as there is one.

    @ivar taken: Whether somebody was told how to get its bytes.

    @ivar onRelease: Called once, when the stream has ended.
    """

    stream: OutgoingStream

    def __init__(
        self, core: SendStream, side: SendingSide, grace: float = GRACE
    ) -> None:
        """
        @param side: The other streams of the connection.

        @param grace: When an HTTP connection breaks, how long to wait for AMP to tell
            why (seconds).
        """
        self._core = core
        self._side = side
        self._grace = grace
        self._sink: Sink | None = None
        # One that has everything, and may not have passed it on.
        self._full: Sink | None = None
        self._paused = False
        self._pumping = False
        self._released = False
        self._failing: IDelayedCall | None = None
        self._gate = SendGate(None, None)
        self._turn = _PIECE
        # The next turn, if it is a matter of time.
        self._later: IDelayedCall | None = None
        self.taken = False
        self.onRelease: Callable[[], object] = lambda: None
        # Until it is carried, it has no credit, and waits for the peer.
        core.window.maximum = 0

    def begin(self, sink: Sink) -> None:
        """
        Send the bytes from now on.
        """
        if self._released:
            sink.abort()
            return
        self._sink = sink
        self._core.window.grant(MAX_NUMBER)
        self._gate = SendGate(sink.transport, self._side.maxBulkDelay)
        sink.start(self.stream.size)
        sink.registerProducer(self, True)
        self._pump()

    def fail(self, error: StreamError) -> None:
        """
        The bytes cannot be sent, or no more of them.
        """
        if not self._released:
            self.stream.give(error)

    def cut(self, error: StreamError) -> None:
        """
        The HTTP connection is gone.
        """
        self._full = None
        if self._sink is not None and self.stream.sent == self.stream.size:
            # It has every byte, and need not wait to hear that these were all.
            self._sink = _Nowhere()
            return
        self._sink = None
        if not self._released and self._failing is None:
            self._failing = self._side.clock.callLater(
                self._grace, partial(self.fail, error)
            )

    def release(self, error: BaseException | None) -> None:
        """
        The stream has ended.

        @param error: Why the peer has not got it, or L{None} if it has.
        """
        self._released = True
        _stop(self._failing)
        _stop(self._later)
        sink, self._sink = self._sink or self._full, None
        self._full = None
        if sink is not None and error is not None:
            sink.abort()
        self.onRelease()

    def pauseProducing(self) -> None:
        """
        The HTTP connection takes no more for now.
        """
        self._paused = True

    def resumeProducing(self) -> None:
        """
        It does again.
        """
        self._paused = False
        self._pump()

    def stopProducing(self) -> None:
        """
        It never will.
        """
        self.cut(TransferCut())

    def offer(self, stream: SendStream) -> None:
        """
        See L{WritingSide.offer}.
        """
        stream.offered = True
        self._pump()

    def allowance(self, stream: SendStream) -> int:
        """
        See L{WritingSide.allowance}.
        """
        return self._turn

    def withdraw(self, stream: SendStream) -> None:
        """
        See L{WritingSide.withdraw}.
        """
        stream.offered = False

    def writeChunk(
        self,
        stream: SendStream,
        data: bytes | memoryview,
        fin: bool,
        sha256: bytes | None,
    ) -> None:
        """
        See L{WritingSide.writeChunk}.
        """
        sink = self._sink
        stream.send(len(data), fin)
        if sink is None:
            return
        if fin:
            self._sink, self._full = None, sink
        if data:
            # Not every transport takes a view.
            sink.write(bytes(data))
            self._gate.wrote(len(data))
        if fin:
            sink.finish()
            self._side.finish(stream.id, stream.window.offset, sha256)

    def reset(self, stream: SendStream, error: StreamError) -> None:
        """
        See L{WritingSide.reset}.
        """
        self._side.reset(stream, error)

    def _pump(self) -> None:
        if self._pumping:
            return
        self._pumping = True
        gate, side = self._gate, self._side
        count = 0
        try:
            while self._sink is not None and not self._paused and self._core.offered:
                now = side.clock.seconds()
                if count and (count == _AT_ONCE or gate.isShort(now, _PIECE)):
                    # The kernel has not seen what was just written.  And a transport
                    # may never say that it is full, while others want to be served.
                    self._pumpLater(0.0)
                    break
                self._turn = gate.turn(now, _PIECE)
                if gate.delay:
                    self._pumpLater(gate.delay)
                    break
                count += 1
                if not self.stream.sendChunk():
                    break
        finally:
            self._pumping = False

    def _pumpLater(self, seconds: float) -> None:
        _stop(self._later)
        self._later = self._side.clock.callLater(seconds, self._pump)


class SendingSide(Protocol):
    """
    The other streams of a connection.

    @ivar clock: The reactor.

    @ivar maxBulkDelay: See L{amp_stream.Limits}.
    """

    clock: IReactorTime
    maxBulkDelay: float | None

    def reset(self, stream: SendStream, error: StreamError) -> None:
        """
        Give a stream up.
        """

    def finish(self, id: int, size: int, sha256: bytes | None) -> None:
        """
        The last byte of a stream has left.
        """


class _Nowhere:
    """
    The sink of bytes that have all been sent.
    """

    transport: Any = None

    def start(self, size: int | None) -> None:
        """
        See L{Sink.start}.
        """

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """
        See L{Sink.registerProducer}.
        """

    def write(self, data: bytes) -> None:
        """
        See L{Sink.write}.
        """

    def finish(self) -> None:
        """
        See L{Sink.finish}.
        """

    def abort(self) -> None:
        """
        See L{Sink.abort}.
        """


def _stop(call: IDelayedCall | None) -> None:
    if call is not None and call.active():
        call.cancel()

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Transfers: streams of an AMP connection whose bytes travel over HTTP.

AMP carries everything of such a stream but its bytes: the announcement, the end with
the digest, and every abort.  So both ends agree on the outcome by the rules of every
other stream, whatever becomes of the HTTP connection.

The receiver sets a transfer up when the application wants the bytes.  If it has an
HTTP server, it sends the sender a ticket for a C{PUT}; if not, it asks the sender for
a ticket for a C{GET}.  So L{HTTPReceiver} and L{HTTPSender} may each be at either end
of an HTTP request, and work with the body of a message and not with the request.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from amp_stream._commands import TICKET_COMMANDS
from amp_stream._incoming import IncomingStream
from amp_stream._multiplexer import StreamMultiplexer
from amp_stream._outgoing import OutgoingStream, Source
from amp_stream._sansio.frames import BytesLike, parseNumber
from amp_stream._sansio.limits import MAX_NUMBER
from amp_stream._sansio.stream import SendStream
from amp_stream._transport import SendGate
from amp_stream.errors import (
    InvalidValue,
    NoOutOfBandServer,
    OutOfBandError,
    ProtocolViolation,
    StreamCancelled,
    StreamError,
    TransferInterrupted,
    errorForCode,
)
from amp_stream.outofband._client import OutOfBandClient
from amp_stream.outofband._tickets import Ticket, ticketFromBox, ticketToBox

_log = Logger()

_ROOM = 262_144
_PIECE = 65_536
_AT_ONCE = 8

GRACE = 1.0
"""
When an HTTP connection breaks, how long to wait for AMP to tell why (seconds).  An end
that gives the stream up says so over AMP and closes HTTP; whichever of the two the
other end sees first, the reason from AMP is the one that counts.
"""

_DEFAULT_CLIENT = OutOfBandClient()


class BodyReader(Protocol):
    """Gives the body of an HTTP message that is being received."""

    def pauseProducing(self) -> None:
        """Leave further bytes in the socket."""

    def resumeProducing(self) -> None:
        """Read on."""

    def expectEnd(self) -> None:
        """Close the connection unless the body ends soon, as the stream is complete."""

    def finish(self) -> None:
        """Accept the complete body."""

    def abort(self, error: BaseException) -> None:
        """Refuse the rest of the body, with the reason."""


class BodyWriter(Protocol):
    """
    Takes the body of an HTTP message that is being sent.  It tells its
    L{HTTPSender} when to pause, and when to resume.

    @ivar transport: The transport of its connection, or L{None} if that is not known.
    """

    transport: Any

    def start(self, size: int | None) -> None:
        """Begin a body of C{size} bytes, or of a length that is not known."""

    def write(self, data: bytes) -> object:
        """Send the next bytes."""

    def finish(self) -> None:
        """End the complete body."""

    def abort(self) -> None:
        """Close the connection, so that the other end sees an incomplete body."""


class _End:
    """
    One end of a transfer, between a stream and the body of an HTTP message.

    @ivar onRelease: Called once, when the stream has ended.
    """

    _giveUp: Callable[[StreamError], object]

    def __init__(self, clock: IReactorTime, grace: float = GRACE) -> None:
        """@param grace: See L{GRACE}."""
        self._clock = clock
        self._grace = grace
        self._paused = False
        self._released = False
        self._failing: IDelayedCall | None = None
        self.onRelease: Callable[[], object] = lambda: None

    def fail(self, error: StreamError) -> None:
        """Fail the stream: no bytes, or no further ones, can be transferred."""
        if not self._released:
            self._giveUp(error)

    def _failLater(self, error: StreamError) -> None:
        if not self._released and self._failing is None:
            self._failing = self._clock.callLater(self._grace, self.fail, error)


class HTTPReceiver(_End):
    """Feeds an incoming stream with the body of an HTTP message."""

    def __init__(
        self,
        multiplexer: StreamMultiplexer,
        id: int,
        setUp: Callable[[HTTPReceiver], object],
    ) -> None:
        """@param setUp: Sets the transfer up, once the application wants its bytes."""
        super().__init__(multiplexer.clock)
        self._giveUp = partial(multiplexer.giveUp, id)
        self._feed = partial(multiplexer.feed, id)
        self._setUp = setUp
        self._begun = False
        self._body: BodyReader | None = None

    def wanted(self, held: int) -> None:
        """Bring more bytes; C{held} bytes of the stream wait to be read."""
        if not self._begun:
            self._begun = True
            self._setUp(self)
        elif self._paused and held < _ROOM and self._body is not None:
            self._paused = False
            self._body.resumeProducing()

    def release(self, error: BaseException | None) -> None:
        """
        Let go of the connection, as the stream has ended.

        @param error: Why the stream has failed, or L{None} if it is complete.
        """
        self._released = True
        _stop(self._failing)
        body = self._body
        if body is not None and error is not None:
            self._body = None
            body.abort(error)
        elif body is not None:
            # The end of the message is still to be read.
            body.expectEnd()
            if self._paused:
                self._paused = False
                body.resumeProducing()
        self.onRelease()

    def begin(self, body: BodyReader) -> None:
        """Take the body of a message."""
        if self._released:
            body.abort(TransferInterrupted("the stream has ended"))
        else:
            self._body = body

    def data(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        body = self._body
        if body is None:
            return
        if self._released:
            self._body = None
            body.abort(TransferInterrupted("the body is longer than the stream"))
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
        """Take note that the body is complete."""
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
        """Take note that the body will stay incomplete."""
        self._body = None
        self._failLater(error)


class HTTPSender(_End):
    """
    Sends an outgoing stream as the body of an HTTP message.

    @ivar stream: The stream, as soon as there is one.

    @ivar taken: Whether a ticket has been issued or used for the stream.
    """

    stream: OutgoingStream

    def __init__(
        self, core: SendStream, owner: StreamMultiplexer | Offer, grace: float = GRACE
    ) -> None:
        """
        @param owner: What the stream belongs to: it hears of the end.

        @param grace: See L{GRACE}.
        """
        super().__init__(owner.clock, grace)
        self._core = core
        self._owner = owner
        self.reset = owner.reset
        self._body: BodyWriter | None = None
        # A body that has every byte, and may not have passed them all on.
        self._full: BodyWriter | None = None
        self._gone = False
        self._pumping = False
        self._gate = SendGate(None, None)
        self._turn = _PIECE
        # The next turn, if it comes at a set time.
        self._later: IDelayedCall | None = None
        self.taken = False
        # Until there is a body, the stream has no credit, and waits for the peer.
        core.window.maximum = 0

    def begin(self, body: BodyWriter) -> None:
        """Send the bytes into a body from now on."""
        if self._released:
            body.abort()
            return
        self._body = body
        self._core.window.grant(MAX_NUMBER)
        self._gate = SendGate(body.transport, self._owner.maxBulkDelay)
        body.start(self.stream.size)
        self._pump()

    def cut(self, error: StreamError) -> None:
        """Take note that the HTTP connection is gone."""
        body, self._body, self._full = self._body, None, None
        if body is not None and self.stream.sent == self.stream.size:
            # The body has every byte; that it is the last one need not be written.
            self._gone, self._paused = True, False
            self._pump()
        else:
            self._failLater(error)

    def release(self, error: BaseException | None) -> None:
        """
        Let go of the connection, as the stream has ended.

        @param error: Why the peer has not got all of it, or L{None} if it has.
        """
        self._released = True
        _stop(self._failing)
        _stop(self._later)
        body, self._body = self._body or self._full, None
        self._full, self._gone = None, False
        if body is not None and error is not None:
            body.abort()
        self.onRelease()

    def pauseProducing(self) -> None:
        """Write nothing: the connection has no room."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Write on."""
        self._paused = False
        self._pump()

    def offer(self, stream: SendStream) -> None:
        """Send, as the stream may have bytes."""
        stream.offered = True
        self._pump()

    def allowance(self, stream: SendStream) -> int:
        """@return: How many bytes to send in this turn."""
        return self._turn

    def withdraw(self, stream: SendStream) -> None:
        """Take note that the stream has no bytes now."""
        stream.offered = False

    def _giveUp(self, error: StreamError) -> None:
        self.stream.giveUp(error)

    def writeChunk(
        self, stream: SendStream, data: BytesLike, fin: bool, sha256: bytes | None
    ) -> None:
        """Write the next bytes of the stream."""
        body = self._body
        stream.send(len(data), fin)
        if body is None and not self._gone:
            return
        if fin:
            self._body, self._full, self._gone = None, body, False
        if body is not None and data:
            # Not every transport takes a view.
            body.write(bytes(data))
            self._gate.wrote(len(data))
        if fin:
            if body is not None:
                body.finish()
            self._owner.finish(stream.id, stream.window.offset, sha256)

    def _pump(self) -> None:
        if self._pumping:
            return
        self._pumping = True
        gate = self._gate
        count = 0
        try:
            while (
                (self._body is not None or self._gone)
                and not self._paused
                and self._core.offered
            ):
                now = self._clock.seconds()
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
        self._later = self._clock.callLater(seconds, self._pump)


class Offer:
    """
    A value that one client without an AMP connection can get, with one C{GET}.

    @ivar ticket: The L{Ticket} for that request.

    @ivar done: A Deferred that fires with the number of bytes when the last byte has
        been handed to the HTTP connection; nothing confirms that it arrived.  It fails
        with L{TicketExpired}, L{TransferRefused}, L{TransferInterrupted},
        L{SourceFailed}, the reason given to L{abort}, or the reason for which the AMP
        connection was lost.  Cancelling it revokes the ticket, or closes the connection
        of the transfer.
    """

    ticket: Ticket

    def __init__(self, id: int, source: Source, multiplexer: StreamMultiplexer) -> None:
        """Offers come from L{StreamConnection.offer}; applications do not make them."""
        core = SendStream(id)
        self.clock = multiplexer.clock
        self.maxBulkDelay = multiplexer.maxBulkDelay
        # The client has no AMP connection that could tell why HTTP broke.
        self._sender = HTTPSender(core, self, grace=0.0)
        self._stream = OutgoingStream(core, source, self._sender, False)
        self._core, self._sender.stream = core, self._stream
        self.done: Deferred[int] = self._stream.done

    def __repr__(self) -> str:
        return f"<Offer, {self._stream.sent} bytes sent>"

    def abort(self, reason: bytes | Exception | Failure = b"STREAM_ABORTED") -> None:
        """
        Revoke the ticket, or close the connection of a transfer that has begun.  Does
        nothing once the offer has ended.

        @param reason: What C{done} fails with: an exception, a Failure, or an error
            code of 1 to 255 bytes.
        """
        if isinstance(reason, bytes):
            self._stream.abort(reason)
        elif not self._core.isEnded:
            failure = reason if isinstance(reason, Failure) else Failure(reason)
            error = failure.value
            known = error if isinstance(error, StreamError) else StreamCancelled()
            self.reset(self._core, known)
            self._stream.fail(failure)

    # For the rest of the package.

    def reset(self, stream: SendStream, error: StreamError) -> None:
        """Give the stream up."""
        if stream.reset(error):
            self._sender.release(error)

    def finish(self, id: int, size: int, sha256: bytes | None) -> None:
        """Take note that the last byte has left."""
        self._core.acknowledge()
        self._sender.release(None)
        self._stream.succeed()


class Transfers:
    """The out-of-band transfers of one AMP connection."""

    commands = TICKET_COMMANDS

    def __init__(self, multiplexer: StreamMultiplexer) -> None:
        """@param multiplexer: The streams of the connection."""
        self._multiplexer = multiplexer
        config = multiplexer.config
        self._server: Any = config.outOfBandServer
        self._client: OutOfBandClient = config.outOfBandClient or _DEFAULT_CLIENT
        self._offers: set[Offer] = set()
        self._offered = 0

    @property
    def listens(self) -> bool:
        """Whether this side has an HTTP server."""
        return self._server is not None

    def accept(
        self,
        id: int,
        size: int | None,
        maxSize: int | None,
        peerListens: bool,
        digest: bool,
    ) -> IncomingStream:
        """
        Expect a stream whose bytes come over HTTP.

        @param size: The length that it was announced with (bytes), or L{None}.

        @param maxSize: The most bytes that it may have, or L{None}.

        @param peerListens: Whether the peer has an HTTP server.

        @param digest: Whether the digest of the bytes will come.

        @raise NoOutOfBandServer: Neither side has an HTTP server.

        @raise StreamError: There can be no such stream.
        """
        bounds = (maxSize, self._multiplexer.limits.maxStreamSize)
        most = min((each for each in bounds if each is not None), default=None)

        def setUp(receiver: HTTPReceiver) -> None:
            Deferred.fromCoroutine(self._setUp(id, size, most, receiver))

        receiver = HTTPReceiver(self._multiplexer, id, setUp)
        stream = self._multiplexer.accept(id, size, maxSize, receiver, digest)
        if not (self.listens or peerListens):
            error = NoOutOfBandServer()
            receiver.fail(error)
            raise error
        return stream

    def open(self, source: Source, digest: bool) -> OutgoingStream:
        """
        Make a stream whose bytes go over HTTP.  Nothing is sent before it is
        started.
        """
        made: list[HTTPSender] = []

        def carry(core: SendStream) -> HTTPSender:
            made.append(HTTPSender(core, self._multiplexer))
            return made[0]

        stream = made[0].stream = self._multiplexer.open(source, digest, carry)
        return stream

    async def offer(self, source: Source) -> Offer:
        """
        Let one client without an AMP connection get a value.

        @raise StreamError: That cannot be done.
        """
        multiplexer = self._multiplexer
        if self._server is None or multiplexer.port.protocol.transport is None:
            source.close()
            raise NoOutOfBandServer
        offer = Offer(self._offered, source, multiplexer)
        self._offered += 1
        self._offers.add(offer)

        def ended(result: Any) -> Any:
            self._offers.discard(offer)
            return result

        offer.done.addBoth(ended)
        try:
            offer.ticket = await self._issue(offer._sender, b"GET", source.size)
        except StreamError:
            # If the connection was lost meanwhile, that is the reason.
            failure = multiplexer.lost or Failure()
            offer.done.addErrback(lambda ignored: None)
            offer.abort(failure)
            failure.raiseException()
        offer._stream.start()
        return offer

    def connectionLost(self, reason: Failure) -> None:
        """End the offers; the streams end by themselves."""
        for offer in list(self._offers):
            offer.abort(reason)

    def read(self, box: amp.AmpBox) -> Deferred[amp.AmpBox]:
        """
        Take a box whose command is one of C{commands}.

        @return: Fires with the answer, or fails with a L{StreamError}.
        """
        return Deferred.fromCoroutine(self._read(box))

    # At the receiver.

    async def _setUp(
        self, id: int, size: int | None, maxSize: int | None, receiver: HTTPReceiver
    ) -> None:
        try:
            if self._server is None:
                answer = await self._ask(id, b"stream.RequestTicket", {})
                ticket = ticketFromBox(answer)
                self._check(ticket, b"GET")
                self._client._get(ticket, receiver)
            else:
                ticket = await self._issue(receiver, b"PUT", size, maxSize)
                await self._ask(id, b"stream.OfferTicket", ticketToBox(ticket))
        except StreamError as error:
            receiver.fail(error)

    async def _ask(
        self, id: int, command: bytes, values: dict[bytes, bytes]
    ) -> amp.AmpBox:
        answered: Deferred[amp.AmpBox] = Deferred()
        box = amp.AmpBox({amp.COMMAND: command, b"id": b"%d" % id, **values})
        self._multiplexer.sendAsking(box, answered.callback)
        answer = await answered
        if amp.ERROR in answer:
            text = answer.get(amp.ERROR_DESCRIPTION, b"").decode("utf-8", "replace")
            raise errorForCode(answer.get(amp.ERROR_CODE, b""), text)
        return answer

    # At the sender.

    async def _read(self, box: amp.AmpBox) -> amp.AmpBox:
        id = parseNumber("id", box.get(b"id"))
        isOffer = box[amp.COMMAND] == b"stream.OfferTicket"
        ticket = ticketFromBox(box) if isOffer else None
        sender = self._multiplexer.carrier(id)
        if not isinstance(sender, HTTPSender):
            raise InvalidValue(f"there is no out-of-band stream {id} (any more)")
        if sender.taken:
            raise ProtocolViolation(
                "there has been a ticket for this stream", b"STREAM_REUSED"
            )
        size = sender.stream.size
        try:
            if ticket is not None:
                # Put the bytes where the receiver wants them.
                self._check(ticket, b"PUT")
                sender.taken = True
                self._client._put(ticket, size, sender)
                return amp.AmpBox()
            # Give the receiver a ticket to get the bytes with.
            if self._server is None:
                raise NoOutOfBandServer
            sender.taken = True
            return amp.AmpBox(ticketToBox(await self._issue(sender, b"GET", size)))
        except StreamError as error:
            # After the answer, which says more than the code of a reset.
            self._multiplexer.clock.callLater(0, sender.fail, error)
            raise

    # At either.

    async def _issue(
        self, target: _End, method: bytes, size: int | None, maxSize: int | None = None
    ) -> Ticket:
        """
        Issue a ticket, which is revoked when the target lets go of it.

        @raise StreamError: That cannot be done.
        """
        host = self._host("getHost")
        issue = self._server._issue(target, method, size, maxSize, host)
        issuing: Deferred[Ticket] = Deferred.fromCoroutine(issue)
        target.onRelease = issuing.cancel
        try:
            ticket = await issuing
        except StreamError:
            raise
        except CancelledError:
            raise StreamCancelled from None
        except Exception:
            _log.failure("no ticket could be issued")
            raise OutOfBandError(
                "no ticket could be issued; see the log of the server"
            ) from None
        target.onRelease = partial(self._server._revoke, ticket)
        return ticket

    def _check(self, ticket: Ticket, method: bytes) -> None:
        if ticket.method != method:
            raise InvalidValue(f"this ticket must be for {method.decode('ascii')}")
        self._client._check(ticket, self._host("getPeer"))

    def _host(self, method: str) -> str:
        """
        @param method: C{"getHost"} or C{"getPeer"}.

        @return: The address of that end of the AMP connection; empty if it has none,
            as with a UNIX socket.
        """
        transport = self._multiplexer.port.protocol.transport
        address = getattr(transport, method)()
        return address.host if isinstance(address, (IPv4Address, IPv6Address)) else ""


def _stop(call: IDelayedCall | None) -> None:
    if call is not None and call.active():
        call.cancel()

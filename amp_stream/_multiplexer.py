# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
All streams of one connection, between the rules and the application.

L{StreamDemultiplexer} is the half that receives: a L{StreamReceiver} mixed into a
stock C{amp.AMP} has no more.  L{StreamMultiplexer} sends as well, and is all that
L{StreamAMP} has and C{amp.AMP} has not, in an object of its own: none of its names can
be in the way of one of AMP's.

AMP closes the connection when the responder to a box without C{_ask} raises.  Nothing
here does: an error of a peer is answered if it asked, told with a control message if it
did not, and logged if that is impossible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from amp_stream._boxes import asAnswer, asError
from amp_stream._commands import chunkFromBox
from amp_stream._incoming import IncomingStream
from amp_stream._outgoing import (
    Announcement,
    OutgoingStream,
    Source,
    WritingSide,
    announcementsIn,
)
from amp_stream._sansio.frames import (
    Chunk,
    Frame,
    MaxStreamData,
    StopSending,
    StreamFrame,
    encodeChunk,
    parseNumber,
)
from amp_stream._sansio.limits import MAX_CHUNK, Limits
from amp_stream._sansio.pacer import HEADERS, SHORTEST, Pace
from amp_stream._sansio.stream import InlineStream, ReceiveStream, SendStream
from amp_stream._sansio.streams import Inbound, Outbound
from amp_stream._transport import IdleTimer, Pump, SendGate
from amp_stream.errors import (
    MAX_CODE,
    CallFailed,
    InvalidChunk,
    NotStreaming,
    StreamError,
    StreamRefused,
    errorForCode,
)

__all__ = [
    "WIRE_COMMANDS",
    "BoxPort",
    "Carrier",
    "Extension",
    "OutgoingCarrier",
    "StreamDemultiplexer",
    "StreamMultiplexer",
    "frameToBox",
]

_log = Logger()

WIRE_COMMANDS = frozenset(
    {b"StreamData", b"MaxStreamData", b"ResetStream", b"StopSending"}
)
"""
The names of the commands of streams.
"""

EXTENSION_COMMANDS = frozenset({b"TakeTicket", b"AskTicket"})
"""
The commands of extensions.  A connection that does not use the extension refuses them.
"""


class Extension(Protocol):
    """
    Another way for the bytes of a connection's streams to travel.

    @cvar commands: The names of the commands that it takes.
    """

    commands: frozenset[bytes]

    def read(self, box: amp.AmpBox) -> Deferred[amp.AmpBox]:
        """
        Take a box whose command is one of C{commands}.

        @return: Fires with the answer, or fails with a L{StreamError}.
        """

    def connectionLost(self, reason: Failure) -> None:
        """The connection is gone."""


class Carrier(Protocol):
    """Brings the bytes of an incoming stream by another connection."""

    def wanted(self, held: int) -> None:
        """
        A consumer takes the bytes.

        @param held: How many still wait for that (bytes).
        """

    def release(self, error: BaseException | None) -> None:
        """
        The stream has ended.

        @param error: Why there is no complete value, or L{None} if there is.
        """


class OutgoingCarrier(WritingSide, Protocol):
    """Gets the bytes of an outgoing stream out by another connection."""

    def release(self, error: BaseException | None) -> None:
        """
        The stream has ended.

        @param error: Why the peer has not got all of it, or L{None} if it has.
        """


class BoxPort(Protocol):
    """The protocol of the connection, as far as its streams need it."""

    transport: Any
    bulkServer: Any
    bulkClient: Any

    @property
    def writeVersion(self) -> int:
        """The version of AMP to write."""

    def sendBox(self, box: amp.AmpBox) -> None:
        """Send a box."""

    def mayWriteBulk(self) -> bool:
        """Whether a chunk may be written now, as far as AMP is concerned."""


_Extension = TypeVar("_Extension", bound=Extension)


class StreamDemultiplexer:
    """
    The streams that a peer sends: hands their bytes to the application, keeps back the
    answers to senders that wait for them, and takes the commands of streams.

    @ivar lost: Why the connection is gone, or L{None} while it is not.

    @ivar peerKnown: Whether the peer is known to understand the commands of streams, so
        that they can be sent to it without C{_ask}.  Any of them proves it but a
        C{StreamData} that wants an answer, which a stock C{amp.AMP} can send.
    """

    def __init__(self, limits: Limits, send: Callable[[Frame], object]) -> None:
        """@param send: Sends a control message to the peer."""
        self.limits = limits
        self.lost: Failure | None = None
        self.peerKnown = False
        self.collectSize = limits.maxCollectSize
        self._send = send
        self._inbound = Inbound(limits)
        self._incoming: dict[int, IncomingStream] = {}
        self._carriers: dict[int, Carrier] = {}
        self._answers: dict[int, list[Deferred[dict[str, Any]]]] = {}
        self._receiveTimer = IdleTimer(self._inbound.interval, self._receiveExpired)
        self._handlers: dict[bytes, Callable[[amp.AmpBox, bool], object]] = {
            b"StreamData": self._streamData,
            b"MaxStreamData": self._maxStreamData,
            b"ResetStream": self._resetStream,
            b"StopSending": self._stopSending,
        }

    @property
    def isBusy(self) -> bool:
        """Whether any stream is in progress."""
        return bool(self._inbound.streams or self._inbound.inline)

    def useClock(self, clock: IReactorTime) -> None:
        """Measure from now on how long streams wait."""
        self._receiveTimer.useClock(clock)

    # Boxes that arrive

    def readBox(self, box: amp.AmpBox) -> Deferred[amp.AmpBox]:
        """
        Take a box.

        @param box: Its C{_command} is one of L{WIRE_COMMANDS}.

        @return: A Deferred that fires with the box of the answer.  It only ever
            fails if the peer asked, and then with a C{RemoteAmpError}.
        """
        asked = amp.ASK in box
        try:
            result = self._handlers[box[amp.COMMAND]](box, asked)
        except StreamError:
            return _answerError(Failure(), asked)
        except Exception:
            _log.failure("while taking a stream command")
            return _answerError(Failure(StreamError()), asked)
        if isinstance(result, Deferred):
            return result.addCallbacks(_answerBox, _answerError, errbackArgs=(asked,))
        return succeed(amp.AmpBox())

    def readFrame(self, frame: StreamFrame) -> None:
        """
        Take the bytes of a stream whose sender keeps within a window: a frame, or
        several in a row, of which none is the last or comes with a digest.
        """
        self.peerKnown = True
        id, offset, data = frame
        try:
            self._receive(id, offset, data)
        except StreamError as error:
            _log.debug("a stream command was refused: {error}", error=error)
        except Exception:
            _log.failure("while taking a stream command")

    def _streamData(self, box: amp.AmpBox, asked: bool) -> object:
        if not asked:
            self.peerKnown = True
        id = box.get(b"id")
        try:
            chunk = chunkFromBox(b"data", box)
        except InvalidChunk as error:
            with suppress(InvalidChunk):
                self.refuse(parseNumber("id", id), error, tell=not asked)
            raise
        if asked:
            return self.receiveAsked(chunk)
        self._receive(chunk.id, chunk.offset, chunk.data, chunk.fin, chunk.sha256)
        return None

    def _maxStreamData(self, box: amp.AmpBox, asked: bool) -> None:
        self.peerKnown = True
        id = parseNumber("id", box.get(b"id"))
        self._granted(id, parseNumber("maximum", box.get(b"maximum")))

    def _resetStream(self, box: amp.AmpBox, asked: bool) -> None:
        self.peerKnown = True
        stream = self._inbound.reset(
            parseNumber("id", box.get(b"id")),
            errorForCode(_codeOf(box)),
            parseNumber("final_size", box.get(b"final_size")),
        )
        if stream is not None and stream.error is not None:
            self._receiveFailed(stream.id, stream.error)

    def _stopSending(self, box: amp.AmpBox, asked: bool) -> None:
        self.peerKnown = True
        id = parseNumber("id", box.get(b"id"))
        self.sendFailed(id, errorForCode(_codeOf(box)))

    def _granted(self, id: int, maximum: int) -> None:
        """The peer will take more of an outgoing stream: here, there is none."""

    def sendFailed(self, id: int, error: StreamError, tell: bool = True) -> None:
        """
        The peer does not want an outgoing stream: here, there is none.

        @param tell: Whether the peer expects to be told that no more will come.
        """

    # Incoming streams

    def _receive(
        self,
        id: int,
        offset: int,
        data: bytes,
        fin: bool = False,
        sha256: bytes | None = None,
    ) -> None:
        now = self._receiveTimer.now()
        try:
            stream = self._inbound.receive(id, offset, data, fin, sha256, now=now)
        except StreamError as error:
            self._receiveFailed(id, error)
            raise
        if stream is not None:
            self._received(stream)
        elif self._inbound.frames:
            self._flushReceived()

    def receiveAsked(self, chunk: Chunk) -> Deferred[dict[str, Any]]:
        """
        Take a chunk whose sender waits for an answer.

        @return: A Deferred that fires with the response of C{StreamData}, once
            there is room for the next chunk.

        @raise StreamError: If the stream fails with it, or has failed before.
        """
        with self._failing(chunk.id):
            stream = self._inbound.receive(
                chunk.id, chunk.offset, chunk.data, chunk.fin, chunk.sha256, asked=True
            )
        if stream is None:
            return succeed({})
        self._received(stream)
        if stream.error is not None:
            # Its consumer gave up at the very bytes of this chunk.
            raise stream.error
        if stream.hasRoom:
            return succeed(self._response(stream))
        answer: Deferred[dict[str, Any]] = Deferred()
        self._answers.setdefault(chunk.id, []).append(answer)
        return answer

    def refuse(self, id: int, error: StreamError, tell: bool) -> None:
        """
        Give up the stream of a chunk that makes no sense.

        @param tell: Whether its sender has to be told.
        """
        self._inbound.refuse(id, error, tell)
        self._receiveFailed(id, error)

    def accept(
        self,
        id: int,
        size: int | None = None,
        maxSize: int | None = None,
        carrier: Carrier | None = None,
        digest: bool = False,
    ) -> IncomingStream:
        """
        Take a stream, before or after its first chunk.

        @param size: How many bytes it was announced with, or L{None}.

        @param maxSize: How many bytes it may have, or L{None} for no bound other
            than that of the limits.

        @param carrier: Brings its bytes, if that is not done in chunks.

        @param digest: Whether the digest of a stream with a carrier will come.

        @raise StreamError: If it cannot be had.
        """
        if self.lost is not None:
            self.lost.raiseException()
        try:
            stream = self._inbound.claim(id, size, maxSize, carrier is not None, digest)
        except StreamError as error:
            if id not in self._inbound.streams:
                # The stream itself has failed; it was not accepted before.
                self._receiveFailed(id, error)
            raise
        handle = self._incoming[id] = IncomingStream(stream, self)
        if carrier is not None:
            self._carriers[id] = carrier
        self._receiveTimer.arm()
        return handle

    def acceptInline(self, data: bytes, maxSize: int | None = None) -> IncomingStream:
        """
        Take a stream whose bytes came inside the box that announced it.

        @param maxSize: See L{accept}.

        @raise StreamError: If it cannot be had.
        """
        return IncomingStream(self._inbound.takeInline(data, maxSize), self)

    def feed(self, id: int, data: bytes, last: bool = False) -> int:
        """
        Take the next bytes of a stream from its carrier.

        @param last: Whether the carrier has no more.

        @return: How many bytes wait for a consumer (bytes).

        @raise StreamError: If the stream fails with them, or has ended.
        """
        with self._failing(id):
            stream = self._inbound.feed(id, data, last)
        if stream is None:
            raise StreamRefused
        self._received(stream)
        return stream.held

    def read(self, stream: ReceiveStream | InlineStream) -> bytes:
        """See L{ReadingSide.read}."""
        inbound = self._inbound
        if isinstance(stream, InlineStream):
            return inbound.readInline(stream)
        data = inbound.read(stream, self._receiveTimer.now())
        if not data and stream.isEnded:
            self._dropIncoming(stream.id)
        elif self._carriers and stream.id in self._carriers:
            self._carriers[stream.id].wanted(stream.held)
        if self._answers and stream.id in self._answers and stream.hasRoom:
            self._answer(stream)
        if inbound.frames:
            self._flushReceived()
        return data

    def stop(self, stream: ReceiveStream | InlineStream, error: StreamError) -> None:
        """See L{ReadingSide.stop}."""
        if isinstance(stream, InlineStream):
            self._inbound.stopInline(stream, error)
            return
        self._inbound.stop(stream, error)
        self._receiveFailed(stream.id, error)

    def giveUp(self, id: int, error: StreamError) -> None:
        """Give an incoming stream up, if it has not ended."""
        stream = self._inbound.streams.get(id)
        if stream is not None:
            self.stop(stream, error)

    def connectionLost(self, reason: Failure) -> None:
        """Fail every stream that is not complete, and forget the rest."""
        self.lost = reason
        self._receiveTimer.stop()
        handles, self._incoming = self._incoming, {}
        answers, self._answers = self._answers, {}
        carriers, self._carriers = self._carriers, {}
        complete = {stream.id for stream in self._inbound.clear() if stream.isComplete}
        for id, handle in handles.items():
            if id not in complete:
                # The sender of a complete value was told that it has arrived.
                handle.fail(reason)
        for waiting in answers.values():
            for answer in waiting:
                answer.errback(reason)
        for id, carrier in carriers.items():
            carrier.release(None if id in complete else reason.value)

    @contextmanager
    def _failing(self, id: int) -> Iterator[None]:
        """All who wait for a stream fail with the error that it fails with."""
        try:
            yield
        except StreamError as error:
            self._receiveFailed(id, error)
            raise

    def _received(self, stream: ReceiveStream) -> None:
        handle = self._incoming.get(stream.id)
        if handle is not None:
            handle.deliver()
        elif self._inbound.streams:
            self._receiveTimer.arm()
        if self._answers and stream.isComplete and stream.id in self._answers:
            self._answer(stream)
        if self._inbound.frames:
            self._flushReceived()

    def _receiveFailed(self, id: int, error: StreamError) -> None:
        self._flushReceived()
        handle = self._dropIncoming(id, error)
        for answer in self._answers.pop(id, ()):
            answer.errback(error)
        if handle is not None:
            handle.fail(Failure(error))

    def _dropIncoming(
        self, id: int, error: StreamError | None = None
    ) -> IncomingStream | None:
        handle = self._incoming.pop(id, None)
        if self._carriers and id in self._carriers:
            self._carriers.pop(id).release(error)
        if not self._inbound.streams:
            self._receiveTimer.stop()
        return handle

    def _answer(self, stream: ReceiveStream) -> None:
        for answer in self._answers.pop(stream.id):
            answer.callback(self._response(stream))

    def _response(self, stream: ReceiveStream) -> dict[str, Any]:
        return {"maximum": self._inbound.maximum(stream)}

    def _flushReceived(self) -> None:
        frames, self._inbound.frames = self._inbound.frames, []
        for frame in frames:
            self._send(frame)

    def _receiveExpired(self, now: float) -> bool:
        for stream in self._inbound.expire(now):
            if stream.error is not None:
                self._receiveFailed(stream.id, stream.error)
        return bool(self._inbound.streams)


class StreamMultiplexer(StreamDemultiplexer):
    """
    The streams of one connection, in both directions, and the boxes that carry them.

    @ivar port: The protocol.

    @ivar clock: The reactor.

    @ivar maxBulkDelay: See L{Limits}.

    @ivar commands: The names of the commands that are taken here.

    @ivar turn: The chunks of the turn that is under way, in pieces.
    """

    def __init__(self, port: BoxPort, limits: Limits, clock: IReactorTime) -> None:
        super().__init__(limits, self._sendFrame)
        self.port = port
        self.clock = clock
        self.maxBulkDelay = limits.maxBulkDelay
        self.commands = set(WIRE_COMMANDS | EXTENSION_COMMANDS)
        self.turn: list[bytes | memoryview] = []
        self._pump = Pump(self._writeNext, clock)
        self._pace = Pace(limits.chunk)
        self._gate = SendGate(None, None)
        self._outbound = Outbound(limits)
        # See L{WritingSide}.
        self.allowance = self._outbound.allowance
        self.withdraw = self._outbound.withdraw
        self._outgoing: dict[int, OutgoingStream] = {}
        self._outgoingCarriers: dict[int, OutgoingCarrier] = {}
        # Ends of streams whose bytes went elsewhere: id, length, digest.
        self._ends: list[tuple[int, int, bytes | None]] = []
        self._sendTimer = IdleTimer(self._outbound.interval, self._sendExpired)
        self._extensions: dict[Callable[[StreamMultiplexer], Any], Extension] = {}
        self._extensionOf: dict[bytes, Extension] = {}
        # Boxes that could not be sent while the peer was asked to switch the protocol.
        self._held: list[amp.AmpBox] = []
        # By tag: who gets the answer.
        self._asks: dict[bytes, Callable[[amp.AmpBox], object]] = {}
        self._counter = 0
        self._receiveTimer.useClock(clock)
        self._sendTimer.useClock(clock)

    @property
    def isBusy(self) -> bool:
        """Whether any stream is in progress, in either direction."""
        return bool(self._outgoing) or super().isBusy

    @property
    def isAsking(self) -> bool:
        """Whether an answer may be to a question of the stream layer."""
        return bool(self._asks)

    def connectionMade(self, transport: Any) -> None:
        """There is a transport to write to."""
        self._gate = SendGate(transport, self.maxBulkDelay)
        self._pump.start(transport)

    def connectionLost(self, reason: Failure) -> None:
        """Fail everything, and let go of the transport."""
        self._pump.stopProducing()
        self._asks.clear()
        self._held.clear()
        super().connectionLost(reason)
        self._failOutgoing(reason)
        for extension in self._extensions.values():
            extension.connectionLost(reason)

    def kick(self) -> None:
        """What kept boxes and chunks from being written may be over."""
        held, self._held = self._held, []
        for box in held:
            self._sendOwn(box)
        self._pump.kick()

    def extension(self, make: Callable[[StreamMultiplexer], _Extension]) -> _Extension:
        """
        @param make: Makes an extension; it is called once for a connection.

        @return: The extension of this connection.
        """
        found: Any = self._extensions.get(make)
        if found is None:
            found = self._extensions[make] = make(self)
            for command in found.commands:
                self._extensionOf[command] = found
        extension: _Extension = found
        return extension

    # Boxes of the stream layer

    def takes(self, box: amp.AmpBox) -> bool:
        """
        Take a box that has arrived, if it is one of the stream layer.

        @return: Whether it was.
        """
        command = box.get(amp.COMMAND)
        if command is None:
            return self._answered(box)
        if command in WIRE_COMMANDS:
            answer = self.readBox(box)
        elif command in self._extensionOf:
            answer = self._extensionOf[command].read(box).addErrback(_remote)
        elif command in EXTENSION_COMMANDS:
            error = InvalidChunk("there is no out-of-band stream here")
            answer = fail(_remoteError(error))
        else:
            return False
        ask = box.get(amp.ASK)
        if ask is not None:
            answer.addCallbacks(
                self._sendAnswer,
                self._sendError,
                callbackArgs=(ask,),
                errbackArgs=(ask,),
            )
        return True

    def sendAsking(
        self, box: amp.AmpBox, answered: Callable[[amp.AmpBox], object]
    ) -> None:
        """
        Send a box of the stream layer's own, with a question.

        @param answered: Called with the box that answers it, be that with an error or
            not.
        """
        box[amp.ASK] = self._ask(answered)
        self._sendOwn(box)

    def answer(self, box: amp.AmpBox) -> None:
        """Answer a box with nothing, if it asks."""
        if amp.ASK in box:
            self._sendAnswer(amp.AmpBox(), box[amp.ASK])

    def answerError(self, box: amp.AmpBox, error: StreamError) -> None:
        """Answer a box with an error, if it asks."""
        if amp.ASK in box:
            self._sendError(Failure(_remoteError(error)), box[amp.ASK])

    def _sendAnswer(self, box: amp.AmpBox, ask: bytes) -> None:
        self._sendOwn(asAnswer(box, ask))

    def _sendError(self, failure: Failure, ask: bytes) -> None:
        self._sendOwn(asError(failure, ask))

    def _sendFrame(self, frame: Frame) -> None:
        """
        Send a control message.  Until the peer is known to understand it, with a
        question: a stock peer answers that, and otherwise would hang up.
        """
        box = frameToBox(frame)
        if self.peerKnown:
            self._sendOwn(box)
        else:
            self.sendAsking(box, self._noteKnown)

    def _sendOwn(self, box: amp.AmpBox) -> None:
        try:
            self.port.sendBox(box)
        except amp.ProtocolSwitched:
            # Perhaps it will not be switched after all.
            self._held.append(box)
        except ConnectionLost:
            # Not the box itself: there may be a token in it.
            command = box.get(amp.COMMAND, b"an answer").decode("ascii", "replace")
            _log.debug("the connection went before {what} was sent", what=command)

    def _ask(self, answered: Callable[[amp.AmpBox], object]) -> bytes:
        """Make a tag.  AMP's own are hexadecimal numbers, and C{s} is no digit."""
        self._counter += 1
        tag = b"s%x" % self._counter
        self._asks[tag] = answered
        return tag

    def _answered(self, box: amp.AmpBox) -> bool:
        tag = box.get(amp.ANSWER) or box.get(amp.ERROR)
        if tag is None or tag not in self._asks:
            return False
        self._asks.pop(tag)(box)
        return True

    def _noteKnown(self, box: amp.AmpBox) -> None:
        if amp.ANSWER in box:
            self.peerKnown = True

    # Outgoing streams

    def open(
        self,
        source: Source,
        digest: bool,
        carry: Callable[[SendStream], OutgoingCarrier] | None = None,
    ) -> OutgoingStream:
        """
        Make a stream, which sends nothing before it is started.

        @param carry: Makes what gets its bytes out by another connection; L{None} to
            send them in chunks.
        """
        core = self._outbound.open()
        side: WritingSide = self
        if carry is not None:
            side = self._outgoingCarriers[core.id] = carry(core)
        stream = self._outgoing[core.id] = OutgoingStream(core, source, side, digest)
        self._sendTimer.arm()
        if self.lost is not None:
            self._failOutgoing(self.lost)
        return stream

    def carrier(self, id: int) -> OutgoingCarrier | None:
        """
        @return: What gets the bytes of a stream out, if that is not done in chunks,
            and the stream has not ended.
        """
        return self._outgoingCarriers.get(id)

    def announce(self, box: amp.AmpBox) -> list[Announcement]:
        """
        Give the streams that a box announces their numbers.

        @return: The announcements, to be begun once the box has been written.
        """
        found = announcementsIn(box)
        for name, announcement in found:
            stream = announcement.open(self, box, name, announcement)
            stream.done.addErrback(_logEnd, stream)
            announcement.stream = stream
            box[name] = b"%d" % stream.id
        return [announcement for _, announcement in found]

    def retract(self, announced: list[Announcement]) -> None:
        """
        The box of these announcements was not sent after all: the peer has never
        heard of them, and need not.
        """
        for announcement in announced:
            if announcement.stream is not None:
                self.sendFailed(announcement.stream.id, CallFailed(), tell=False)

    def finish(self, id: int, size: int, sha256: bytes | None) -> None:
        """The last byte of a stream has left by another connection: say so here."""
        self._ends.append((id, size, sha256))
        self._pump.kick()

    def offer(self, stream: SendStream) -> None:
        """See L{WritingSide.offer}."""
        if self._outbound.offer(stream) and not self._pump.isBusy:
            self._pump.kick()

    def writeChunk(
        self,
        stream: SendStream,
        data: bytes | memoryview,
        fin: bool,
        sha256: bytes | None,
    ) -> None:
        """See L{WritingSide.writeChunk}."""
        offset = stream.send(len(data), fin)
        self._writeChunk(stream.id, offset, data, fin, sha256)

    def reset(self, stream: SendStream, error: StreamError) -> None:
        """See L{WritingSide.reset}."""
        if self._outbound.reset(stream.id, error) is not None:
            self._flushSent()
            self._dropOutgoing(stream.id, error)

    def sendFailed(self, id: int, error: StreamError, tell: bool = True) -> None:
        """
        The peer wants no more of a stream.

        @param tell: Whether the peer expects to be told that no more will come.
        """
        if self._outbound.reset(id, error, tell) is not None:
            self._flushSent()
            self._dropOutgoing(id, error).fail(Failure(error))

    def writeTurn(self) -> None:
        """
        Write the chunks that the turn has so far: whatever is written now comes behind
        them.
        """
        turn, self.turn = self.turn, []
        if turn:
            self.port.transport.write(b"".join(turn))

    def _writeNext(self) -> bool:
        """
        Write as many chunks as make a turn, all at once: the bytes of each are
        copied once.
        """
        port, pace, gate, outbound = self.port, self._pace, self._gate, self._outbound
        now = self.clock.seconds()
        pace.asked(now, gate.kernel.unsent())
        pace.turn = gate.turn(now, pace.turn)
        if gate.delay:
            pace.held()
            self._pump.hold(gate.delay)
            return True
        gate.kernel.allow(max(SHORTEST, pace.turn // 2))
        outbound.chunk, budget = pace.sizes()
        left = budget
        try:
            while left > 0 and port.mayWriteBulk():
                if self._ends:
                    id, size, sha256 = self._ends.pop(0)
                    if id in self._outgoing:
                        self._writeChunk(id, size, b"", True, sha256)
                        left -= HEADERS
                    continue
                core = outbound.next()
                if core is None:
                    break
                before = core.window.offset
                if self._outgoing[core.id].sendChunk():
                    left -= core.window.offset - before + HEADERS
        finally:
            self.writeTurn()
        written = budget - left
        if not written:
            pace.paused()
            return False
        pace.wrote(written)
        gate.wrote(written)
        return True

    def _writeChunk(
        self,
        id: int,
        offset: int,
        data: bytes | memoryview,
        fin: bool,
        sha256: bytes | None,
    ) -> None:
        """
        Send a chunk.  The answer to the last says that the peer has them all; the
        others ask for one as long as the peer is not known, see L{_sendFrame}.
        """
        ask = None
        if fin or not self.peerKnown:
            ask = self._ask(partial(self._chunkAnswered, id, fin))
        # Of the others, the bytes are the same in both versions.
        version = self.port.writeVersion if len(data) == MAX_CHUNK else 1
        self.turn += encodeChunk(id, offset, data, fin, sha256, ask, version)

    def _chunkAnswered(self, id: int, fin: bool, box: amp.AmpBox) -> None:
        if amp.ERROR in box:
            self._chunkRefused(box, id)
            return
        self.peerKnown = True
        try:
            if b"maximum" in box:
                self._granted(id, parseNumber("maximum", box[b"maximum"]))
        except StreamError as error:
            self.sendFailed(id, error)
        if fin and self._outbound.acknowledge(id) is not None:
            self._dropOutgoing(id, None).succeed()

    def _chunkRefused(self, box: amp.AmpBox, id: int) -> None:
        code = box.get(amp.ERROR_CODE, b"")
        if code == amp.UNHANDLED_ERROR_CODE:
            error: StreamError = NotStreaming(
                "the peer does not know streams: it needs StreamAMP, or "
                "StreamReceiver mixed into its protocol"
            )
            self.sendFailed(id, error, tell=False)
        else:
            text = box.get(amp.ERROR_DESCRIPTION, b"").decode("utf-8", "replace")
            self.sendFailed(id, errorForCode(code, text))

    def _granted(self, id: int, maximum: int) -> None:
        if self._outbound.grant(id, maximum):
            self._pump.kick()

    def _dropOutgoing(self, id: int, error: StreamError | None) -> OutgoingStream:
        stream = self._outgoing.pop(id)
        if self._outgoingCarriers and id in self._outgoingCarriers:
            self._outgoingCarriers.pop(id).release(error)
        if not self._outgoing:
            self._sendTimer.stop()
        return stream

    def _failOutgoing(self, reason: Failure) -> None:
        self._sendTimer.stop()
        self._outbound.clear()
        self._ends.clear()
        streams, self._outgoing = self._outgoing, {}
        carriers, self._outgoingCarriers = self._outgoingCarriers, {}
        for stream in streams.values():
            stream.fail(reason)
        for carrier in carriers.values():
            carrier.release(reason.value)

    def _flushSent(self) -> None:
        frames, self._outbound.frames = self._outbound.frames, []
        for frame in frames:
            self._sendFrame(frame)

    def _sendExpired(self, now: float) -> bool:
        expired = self._outbound.expire(now)
        self._flushSent()
        for core in expired:
            if core.error is not None:
                self._dropOutgoing(core.id, core.error).fail(Failure(core.error))
        return bool(self._outgoing)


def _codeOf(box: amp.AmpBox) -> bytes:
    code: bytes | None = box.get(b"code")
    if code is None or not 0 < len(code) <= MAX_CODE:
        raise InvalidChunk(f"code must be 1 to {MAX_CODE} bytes")
    return code


def _answerBox(response: dict[str, Any]) -> amp.AmpBox:
    return amp.AmpBox({name: b"%d" % number for name, number in response.items()})


def _answerError(failure: Failure, asked: bool) -> Deferred[amp.AmpBox]:
    """Answer with the error, or swallow it if the peer did not ask."""
    error = failure.value
    if not isinstance(error, StreamError):
        # The connection is lost, and the answer with it.
        return succeed(amp.AmpBox())
    if not asked:
        _log.debug("a stream command was refused: {error}", error=error)
        return succeed(amp.AmpBox())
    return fail(amp.RemoteAmpError(error.code, str(error), fatal=False, local=failure))


def frameToBox(frame: Frame) -> amp.AmpBox:
    """
    Write a control message.

    @return: Its box, without C{_ask}.
    """
    if isinstance(frame, MaxStreamData):
        command, rest = b"MaxStreamData", {b"maximum": b"%d" % frame.maximum}
    elif isinstance(frame, StopSending):
        command, rest = b"StopSending", {b"code": frame.code}
    else:
        command, rest = (
            b"ResetStream",
            {b"code": frame.code, b"final_size": b"%d" % frame.finalSize},
        )
    return amp.AmpBox({amp.COMMAND: command, b"id": b"%d" % frame.id, **rest})


def _remote(failure: Failure) -> Failure:
    """Give an error the form in which it is sent."""
    error = failure.value
    if not isinstance(error, StreamError):
        _log.failure("while an extension took a command", failure)
        error = StreamError()
    return Failure(_remoteError(error))


def _remoteError(error: StreamError) -> amp.RemoteAmpError:
    return amp.RemoteAmpError(error.code, str(error))


def _logEnd(failure: Failure, stream: OutgoingStream) -> None:
    """The call that announced a stream tells of its end; there is no Deferred."""
    _log.debug("{stream} ended: {error}", stream=stream, error=failure.value)

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The incoming streams of one connection, between the rules and the application.

The outgoing streams of one connection, between the rules and the transport.

The commands of the stream layer as boxes: what a peer sent, to whom it goes.

AMP closes the connection when the responder to a box without C{_ask} raises.
Nothing here does: what a peer gets wrong is answered if it asked, told with a
control message if it did not, and logged if that is impossible.

The stream layer of one connection that sends as well as receives.

This is everything that L{StreamAMP} has and C{amp.AMP} has not, in an object of
its own: none of its names can be in the way of one of AMP's.
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

from amp_stream._boxes import ISendingSide, asAnswer, asError
from amp_stream._commands import chunkFromBox
from amp_stream._incoming import IncomingStream
from amp_stream._limits import MAX_CHUNK, Limits
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
    "BoxReader",
    "Carrier",
    "ChunkWriter",
    "Extension",
    "IncomingSide",
    "OutgoingCarrier",
    "OutgoingSide",
    "StreamLink",
    "frameToBox",
]


class Carrier(Protocol):
    """
    What brings the bytes of a stream by another connection.
    """

    def wanted(self, held: int) -> None:
        """
        Somebody takes the bytes.

        @param held: How many still wait for that (bytes).
        """

    def release(self, error: BaseException | None) -> None:
        """
        The stream has ended.

        @param error: Why there is no complete value, or L{None} if there is.
        """


class IncomingSide:
    """
    Drives an L{Inbound}: hands bytes to their streams, keeps back the answers to
    senders that wait for them, and passes control messages on.

    @ivar lost: Why the connection is gone, or L{None} while it is not.
    """

    def __init__(self, limits: Limits, send: Callable[[Frame], object]) -> None:
        """
        @param send: What sends a control message to the peer.
        """
        self._inbound = Inbound(limits)
        self._send = send
        self._handles: dict[int, IncomingStream] = {}
        self._carriers: dict[int, Carrier] = {}
        self._answers: dict[int, list[Deferred[dict[str, Any]]]] = {}
        self.lost: Failure | None = None
        self._timer = IdleTimer(self._inbound.interval, self._expire)
        self.collectSize = limits.maxCollectSize

    @property
    def isBusy(self) -> bool:
        """
        Whether bytes are expected, or kept.
        """
        return bool(self._inbound.streams or self._inbound.inline)

    def useClock(self, clock: IReactorTime) -> None:
        """
        Measure from now on how long streams wait.
        """
        self._timer.useClock(clock)

    def receive(self, chunk: Chunk) -> None:
        """
        Take a chunk whose sender keeps within a window.

        @raise StreamError: If the stream fails with it.  The sender is told.
        """
        with self._failing(chunk.id):
            stream = self._inbound.receive(
                chunk.id,
                chunk.offset,
                chunk.data,
                chunk.fin,
                chunk.sha256,
                now=self._timer.now,
            )
        self._received(stream)

    def receivePlain(self, id: int, offset: int, data: bytes) -> None:
        """
        Take a chunk, or several in a row, of which none is the last or comes with a
        digest: most do nothing but go on where the stream was.

        @raise StreamError: See L{receive}.
        """
        stream = self._inbound.extend(id, offset, data, self._timer.now)
        if stream is None:
            with self._failing(id):
                stream = self._inbound.receive(id, offset, data, now=self._timer.now)
            self._received(stream)
            return
        self._deliver(id)
        self._flush()

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
        self._failed(id, error)

    def claim(
        self,
        id: int,
        size: int | None = None,
        maxSize: int | None = None,
        carrier: Carrier | None = None,
        digest: bool = False,
    ) -> IncomingStream:
        """
        Ask for a stream.

        @param size: How many bytes it was announced with, or L{None}.

        @param maxSize: How many bytes it may have, or L{None} for no bound other
            than that of the limits.

        @param carrier: What brings its bytes, if that is not the peer's chunks.

        @param digest: Whether the digest of a stream with a carrier will come.

        @raise StreamError: If it cannot be had.
        """
        if self.lost is not None:
            self.lost.raiseException()
        try:
            stream = self._inbound.claim(id, size, maxSize, carrier is not None, digest)
        except StreamError as error:
            if id not in self._inbound.streams:
                # The stream itself has failed; it is not somebody else's.
                self._failed(id, error)
            raise
        handle = self._handles[id] = IncomingStream(stream, self)
        if carrier is not None:
            self._carriers[id] = carrier
        self._timer.arm()
        return handle

    def takeInline(self, data: bytes, maxSize: int | None = None) -> IncomingStream:
        """
        Take a stream whose bytes came inside the box that announced it.

        @param maxSize: How many bytes it may have, or L{None} for no bound other
            than that of the limits.

        @raise StreamError: If it cannot be had.
        """
        return IncomingStream(self._inbound.takeInline(data, maxSize), self)

    def feed(self, id: int, data: bytes, last: bool = False) -> int:
        """
        Take the next bytes of a stream from its carrier.

        @param last: Whether the carrier has no more.

        @return: How many bytes wait for somebody to take them (bytes).

        @raise StreamError: If the stream fails with them, or has ended.
        """
        stream = None if last else self._inbound.feedOn(id, data)
        if stream is not None:
            self._deliver(id)
            self._flush()
            return stream.held
        with self._failing(id):
            stream = self._inbound.feed(id, data, last)
        if stream is None:
            raise StreamRefused
        self._received(stream)
        return stream.held

    def reset(self, id: int, error: StreamError, finalSize: int) -> None:
        """
        The sender of a stream gave up.
        """
        stream = self._inbound.reset(id, error, finalSize)
        if stream is not None and stream.error is not None:
            self._failed(id, stream.error)

    def read(self, stream: ReceiveStream | InlineStream) -> bytes:
        """
        See L{ReadingSide.read}.
        """
        if isinstance(stream, InlineStream):
            return self._inbound.readInline(stream)
        data = self._inbound.read(stream, self._timer.now)
        if stream.isEnded:
            self._drop(stream.id)
        elif self._carriers and stream.id in self._carriers:
            self._carriers[stream.id].wanted(stream.held)
        if stream.id in self._answers and stream.hasRoom:
            self._answer(stream)
        self._flush()
        return data

    def stop(self, stream: ReceiveStream | InlineStream, error: StreamError) -> None:
        """
        See L{ReadingSide.stop}.
        """
        if isinstance(stream, InlineStream):
            self._inbound.stopInline(stream, error)
            return
        self._inbound.stop(stream, error)
        self._failed(stream.id, error)

    def giveUp(self, id: int, error: StreamError) -> None:
        """
        Give a stream up, if it has not ended.
        """
        stream = self._inbound.streams.get(id)
        if stream is not None:
            self.stop(stream, error)

    def connectionLost(self, reason: Failure) -> None:
        """
        Fail everything that is not complete, and forget the rest.
        """
        self.lost = reason
        self._timer.stop()
        handles, self._handles = self._handles, {}
        answers, self._answers = self._answers, {}
        carriers, self._carriers = self._carriers, {}
        complete = {stream.id for stream in self._inbound.clear() if stream.isComplete}
        for id, handle in handles.items():
            handle.lost(reason, id in complete)
        for waiting in answers.values():
            for answer in waiting:
                answer.errback(reason)
        for id, carrier in carriers.items():
            carrier.release(None if id in complete else reason.value)

    @contextmanager
    def _failing(self, id: int) -> Iterator[None]:
        """
        What a stream fails with, all who wait for it fail with, too.
        """
        try:
            yield
        except StreamError as error:
            self._failed(id, error)
            raise

    def _deliver(self, id: int) -> None:
        handle = self._handles.get(id)
        if handle is not None:
            handle.deliver()

    def _received(self, stream: ReceiveStream | None) -> None:
        if stream is not None:
            self._deliver(stream.id)
            if stream.isComplete and stream.id in self._answers:
                self._answer(stream)
            if self._inbound.streams:
                self._timer.arm()
        self._flush()

    def _failed(self, id: int, error: StreamError) -> None:
        """
        A stream has failed: tell everybody who waits for it.
        """
        self._flush()
        handle = self._drop(id, error)
        for answer in self._answers.pop(id, ()):
            answer.errback(error)
        if handle is not None:
            handle.fail(Failure(error))

    def _drop(self, id: int, error: StreamError | None = None) -> IncomingStream | None:
        handle = self._handles.pop(id, None)
        if self._carriers and id in self._carriers:
            self._carriers.pop(id).release(error)
        if not self._inbound.streams:
            self._timer.stop()
        return handle

    def _answer(self, stream: ReceiveStream) -> None:
        for answer in self._answers.pop(stream.id):
            answer.callback(self._response(stream))

    def _response(self, stream: ReceiveStream) -> dict[str, Any]:
        return {"maximum": self._inbound.maximum(stream)}

    def _flush(self) -> None:
        frames = self._inbound.frames
        if frames:
            self._inbound.frames = []
            for frame in frames:
                self._send(frame)

    def _expire(self, now: float) -> bool:
        """
        Give up what has waited too long.

        @return: Whether there is anything left to wait for.
        """
        for stream in self._inbound.expire(now):
            if stream.error is not None:
                self._failed(stream.id, stream.error)
        return bool(self._inbound.streams)


ChunkWriter = Callable[[int, int, "bytes | memoryview", bool, "bytes | None"], None]
"""
Sends a chunk: id, offset, bytes, whether they are the last, digest.
"""


class OutgoingCarrier(WritingSide, Protocol):
    """
    Gets the bytes of a stream out by another connection.
    """

    def release(self, error: BaseException | None) -> None:
        """
        The stream has ended.

        @param error: Why the peer has not got all of it, or L{None} if it has.
        """


class OutgoingSide:
    """
    Drives an L{Outbound}: gives streams their turns and reads their sources.

    @ivar clock: The reactor.

    @ivar maxBulkDelay: See L{Limits}.
    """

    clock: IReactorTime

    def __init__(
        self,
        limits: Limits,
        send: Callable[[Frame], object],
        write: ChunkWriter,
        kick: Callable[[], None],
    ) -> None:
        """
        @param send: What sends a control message to the peer.

        @param write: What sends a chunk.

        @param kick: What to call when there may be a chunk to send; it leads to
            L{writeNext} being called once the transport has drained.
        """
        self._outbound = Outbound(limits)
        self.maxBulkDelay = limits.maxBulkDelay
        self._send = send
        self._write = write
        self._kick = kick
        self._handles: dict[int, OutgoingStream] = {}
        self._carriers: dict[int, OutgoingCarrier] = {}
        # Ends of streams whose bytes went elsewhere: id, length, digest.
        self._ends: list[tuple[int, int, bytes | None]] = []
        self._timer = IdleTimer(self._outbound.interval, self._expire)

    @property
    def isBusy(self) -> bool:
        """
        Whether there is anything that the peer has not got yet.
        """
        return bool(self._handles)

    def useClock(self, clock: IReactorTime) -> None:
        """
        Measure from now on how long streams wait.
        """
        self.clock = clock
        self._timer.useClock(clock)

    def open(
        self,
        source: Source,
        digest: bool,
        carry: Callable[[SendStream], OutgoingCarrier] | None = None,
    ) -> OutgoingStream:
        """
        Make a stream.  Nothing is sent before it is started.

        @param carry: Makes what gets its bytes out by another connection; L{None} to
            send them in chunks.
        """
        core = self._outbound.open()
        side: WritingSide = self
        if carry is not None:
            side = self._carriers[core.id] = carry(core)
        handle = self._handles[core.id] = OutgoingStream(core, source, side, digest)
        self._timer.arm()
        return handle

    def carrier(self, id: int) -> OutgoingCarrier | None:
        """
        @return: What gets the bytes of a stream out, if that is not done in chunks,
            and the stream has not ended.
        """
        return self._carriers.get(id)

    def finish(self, id: int, size: int, sha256: bytes | None) -> None:
        """
        The last byte of a stream has left by another connection: say so here.
        """
        self._ends.append((id, size, sha256))
        self._kick()

    def writeNext(self, most: int = MAX_CHUNK) -> int | None:
        """
        Let the stream whose turn it is send one chunk.

        @param most: How many bytes it may have.

        @return: How many it has, or L{None} if no stream has any to send.
        """
        while self._ends:
            id, size, sha256 = self._ends.pop(0)
            if id in self._handles:
                self._write(id, size, b"", True, sha256)
                return 0
        outbound = self._outbound
        outbound.chunk = most
        while (core := outbound.next()) is not None:
            before = core.window.offset
            if self._handles[core.id].sendChunk():
                return core.window.offset - before
        return None

    def granted(self, id: int, maximum: int) -> None:
        """
        The peer will take more of a stream.
        """
        if self._outbound.grant(id, maximum):
            self._kick()

    def acknowledged(self, id: int) -> None:
        """
        The peer has every byte of a stream.
        """
        if self._outbound.acknowledge(id) is not None:
            self._drop(id, None).succeed()

    def stopped(self, id: int, error: StreamError, tell: bool = True) -> None:
        """
        The peer wants no more of a stream.

        @param tell: Whether it expects to be told that no more will come.
        """
        if self._outbound.reset(id, error, tell) is not None:
            self._flush()
            self._drop(id, error).fail(Failure(error))

    def connectionLost(self, reason: Failure) -> None:
        """
        Fail everything.
        """
        self._timer.stop()
        self._outbound.clear()
        self._ends.clear()
        handles, self._handles = self._handles, {}
        carriers, self._carriers = self._carriers, {}
        for handle in handles.values():
            handle.fail(reason)
        for carrier in carriers.values():
            carrier.release(reason.value)

    def offer(self, stream: SendStream) -> None:
        """
        See L{WritingSide.offer}.
        """
        self._outbound.offer(stream)
        if self._outbound.hasTurn:
            self._kick()

    def allowance(self, stream: SendStream) -> int:
        """
        See L{WritingSide.allowance}.
        """
        return self._outbound.allowance(stream)

    def withdraw(self, stream: SendStream) -> None:
        """
        See L{WritingSide.withdraw}.
        """
        self._outbound.withdraw(stream)

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
        offset = stream.send(len(data), fin)
        self._write(stream.id, offset, data, fin, sha256)

    def reset(self, stream: SendStream, error: StreamError) -> None:
        """
        See L{WritingSide.reset}.
        """
        if self._outbound.reset(stream.id, error) is not None:
            self._flush()
            self._drop(stream.id, error)

    def _drop(self, id: int, error: StreamError | None) -> OutgoingStream:
        handle = self._handles.pop(id)
        if self._carriers and id in self._carriers:
            self._carriers.pop(id).release(error)
        if not self._handles:
            self._timer.stop()
        return handle

    def _flush(self) -> None:
        frames, self._outbound.frames = self._outbound.frames, []
        for frame in frames:
            self._send(frame)

    def _expire(self, now: float) -> bool:
        expired = self._outbound.expire(now)
        self._flush()
        for stream in expired:
            if stream.error is not None:
                self._drop(stream.id, stream.error).fail(Failure(stream.error))
        return bool(self._handles)


_log = Logger()

WIRE_COMMANDS = frozenset(
    {b"StreamData", b"MaxStreamData", b"ResetStream", b"StopSending"}
)
"""
The names of the commands of the stream layer.
"""


class BoxReader:
    """
    Takes the boxes of the stream layer that arrive on one connection.

    @ivar peerKnown: Whether the peer is known to understand these commands, so
        that they can be sent to it without C{_ask}.  Any of them proves it but a
        C{StreamData} that wants an answer, which a plain C{amp.AMP} can send.
    """

    def __init__(
        self, incoming: IncomingSide, outgoing: ISendingSide | None = None
    ) -> None:
        self.incoming = incoming
        self.outgoing = outgoing
        self.peerKnown = False
        self._handlers: dict[bytes, Callable[[amp.AmpBox, bool], object]] = {
            b"StreamData": self._streamData,
            b"MaxStreamData": self._maxStreamData,
            b"ResetStream": self._resetStream,
            b"StopSending": self._stopSending,
        }

    def read(self, box: amp.AmpBox) -> Deferred[amp.AmpBox]:
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

    def readPlain(self, chunk: StreamFrame) -> None:
        """
        Take a chunk that has not come as a box.
        """
        self.peerKnown = True
        try:
            self.incoming.receivePlain(chunk.id, chunk.offset, chunk.data)
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
                self.incoming.refuse(parseNumber("id", id), error, tell=not asked)
            raise
        if asked:
            return self.incoming.receiveAsked(chunk)
        self.incoming.receive(chunk)
        return None

    def _maxStreamData(self, box: amp.AmpBox, asked: bool) -> None:
        self.peerKnown = True
        id = parseNumber("id", box.get(b"id"))
        maximum = parseNumber("maximum", box.get(b"maximum"))
        if self.outgoing is not None:
            self.outgoing.granted(id, maximum)

    def _resetStream(self, box: amp.AmpBox, asked: bool) -> None:
        self.peerKnown = True
        self.incoming.reset(
            parseNumber("id", box.get(b"id")),
            errorForCode(_code(box)),
            parseNumber("final_size", box.get(b"final_size")),
        )

    def _stopSending(self, box: amp.AmpBox, asked: bool) -> None:
        self.peerKnown = True
        id = parseNumber("id", box.get(b"id"))
        if self.outgoing is not None:
            self.outgoing.stopped(id, errorForCode(_code(box)))


def _code(box: amp.AmpBox) -> bytes:
    code: bytes | None = box.get(b"code")
    if code is None or not 0 < len(code) <= MAX_CODE:
        raise InvalidChunk(f"code must be 1 to {MAX_CODE} bytes")
    return code


def _answerBox(response: dict[str, Any]) -> amp.AmpBox:
    return amp.AmpBox({name: b"%d" % number for name, number in response.items()})


def _answerError(failure: Failure, asked: bool) -> Deferred[amp.AmpBox]:
    """
    Answer with the error, or swallow it if nobody asked.
    """
    error = failure.value
    if not isinstance(error, StreamError):
        # The connection is lost, and the answer with it.
        return succeed(amp.AmpBox())
    if not asked:
        _log.debug("a stream command was refused: {error}", error=error)
        return succeed(amp.AmpBox())
    answer: Deferred[amp.AmpBox] = Deferred()
    answer.errback(
        amp.RemoteAmpError(error.code, str(error), fatal=False, local=failure)
    )
    return answer


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
        """
        The connection is gone.
        """


_Extension = TypeVar("_Extension", bound=Extension)


class BoxPort(Protocol):
    """
    What the stream layer needs of the protocol that it belongs to.
    """

    transport: Any
    bulkServer: Any
    bulkClient: Any

    @property
    def writeVersion(self) -> int:
        """
        The version of AMP to write.
        """

    def sendBox(self, box: amp.AmpBox) -> None:
        """
        Send a box.
        """

    def mayWriteBulk(self) -> bool:
        """
        Whether a chunk may be written now, as far as AMP is concerned.
        """


class StreamLink:
    """
    The streams of one connection, and the boxes that carry them.

    @ivar incoming: Those that the peer sends.

    @ivar outgoing: Those that are sent to it.

    @ivar port: The protocol.

    @ivar limits: What this side allows the peer, and itself.

    @ivar clock: The reactor.

    @ivar reader: What takes the peer's boxes.

    @ivar commands: The names of the commands that are taken here.

    @ivar turn: The chunks of the turn that is under way, in pieces.

    @ivar lost: Why the connection is gone, or L{None} while it is not.
    """

    def __init__(self, port: BoxPort, limits: Limits, clock: IReactorTime) -> None:
        self.port = port
        self.limits = limits
        self.clock = clock
        self._extensions: dict[Callable[[StreamLink], Any], Extension] = {}
        self._extensionOf: dict[bytes, Extension] = {}
        self.commands = set(WIRE_COMMANDS | EXTENSION_COMMANDS)
        self._pump = Pump(self._writeNext, clock)
        self._pace = Pace(limits.chunk)
        self._maxBulkDelay = limits.maxBulkDelay
        self._gate = SendGate(None, None)
        self.turn: list[bytes | memoryview] = []
        self.incoming = IncomingSide(limits, self._sendFrame)
        self.outgoing = OutgoingSide(
            limits, self._sendFrame, self._writeChunk, self._pump.kick
        )
        self.incoming.useClock(clock)
        self.outgoing.useClock(clock)
        self.reader = BoxReader(self.incoming, self.outgoing)
        self.lost: Failure | None = None
        self._counter = 0
        # What could not be sent while the peer was asked to switch the protocol.
        self._held: list[amp.AmpBox] = []
        # By tag: what to do with the answer.
        self._asks: dict[bytes, Callable[[amp.AmpBox], object]] = {}

    def connectionMade(self, transport: Any) -> None:
        """
        There is something to write to.
        """
        self._gate = SendGate(transport, self._maxBulkDelay)
        self._pump.start(transport)

    def connectionLost(self, reason: Failure) -> None:
        """
        Fail everything, and let go of the transport.
        """
        self.lost = reason
        self._pump.stopProducing()
        self._asks.clear()
        self._held.clear()
        self.incoming.connectionLost(reason)
        self.outgoing.connectionLost(reason)
        for extension in self._extensions.values():
            extension.connectionLost(reason)

    @property
    def isBusy(self) -> bool:
        """
        Whether any stream is in progress, in either direction.
        """
        return self.incoming.isBusy or self.outgoing.isBusy

    @property
    def isAsking(self) -> bool:
        """
        Whether an answer may be to a question of the stream layer.
        """
        return bool(self._asks)

    def kick(self) -> None:
        """
        What kept boxes and chunks from being written may be over.
        """
        held, self._held = self._held, []
        for box in held:
            self._send(box)
        self._pump.kick()

    def extension(self, make: Callable[[StreamLink], _Extension]) -> _Extension:
        """
        @param make: What makes an extension; it is called once for a connection.

        @return: The extension of this connection.
        """
        found: Any = self._extensions.get(make)
        if found is None:
            found = self._extensions[make] = make(self)
            for command in found.commands:
                self._extensionOf[command] = found
                self.commands.add(command)
        extension: _Extension = found
        return extension

    def open(
        self,
        source: Source,
        digest: bool,
        carry: Callable[[SendStream], OutgoingCarrier] | None = None,
    ) -> OutgoingStream:
        """
        Make a stream, which sends nothing before it is started.

        @param carry: See L{OutgoingSide.open}.
        """
        stream = self.outgoing.open(source, digest, carry)
        if self.lost is not None:
            self.outgoing.connectionLost(self.lost)
        return stream

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
                self.outgoing.stopped(announcement.stream.id, CallFailed(), tell=False)

    def takes(self, box: amp.AmpBox) -> bool:
        """
        Take a box that has arrived, if it is one of the stream layer.

        @return: Whether it was.
        """
        command = box.get(amp.COMMAND)
        if command is None:
            return self._answered(box)
        if command in WIRE_COMMANDS:
            answer = self.reader.read(box)
        elif command in self._extensionOf:
            answer = self._extensionOf[command].read(box).addErrback(_remote)
        elif command in EXTENSION_COMMANDS:
            answer = fail(
                _remoteError(InvalidChunk("there is no out-of-band stream here"))
            )
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

        @param answered: What to call with the box that answers it, be that with an
            error or not.
        """
        box[amp.ASK] = self._ask(answered)
        self._send(box)

    def answer(self, box: amp.AmpBox) -> None:
        """
        Answer a box with nothing, if it asks.
        """
        if amp.ASK in box:
            self._sendAnswer(amp.AmpBox(), box[amp.ASK])

    def answerError(self, box: amp.AmpBox, error: StreamError) -> None:
        """
        Answer a box with an error, if it asks.
        """
        if amp.ASK in box:
            remote = amp.RemoteAmpError(error.code, str(error))
            self._sendError(Failure(remote), box[amp.ASK])

    def _sendAnswer(self, box: amp.AmpBox, ask: bytes) -> None:
        self._send(asAnswer(box, ask))

    def _sendError(self, failure: Failure, ask: bytes) -> None:
        self._send(asError(failure, ask))

    def _sendFrame(self, frame: Frame) -> None:
        """
        Send a control message.  Until the peer is known to understand it, with a
        question: one that does not answers that, and otherwise would hang up.
        """
        box = frameToBox(frame)
        if not self.reader.peerKnown:
            self.sendAsking(box, self._noteKnown)
        else:
            self._send(box)

    def _send(self, box: amp.AmpBox) -> None:
        try:
            self.port.sendBox(box)
        except amp.ProtocolSwitched:
            # Perhaps it will not be switched after all.
            self._held.append(box)
        except ConnectionLost:
            # Not the box itself: there may be a token in it.
            command = box.get(amp.COMMAND, b"an answer").decode("ascii", "replace")
            _log.debug("the connection went before {what} was sent", what=command)

    def writeTurn(self) -> None:
        """
        Write what the turn that is under way has so far: whatever is written now comes
        behind it.
        """
        turn, self.turn = self.turn, []
        if turn:
            self.port.transport.write(b"".join(turn))

    def _writeNext(self) -> bool:
        """
        Write as many chunks as make a turn, all at once: the bytes of each are
        copied once.
        """
        port, pace, gate = self.port, self._pace, self._gate
        now = self.clock.seconds()
        pace.asked(now, gate.kernel.unsent)
        pace.turn = gate.turn(now, pace.turn)
        if gate.delay:
            pace.held()
            self._pump.hold(gate.delay)
            return True
        gate.kernel.allow(max(SHORTEST, pace.turn // 2))
        most, left = pace.chunk, pace.budget
        sent = False
        try:
            while left > 0 and port.mayWriteBulk():
                size = self.outgoing.writeNext(most)
                if size is None:
                    break
                left -= size + HEADERS
                sent = True
        finally:
            self.writeTurn()
        if sent:
            written = pace.budget - left
            pace.wrote(written)
            gate.wrote(written)
        else:
            pace.paused()
        return sent

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
        if fin or not self.reader.peerKnown:
            ask = self._ask(partial(self._chunkAnswered, id, fin))
        # Of the others, the bytes are the same in both versions.
        version = self.port.writeVersion if len(data) == MAX_CHUNK else 1
        self.turn += encodeChunk(id, offset, data, fin, sha256, ask, version)

    def _ask(self, answered: Callable[[amp.AmpBox], object]) -> bytes:
        """
        Make a tag.  AMP's own are hexadecimal numbers, and C{s} is no digit.
        """
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
            self.reader.peerKnown = True

    def _chunkAnswered(self, id: int, fin: bool, box: amp.AmpBox) -> None:
        if amp.ERROR in box:
            self._chunkRefused(box, id)
            return
        self.reader.peerKnown = True
        try:
            if b"maximum" in box:
                maximum = parseNumber("maximum", box[b"maximum"])
                self.outgoing.granted(id, maximum)
        except StreamError as error:
            self.outgoing.stopped(id, error)
        if fin:
            self.outgoing.acknowledged(id)

    def _chunkRefused(self, box: amp.AmpBox, id: int) -> None:
        code = box.get(amp.ERROR_CODE, b"")
        if code == amp.UNHANDLED_ERROR_CODE:
            error: StreamError = NotStreaming(
                "the peer does not know streams: it needs StreamAMP, or "
                "StreamReceiver mixed into its protocol"
            )
            self.outgoing.stopped(id, error, tell=False)
        else:
            text = box.get(amp.ERROR_DESCRIPTION, b"").decode("utf-8", "replace")
            self.outgoing.stopped(id, errorForCode(code, text))


def _remote(failure: Failure) -> Failure:
    """
    Give an error the form in which it is sent.
    """
    error = failure.value
    if not isinstance(error, StreamError):
        _log.failure("while an extension took a command", failure)
        error = StreamError()
    return Failure(_remoteError(error))


def _remoteError(error: StreamError) -> amp.RemoteAmpError:
    return amp.RemoteAmpError(error.code, str(error))


def _logEnd(failure: Failure, stream: OutgoingStream) -> None:
    """
    Whoever announced a stream hears of its end by the call, and has no Deferred.
    """
    _log.debug("{stream} ended: {error}", stream=stream, error=failure.value)

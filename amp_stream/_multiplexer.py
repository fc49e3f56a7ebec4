# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
All streams of one connection, and the boxes that carry them.

This is all that L{StreamAMP} has and C{amp.AMP} has not, in an object of its own: none
of its names can be in the way of one of AMP's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from amp_stream._calls import asAnswer, asError
from amp_stream._commands import STREAM_COMMANDS, TICKET_COMMANDS, frameToBox
from amp_stream._config import StreamConfig
from amp_stream._demultiplexer import StreamDemultiplexer
from amp_stream._outgoing import (
    Announcement,
    OutgoingStream,
    Source,
    WritingSide,
    announcementsIn,
)
from amp_stream._sansio.frames import BytesLike, Frame, encodeChunk, parseNumber
from amp_stream._sansio.limits import MAX_CHUNK
from amp_stream._sansio.pacer import HEADERS, SHORTEST, SendPacer
from amp_stream._sansio.stream import SendStream
from amp_stream._sansio.streammap import SendStreams
from amp_stream._transport import IdleTimer, SendGate, StreamProducer
from amp_stream.errors import (
    CallFailed,
    InvalidValue,
    StreamError,
    StreamsUnsupported,
    errorForCode,
)

_log = Logger()


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


class OutgoingCarrier(WritingSide, Protocol):
    """Gets the bytes of an outgoing stream out by another connection."""

    def release(self, error: BaseException | None) -> None:
        """
        The stream has ended.

        @param error: Why the peer has not got all of it, or L{None} if it has.
        """


_Extension = TypeVar("_Extension", bound=Extension)


class StreamMultiplexer(StreamDemultiplexer):
    """
    The streams of one connection, in both directions, and the boxes that carry them.

    @ivar port: The L{StreamConnection}.

    @ivar clock: The reactor.

    @ivar config: How this side behaves.

    @ivar maxBulkDelay: See L{StreamConfig}.

    @ivar isConnected: Whether there is a transport, or has been one.

    @ivar commands: The names of the commands that are taken here.

    @ivar questions: What to call with the answers to questions of this layer, by tag.

    @ivar turn: The chunks of the turn that is under way, in pieces.
    """

    def __init__(self, port: Any, config: StreamConfig, clock: IReactorTime) -> None:
        super().__init__(config.limits, config.streamTimeout, self._sendFrame)
        self.port = port
        self.config = config
        self.clock = clock
        self.maxBulkDelay = config.maxBulkDelay
        self.isConnected = False
        self.commands = set(STREAM_COMMANDS | TICKET_COMMANDS)
        self.turn: list[BytesLike] = []
        self._producer = StreamProducer(self._writeNext, clock)
        self._pacer = SendPacer(config.limits.chunk)
        self._gate = SendGate(None, None)
        self._sendStreams = SendStreams(config.limits.chunk, config.streamTimeout)
        # See L{WritingSide}.
        self.allowance = self._sendStreams.allowance
        self.withdraw = self._sendStreams.withdraw
        self._outgoing: dict[int, OutgoingStream] = {}
        self._outgoingCarriers: dict[int, OutgoingCarrier] = {}
        # Ends of streams whose bytes went elsewhere: id, length, digest.
        self._ends: list[tuple[int, int, bytes | None]] = []
        self._sendTimer = IdleTimer(self._sendStreams.interval, self._sendExpired)
        self._extensions: dict[Callable[[StreamMultiplexer], Any], Extension] = {}
        self._extensionOf: dict[bytes, Extension] = {}
        # Boxes that could not be sent while the peer was asked to switch the protocol.
        self._held: list[amp.AmpBox] = []
        self.questions: dict[bytes, Callable[[amp.AmpBox], object]] = {}
        self._counter = 0
        self.useClock(clock)
        self._sendTimer.useClock(clock)

    @property
    def isBusy(self) -> bool:
        """Whether any stream is in progress, in either direction."""
        return bool(self._outgoing) or super().isBusy

    def connectionMade(self, transport: Any) -> None:
        """There is a transport to write to."""
        self.isConnected = True
        self._gate = SendGate(transport, self.maxBulkDelay)
        self._producer.start(transport)

    def connectionLost(self, reason: Failure) -> None:
        """Fail everything, and let go of the transport."""
        self._producer.stopProducing()
        self.questions.clear()
        self._held.clear()
        super().connectionLost(reason)
        self._failOutgoing(reason)
        for extension in self._extensions.values():
            extension.connectionLost(reason)

    def wake(self) -> None:
        """What kept boxes and chunks from being written may be over."""
        held, self._held = self._held, []
        for box in held:
            self._sendOwn(box)
        self._producer.wake()

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
        if command in STREAM_COMMANDS:
            answer = self.readBox(box)
        elif command in self._extensionOf:
            answer = self._extensionOf[command].read(box).addErrback(_remote)
        elif command in TICKET_COMMANDS:
            error = InvalidValue("there is no out-of-band stream here")
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
        self.questions[tag] = answered
        return tag

    def _answered(self, box: amp.AmpBox) -> bool:
        tag = box.get(amp.ANSWER) or box.get(amp.ERROR)
        if tag is None or tag not in self.questions:
            return False
        self.questions.pop(tag)(box)
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
        core = self._sendStreams.open()
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
        self._producer.wake()

    def offer(self, stream: SendStream) -> None:
        """See L{WritingSide.offer}."""
        if self._sendStreams.offer(stream) and not self._producer.isBusy:
            self._producer.wake()

    def writeChunk(
        self, stream: SendStream, data: BytesLike, fin: bool, sha256: bytes | None
    ) -> None:
        """See L{WritingSide.writeChunk}."""
        offset = stream.send(len(data), fin)
        self._writeChunk(stream.id, offset, data, fin, sha256)

    def reset(self, stream: SendStream, error: StreamError) -> None:
        """See L{WritingSide.reset}."""
        if self._sendStreams.reset(stream.id, error) is not None:
            self._flushSent()
            self._dropOutgoing(stream.id, error)

    def sendFailed(self, id: int, error: StreamError, tell: bool = True) -> None:
        """
        The peer wants no more of a stream.

        @param tell: Whether the peer expects to be told that no more will come.
        """
        if self._sendStreams.reset(id, error, tell) is not None:
            self._flushSent()
            self._dropOutgoing(id, error).fail(Failure(error))

    def writeTurn(self) -> None:
        """
        Write the chunks that the turn has so far: whatever is written now comes behind
        them.
        """
        turn, self.turn = self.turn, []
        if turn:
            self.port.protocol.transport.write(b"".join(turn))

    def _writeNext(self) -> bool:
        """
        Write as many chunks as make a turn, all at once: the bytes of each are
        copied once.
        """
        pace, gate, outbound = self._pacer, self._gate, self._sendStreams
        protocol = self.port.protocol
        now = self.clock.seconds()
        pace.asked(now, gate.kernel.unsent())
        pace.turn = gate.turn(now, pace.turn)
        if gate.delay:
            pace.held()
            self._producer.hold(gate.delay)
            return True
        gate.kernel.allow(max(SHORTEST, pace.turn // 2))
        outbound.chunk, budget = pace.sizes()
        left = budget
        try:
            while left > 0 and not (
                # AMP starts TLS, has been switched, or only waits to be closed.
                protocol._startingTLSBuffer is not None
                or protocol._locked
                or getattr(protocol.transport, "disconnecting", False)
            ):
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
        self, id: int, offset: int, data: BytesLike, fin: bool, sha256: bytes | None
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
        if fin and self._sendStreams.acknowledge(id) is not None:
            self._dropOutgoing(id, None).succeed()

    def _chunkRefused(self, box: amp.AmpBox, id: int) -> None:
        code = box.get(amp.ERROR_CODE, b"")
        if code == amp.UNHANDLED_ERROR_CODE:
            error: StreamError = StreamsUnsupported(
                "the peer does not know streams: it needs StreamAMP, or "
                "StreamReceiver mixed into its protocol"
            )
            self.sendFailed(id, error, tell=False)
        else:
            text = box.get(amp.ERROR_DESCRIPTION, b"").decode("utf-8", "replace")
            self.sendFailed(id, errorForCode(code, text))

    def _granted(self, id: int, maximum: int) -> None:
        if self._sendStreams.grant(id, maximum):
            self._producer.wake()

    def _dropOutgoing(self, id: int, error: StreamError | None) -> OutgoingStream:
        stream = self._outgoing.pop(id)
        if self._outgoingCarriers and id in self._outgoingCarriers:
            self._outgoingCarriers.pop(id).release(error)
        if not self._outgoing:
            self._sendTimer.stop()
        return stream

    def _failOutgoing(self, reason: Failure) -> None:
        self._sendTimer.stop()
        self._sendStreams.clear()
        self._ends.clear()
        streams, self._outgoing = self._outgoing, {}
        carriers, self._outgoingCarriers = self._outgoingCarriers, {}
        for stream in streams.values():
            stream.fail(reason)
        for carrier in carriers.values():
            carrier.release(reason.value)

    def _flushSent(self) -> None:
        frames, self._sendStreams.frames = self._sendStreams.frames, []
        for frame in frames:
            self._sendFrame(frame)

    def _sendExpired(self, now: float) -> bool:
        expired = self._sendStreams.expire(now)
        self._flushSent()
        for core in expired:
            if core.error is not None:
                self._dropOutgoing(core.id, core.error).fail(Failure(core.error))
        return bool(self._outgoing)


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

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The stream layer of one connection that sends as well as receives.

This is everything that L{StreamAMP} has and C{amp.AMP} has not, in an object of
its own: none of its names can be in the way of one of AMP's.
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

from amp_stream._sansio.chunk import parseNumber
from amp_stream._sansio.chunkbox import encodeChunk
from amp_stream._sansio.frames import Frame
from amp_stream._sansio.limits import MAX_CHUNK, Limits
from amp_stream._sansio.pace import HEADERS, SHORTEST, Pace
from amp_stream._sansio.sending import SendStream
from amp_stream.answering import asAnswer, asError
from amp_stream.errors import (
    CallFailed,
    InvalidChunk,
    NotStreaming,
    StreamError,
    errorForCode,
)
from amp_stream.incomingside import IncomingSide
from amp_stream.outgoing import Announcement, OutgoingStream, announcementsIn
from amp_stream.outgoingside import OutgoingCarrier, OutgoingSide
from amp_stream.pump import Pump
from amp_stream.sources import Source
from amp_stream.tcp import SendGate
from amp_stream.wire import WIRE_COMMANDS, BoxReader, frameToBox

__all__ = ["BoxPort", "Extension", "StreamLink"]

_log = Logger()

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

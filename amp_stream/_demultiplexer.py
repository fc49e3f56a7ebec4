# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The streams that a peer sends on one connection, between the rules and the application.

A L{StreamReceiver} mixed into a stock C{amp.AMP} has no more than this half.

AMP closes the connection when the responder to a box without C{_ask} raises.  Nothing
here does: an error of a peer is answered if it asked, told with a control message if it
did not, and logged if that is impossible.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from amp_stream._commands import chunkFromBox
from amp_stream._incoming import IncomingStream
from amp_stream._sansio.frames import MAX_CODE, Chunk, Frame, StreamFrame, parseNumber
from amp_stream._sansio.limits import Limits
from amp_stream._sansio.stream import InlineStream, ReceiveStream
from amp_stream._sansio.streammap import ReceiveStreams
from amp_stream._transport import IdleTimer
from amp_stream.errors import InvalidValue, StreamError, StreamRefused, errorForCode

_log = Logger()


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


class StreamDemultiplexer:
    """
    The streams that a peer sends: hands their bytes to the application, keeps back the
    answers to senders that wait for them, and takes the commands of streams.

    @ivar lost: Why the connection is gone, or L{None} while it is not.

    @ivar peerKnown: Whether the peer is known to understand the commands of streams, so
        that they can be sent to it without C{_ask}.  Any of them proves it but a
        C{stream.Data} that wants an answer, which a stock C{amp.AMP} can send.
    """

    def __init__(
        self, limits: Limits, timeout: float | None, send: Callable[[Frame], object]
    ) -> None:
        """
        @param timeout: How long a stream may wait without progress (seconds), or
            L{None}.

        @param send: Sends a control message to the peer.
        """
        self.limits = limits
        self.lost: Failure | None = None
        self.peerKnown = False
        self.collectSize = limits.maxCollectSize
        self._send = send
        # Without a clock no time passes.
        self._now: Callable[[], float] = float
        self._receiveStreams = ReceiveStreams(limits, timeout)
        self._incoming: dict[int, IncomingStream] = {}
        self._carriers: dict[int, Carrier] = {}
        self._answers: dict[int, list[Deferred[dict[str, Any]]]] = {}
        self._receiveTimer = IdleTimer(
            self._receiveStreams.interval, self._receiveExpired
        )
        self._handlers: dict[bytes, Callable[[amp.AmpBox, bool], object]] = {
            b"stream.Data": self._streamData,
            b"stream.MaxData": self._maxStreamData,
            b"stream.Reset": self._resetStream,
            b"stream.StopSending": self._stopSending,
        }

    @property
    def isBusy(self) -> bool:
        """Whether any stream is in progress."""
        return bool(self._receiveStreams.streams or self._receiveStreams.inline)

    def useClock(self, clock: IReactorTime) -> None:
        """Measure from now on how long streams wait."""
        self._receiveTimer.useClock(clock)
        self._now = clock.seconds

    # Boxes that arrive

    def readBox(self, box: amp.AmpBox) -> Deferred[amp.AmpBox]:
        """
        Take a box.

        @param box: Its C{_command} is one of L{STREAM_COMMANDS}.

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
        except InvalidValue as error:
            with suppress(InvalidValue):
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
        stream = self._receiveStreams.reset(
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
        now = self._now()
        try:
            stream = self._receiveStreams.receive(
                id, offset, data, fin, sha256, now=now
            )
        except StreamError as error:
            self._receiveFailed(id, error)
            raise
        if stream is not None:
            self._received(stream)
        elif self._receiveStreams.frames:
            self._flushReceived()

    def receiveAsked(self, chunk: Chunk) -> Deferred[dict[str, Any]]:
        """
        Take a chunk whose sender waits for an answer.

        @return: A Deferred that fires with the response of C{stream.Data}, once
            there is room for the next chunk.

        @raise StreamError: If the stream fails with it, or has failed before.
        """
        receive = self._receiveStreams.receive
        id, offset, data = chunk.id, chunk.offset, chunk.data
        try:
            stream = receive(id, offset, data, chunk.fin, chunk.sha256, asked=True)
        except StreamError as error:
            self._receiveFailed(id, error)
            raise
        if stream is None:
            return succeed({})
        self._received(stream)
        if stream.error is not None:
            # Its consumer gave up at the very bytes of this chunk.
            raise stream.error
        if stream.hasRoom:
            return succeed(self._response(stream))
        answer: Deferred[dict[str, Any]] = Deferred()
        self._answers.setdefault(id, []).append(answer)
        return answer

    def refuse(self, id: int, error: StreamError, tell: bool) -> None:
        """
        Give up the stream of a chunk that makes no sense.

        @param tell: Whether its sender has to be told.
        """
        self._receiveStreams.refuse(id, error, tell)
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
            stream = self._receiveStreams.accept(
                id, size, maxSize, carrier is not None, digest
            )
        except StreamError as error:
            if id not in self._receiveStreams.streams:
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
        return IncomingStream(self._receiveStreams.takeInline(data, maxSize), self)

    def feed(self, id: int, data: bytes, last: bool = False) -> int:
        """
        Take the next bytes of a stream from its carrier.

        @param last: Whether the carrier has no more.

        @return: How many bytes wait for a consumer (bytes).

        @raise StreamError: If the stream fails with them, or has ended.
        """
        try:
            stream = self._receiveStreams.feed(id, data, last)
        except StreamError as error:
            self._receiveFailed(id, error)
            raise
        if stream is None:
            raise StreamRefused
        self._received(stream)
        return stream.held

    def read(self, stream: ReceiveStream | InlineStream) -> bytes:
        """@return: The next bytes of a stream; C{b''} if there are none now."""
        inbound = self._receiveStreams
        if isinstance(stream, InlineStream):
            return inbound.readInline(stream)
        data = inbound.read(stream, self._now())
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
        """Give an incoming stream up, at both ends."""
        if isinstance(stream, InlineStream):
            self._receiveStreams.stopInline(stream, error)
            return
        self._receiveStreams.stop(stream, error)
        self._receiveFailed(stream.id, error)

    def giveUp(self, id: int, error: StreamError) -> None:
        """Give an incoming stream up, if it has not ended."""
        stream = self._receiveStreams.streams.get(id)
        if stream is not None:
            self.stop(stream, error)

    def connectionLost(self, reason: Failure) -> None:
        """Fail every stream that is not complete, and forget the rest."""
        self.lost = reason
        self._receiveTimer.stop()
        handles, self._incoming = self._incoming, {}
        answers, self._answers = self._answers, {}
        carriers, self._carriers = self._carriers, {}
        complete = {
            stream.id for stream in self._receiveStreams.clear() if stream.isComplete
        }
        for id, handle in handles.items():
            if id not in complete:
                # The sender of a complete value was told that it has arrived.
                handle.fail(reason)
        for waiting in answers.values():
            for answer in waiting:
                answer.errback(reason)
        for id, carrier in carriers.items():
            carrier.release(None if id in complete else reason.value)

    def _received(self, stream: ReceiveStream) -> None:
        handle = self._incoming.get(stream.id)
        if handle is not None:
            handle.deliver()
        elif self._receiveStreams.streams:
            self._receiveTimer.arm()
        if self._answers and stream.isComplete and stream.id in self._answers:
            self._answer(stream)
        if self._receiveStreams.frames:
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
        if not self._receiveStreams.streams:
            self._receiveTimer.stop()
        return handle

    def _answer(self, stream: ReceiveStream) -> None:
        for answer in self._answers.pop(stream.id):
            answer.callback(self._response(stream))

    def _response(self, stream: ReceiveStream) -> dict[str, Any]:
        return {"maximum": self._receiveStreams.tellMaximum(stream)}

    def _flushReceived(self) -> None:
        frames, self._receiveStreams.frames = self._receiveStreams.frames, []
        for frame in frames:
            self._send(frame)

    def _receiveExpired(self, now: float) -> bool:
        for stream in self._receiveStreams.expire(now):
            if stream.error is not None:
                self._receiveFailed(stream.id, stream.error)
        return bool(self._receiveStreams.streams)


def _codeOf(box: amp.AmpBox) -> bytes:
    code: bytes | None = box.get(b"code")
    if code is None or not 0 < len(code) <= MAX_CODE:
        raise InvalidValue(f"code must be 1 to {MAX_CODE} bytes")
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

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The locator that takes streams: one that any C{amp.AMP} can have mixed in.

AMP with streams.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from amp_stream import _commands as commands
from amp_stream._boxes import (
    StreamBox,
    answerThere,
    asAnswer,
    asError,
    localError,
    streamKeys,
)
from amp_stream._boxtransport import LAYER_COMMANDS, BoxLayer
from amp_stream._incoming import IncomingStream
from amp_stream._multiplexer import (
    WIRE_COMMANDS,
    StreamDemultiplexer,
    StreamMultiplexer,
    frameToBox,
)
from amp_stream._outgoing import (
    Announcement,
    OutgoingStream,
    SourceLike,
    announcementsIn,
    asSource,
)
from amp_stream._sansio.frames import Chunk, Frame, StreamFrame, parseNumber
from amp_stream._sansio.limits import Limits
from amp_stream._sansio.negotiation import Negotiation
from amp_stream._transport import BUFFER, readMore, tuneForLatency
from amp_stream.errors import (
    BoxTooLong,
    CallFailed,
    FramingError,
    KeyTooLong,
    NobodyListens,
    OutOfBandError,
    OversizeValue,
    SourceFailed,
    StreamAborted,
    StreamCancelled,
    StreamError,
    UsageError,
    errorForCode,
    isStreamCode,
)

__all__ = ["StreamAMP", "StreamReceiver"]


_LOCATE = amp.CommandLocator.locateResponder
_Responder = Callable[[amp.AmpBox], Any]


class StreamReceiver(amp.CommandLocator):
    """
    Takes streams, and reassembles each by its id.

    Mix it into an C{amp.AMP} of your own, and a peer that makes plain AMP calls
    can send values of any size to it::

        class Server(StreamReceiver, amp.AMP):
            @Upload.responder
            def upload(self, id):
                return self.collect(id).addCallback(self.store)

    It serves one connection.  Where it is the C{locator} of a protocol and not the
    protocol itself, L{attach} it to that.

    @cvar limits: What to allow the peer; set it on the class or on the instance,
        before the first stream.

    @cvar streamClock: What to measure waiting times with; the global reactor
        where it is L{None}.
    """

    limits: Limits = Limits()
    streamClock: IReactorTime | None = None

    _located: dict[bytes, Any] | None = None
    _boxReader: StreamDemultiplexer | None = None
    _attached: amp.BoxDispatcher | None = None

    def __init_subclass__(cls, **kw: Any) -> None:
        super().__init_subclass__(**kw)
        mro = cls.__mro__
        if issubclass(cls, amp.BoxDispatcher) and mro.index(StreamReceiver) > mro.index(
            amp.BoxDispatcher
        ):
            # Listed behind amp.AMP, ours would not be called.
            inherited = cls.stopReceivingBoxes

            def stopReceivingBoxes(self: Any, reason: Failure) -> None:
                inherited(self, reason)
                self.failStreams(reason)

            cls.stopReceivingBoxes = stopReceivingBoxes  # type: ignore[method-assign]

    def collect(self, id: int, maxSize: int | None = None) -> Deferred[bytes]:
        """
        Gather a whole stream in memory.

        @param id: Its number; its first chunk may have come or not.

        @param maxSize: The most to take (bytes); C{limits.maxCollectSize} where it
            is L{None}.

        @return: See L{IncomingStream.collect}.
        """
        try:
            stream = self.incoming(id)
        except Exception:
            return fail()
        return stream.collect(maxSize)

    def incoming(
        self, id: int, size: int | None = None, maxSize: int | None = None
    ) -> IncomingStream:
        """
        Ask for a stream.

        @param id: Its number; its first chunk may have come or not.

        @param size: How many bytes it will have, if that is known (bytes).

        @param maxSize: How many it may have (bytes); C{limits.maxStreamSize} where
            it is L{None}.

        @return: The stream, to be taken as its bytes arrive.

        @raise StreamError: If it has failed already.  L{StreamReused}, if somebody
            has asked for it before.
        """
        return self._reader().accept(id, size, maxSize)

    def chunkReceived(self, chunk: Chunk) -> Deferred[dict[str, Any]]:
        """
        Take a chunk that came by a command of your own.

        @param chunk: The value of its L{StreamChunk} argument.

        @return: What the responder should return.  It fires once there is room
            for the next chunk, and fails with the L{StreamError} that the chunk
            made its stream fail with.
        """
        try:
            return self._reader().receiveAsked(chunk)
        except StreamError:
            return fail()

    def attach(self, protocol: amp.BoxDispatcher) -> None:
        """
        Say which connection this receiver serves, where it is not the protocol
        itself.  Call L{failStreams} when that is lost.

        @param protocol: What the peer's boxes come by.
        """
        self._attached = protocol
        self._reader().useClock(self._clock())

    def adopt(self, reader: StreamDemultiplexer) -> None:
        """
        Serve the connection of another object: that of the L{StreamAMP} whose
        locator this is.

        @raise UsageError: If this serves a connection already.
        """
        if self._boxReader is not None and self._boxReader.lost is None:
            raise UsageError(
                "a StreamReceiver serves one connection: give each its own locator"
            )
        self._boxReader = reader
        self._located = None

    def failStreams(self, reason: Failure) -> None:
        """
        Fail every stream that is not complete.  That happens by itself where the
        receiver is mixed into the protocol.

        @param reason: Why the connection is gone.
        """
        self._reader().connectionLost(reason)

    def stopReceivingBoxes(self, reason: Failure) -> None:
        """See L{amp.IBoxReceiver.stopReceivingBoxes}."""
        super().stopReceivingBoxes(reason)  # type: ignore[misc]
        self.failStreams(reason)

    def locateResponder(self, name: bytes) -> Any:
        """
        See L{amp.IResponderLocator.locateResponder}.  What AMP has in its own table,
        which never changes, is made once; what another class finds may be something
        else each time.
        """
        located = self._located
        if located is not None and name in located:
            return located[name]
        locate: Any = super().locateResponder
        responder = locate(name)
        if responder is not None and getattr(locate, "__func__", None) is _LOCATE:
            if located is None:
                located = self._located = {}
            located[name] = responder
        return responder

    @commands.StreamData.responder
    @commands.MaxStreamData.responder
    @commands.ResetStream.responder
    @commands.StopSending.responder
    def _streamCommand(self, **arguments: Any) -> dict[str, Any]:
        """
        Never called: what makes the commands known.  Their boxes are taken as they
        are, see L{_wrapWithSerialization}.
        """
        raise NotImplementedError  # pragma: no cover

    def _wrapWithSerialization(
        self, aCallable: Callable[..., Any], command: type[amp.Command]
    ) -> _Responder:
        """
        The one place that every responder passes, wherever in the bases of the
        class C{amp.AMP} comes.
        """
        if command.commandName in WIRE_COMMANDS:
            return self._reader().readBox
        respond: _Responder = super()._wrapWithSerialization(aCallable, command)

        announces = streamKeys(command.arguments)

        def respondAndSettle(box: amp.AmpBox) -> Any:
            if isinstance(box, StreamBox):
                # It came by a StreamAMP, which sees to that.
                return respond(box)
            if announces:
                return self._settle(respond, StreamBox(self, box))
            return maybeDeferred(respond, box).addErrback(self._answerable)

        return respondAndSettle

    def _settle(self, respond: _Responder, box: StreamBox) -> Deferred[Any]:
        """Call a responder, and see to the streams of its call afterwards."""

        def answered(result: Any) -> Any:
            box.callEnded(None)
            return result

        def failed(failure: Failure) -> Failure:
            box.callEnded(CallFailed())
            return self._answerable(failure)

        return maybeDeferred(respond, box).addCallbacks(answered, failed)

    def _answerable(self, failure: Failure) -> Failure:
        """
        Give AMP the failure of a responder in the form after which it does not hang
        up.  One that comes from the loss of the connection is no news: it is given
        as an error, too, so that nothing is logged for each stream.
        """
        error: BaseException | None = failure.value
        lost = self._reader().lost
        if lost is not None and error is lost.value:
            error = StreamAborted("the connection was lost")
        if isinstance(error, amp.BadLocalReturn):
            # The response could not be made: for a stream, perhaps because its
            # source cannot be opened.
            error = error.enclosed.value
        if isinstance(error, StreamError):
            return Failure(
                amp.RemoteAmpError(error.code, str(error), fatal=False, local=failure)
            )
        return failure

    def _reader(self) -> StreamDemultiplexer:
        """Made when first needed: there may be no C{__init__} that is called."""
        if self._boxReader is None:
            self._boxReader = StreamDemultiplexer(self.limits, self._sendFrame)
            if isinstance(self, amp.BoxDispatcher):
                self._boxReader.useClock(self._clock())
        return self._boxReader

    def _clock(self) -> IReactorTime:
        if self.streamClock is None:
            from twisted.internet import reactor

            return reactor
        return self.streamClock

    def _sendFrame(self, frame: Frame) -> None:
        """
        Send a control message, in a way that a peer which does not know it will
        not mind.
        """
        connection = self if isinstance(self, amp.BoxDispatcher) else self._attached
        if connection is None or connection.boxSender is None:
            return
        box = frameToBox(frame)
        command = box.pop(amp.COMMAND)
        try:
            answer = connection.callRemoteString(
                command,
                requiresAnswer=not self._reader().peerKnown,
                **{key.decode("ascii"): value for key, value in box.items()},
            )
        except (amp.ProtocolSwitched, ConnectionLost):
            return
        if answer is not None:
            answer.addErrback(lambda failure: None)


_log = Logger()

_MAX_TEXT = 32_768


class StreamAMP(StreamReceiver, amp.AMP):
    """
    A drop-in replacement for C{amp.AMP} that sends and receives streams.

    Any number of them, in both directions, share the connection with ordinary
    calls.  They take turns, a millisecond of the link each, and the next is
    written when the transport has drained: a call waits behind at most one.
    """

    version: str | int = "auto"
    bulkServer: Any = None
    bulkClient: Any = None

    _streamLink: StreamMultiplexer | None = None
    _boxLayer: BoxLayer | None = None
    _framingError: FramingError | None = None
    _calling: type[amp.Command] | None = None

    def __init__(
        self,
        boxReceiver: Any = None,
        locator: Any = None,
        *,
        version: str | int | None = None,
        limits: Limits | None = None,
        reactor: IReactorTime | None = None,
        bulkServer: Any = None,
        bulkClient: Any = None,
    ) -> None:
        """
        @param boxReceiver: See C{amp.AMP}; the boxes of streams do not go there.

        @param locator: See C{amp.AMP}; it need know nothing about streams.  If it
            is a L{StreamReceiver}, its C{collect} and C{incoming} serve this
            connection.

        @param version: Which version of AMP to speak: C{"auto"} to agree on it with
            the peer; 1, or 2 for a peer that speaks version 2 from the first byte
            and cannot negotiate.  That of the class if it is L{None}.

        @param limits: What to allow the peer.

        @param reactor: What to measure waiting times with; the global reactor if
            it is L{None}.

        @param bulkServer: What takes and gives the bytes of L{OutOfBand} arguments at
            this side.  One of the two sides needs one for them.

        @param bulkClient: What this side thinks of the L{OutOfBandServer} of the peer.
            That of the class, which talks to one at the address of the peer and only
            over TLS, if it is L{None}.

        @raise ValueError: If C{version} is none of these.
        """
        super().__init__(boxReceiver, locator)
        if version is not None:
            self.version = version
        Negotiation(self.version)
        if limits is not None:
            self.limits = limits
        if reactor is not None:
            self.streamClock = reactor
        if bulkServer is not None:
            self.bulkServer = bulkServer
        if bulkClient is not None:
            self.bulkClient = bulkClient

    def sendStream(
        self, source: SourceLike, *, size: int | None = None, digest: bool = False
    ) -> OutgoingStream:
        """
        Send a stream that belongs to no call.  The peer takes it by its number,
        with C{incoming} or C{collect}.

        @param source: What to send; see L{Stream}.

        @param size: How many bytes it has (bytes), where the source cannot say; a
            source that has others fails.

        @param digest: Whether to add a SHA-256 of the whole for the peer to check.

        @return: The stream.

        @raise UsageError: If a stream cannot be made from C{source}.

        @raise OSError: If it is a file that cannot be opened.
        """
        readable = asSource(source)
        if size is not None:
            readable.size = size
        stream = self._link().open(readable, digest)
        stream.start()
        return stream

    def callRemote(
        self, commandType: type[amp.Command], *a: Any, **kw: Any
    ) -> Deferred[Any]:
        """
        See C{amp.AMP.callRemote}.  Errors of this package come back as their own
        classes, whether or not the command declares them.  If the call fails or
        its Deferred is cancelled, the streams that it announced are stopped.  A
        switch of the protocol is refused while there are streams.
        """
        if issubclass(commandType, amp.ProtocolSwitchCommand) and self._isBusy():
            return fail(_switchRefused())
        outer, self._calling = self._calling, commandType
        try:
            result: Deferred[Any] = super().callRemote(commandType, *a, **kw)
            return result
        except StreamError:
            if not commandType.requiresAnswer:
                raise
            return fail()
        finally:
            self._calling = outer

    def makeConnection(self, transport: Any) -> None:
        """See L{twisted.internet.interfaces.IProtocol.makeConnection}."""
        tuneForLatency(transport)
        self._link().connectionMade(transport)
        super().makeConnection(transport)
        self._boxes().connectionMade()
        if isinstance(self.locator, StreamReceiver) and self.locator is not self:
            self.locator.adopt(self._reader())
        self._link().kick()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See L{twisted.internet.interfaces.IProtocol.connectionLost}."""
        error = self._framingError
        super().connectionLost(reason if error is None else Failure(error))
        self.failStreams(reason)

    def failStreams(self, reason: Failure) -> None:
        """See L{StreamReceiver.failStreams}; here, outgoing streams fail, too."""
        self._link().connectionLost(reason)
        self._boxes().connectionLost()

    def sendBox(self, box: amp.AmpBox) -> None:
        """
        See C{amp.AMP.sendBox}.  The streams that the box announces get their
        numbers now, and begin when it has been written.
        """
        if self.transport is None or not self.mayWriteBoxes():
            super().sendBox(box)
            return
        layer = self._boxLayer or self._boxes()
        if layer.writeInline(box):
            return
        announced = self._link().announce(box)
        try:
            layer.write(box, announced)
        except BaseException as error:
            self._link().retract(announced)
            raise localError(error, box) from None

    def dataReceived(self, data: bytes) -> None:
        """See L{twisted.internet.interfaces.IProtocol.dataReceived}."""
        self._justStartedTLS = False
        inner: Any = self.innerProtocol
        if inner is not None:
            inner.dataReceived(data)
            return
        if self._framingError is not None:
            # There is no telling what this is.
            return
        parser = self._boxes().parser
        parser.feed(data)
        if len(data) >= BUFFER:
            readMore(self.transport, len(data))
        # A box may have been the last before another protocol takes over, or have
        # led to a pause or to the end of the connection.
        while self.innerProtocol is None and not self.paused:
            try:
                values = parser.read()
            except FramingError as error:
                self.framingFailed(error)
                return
            if values is None:
                return
            if isinstance(values, StreamFrame):
                self._reader().readFrame(values)
            else:
                self.boxReceived(values)

    def boxReceived(self, values: dict[bytes, bytes]) -> None:
        """
        A box has come.  What belongs to streams is taken here: with another box
        receiver or locator nobody else would.
        """
        box = StreamBox(self, values)
        command = values.get(amp.COMMAND)
        link = self._link()
        if command is None:
            taken = link.isAsking and link.takes(box)
        elif command in LAYER_COMMANDS:
            taken = self._boxes().takes(box)
        else:
            taken = command in link.commands and link.takes(box)
        if taken:
            return
        receiver: Any = self.boxReceiver
        receiver.ampBoxReceived(box)

    def boxAssembled(self, values: dict[bytes, bytes]) -> None:
        """
        A box has come in fragments.  It cannot be one that says how to read those
        which come behind it: there is no telling which these are.
        """
        receiver: Any = self.boxReceiver
        receiver.ampBoxReceived(StreamBox(self, values))

    def framingFailed(self, error: FramingError) -> None:
        """
        The peer's bytes make no sense: the connection ends, and everything that waits
        for it fails with the reason.
        """
        transport: Any = self.transport
        if self._framingError is None and transport is not None:
            self._framingError = error
            self._keyLengthLimitExceeded = isinstance(error, KeyTooLong)
            _log.error("{peer}: {error}", peer=transport.getPeer(), error=error)
            transport.loseConnection()

    def questionFailed(self, tag: bytes, failure: Failure) -> None:
        """A request did not reach the peer."""
        receiver: Any = self.boxReceiver
        if receiver is not self:
            # The question is not one of ours; an answer finds it.
            error: Any = failure.value
            text = str(error).encode()[:_MAX_TEXT]
            receiver.ampBoxReceived(
                amp.AmpBox(
                    {
                        amp.ERROR: tag,
                        amp.ERROR_CODE: error.code,
                        amp.ERROR_DESCRIPTION: text,
                    }
                )
            )
            return
        question = (self._outstandingRequests or {}).pop(tag, None)
        if question is not None:
            question.addErrback(self.unhandledError)
            question.errback(failure)

    def offer(self, source: SourceLike) -> Deferred[Any]:
        """
        Let somebody who has no AMP connection get a value, once, over HTTP(S).

        @param source: What to send; see L{Stream}.

        @return: A Deferred that fires with the L{Offer}, which has the ticket.  It
            fails with L{NobodyListens} if this side has no L{OutOfBandServer} that
            listens.  The ticket is void when this connection is lost.

        @raise UsageError: If a stream cannot be made from C{source}.

        @raise OSError: If it is a file that cannot be opened.
        """
        readable = asSource(source)
        if self.bulkServer is None:
            readable.close()
            return fail(NobodyListens())
        offering: Deferred[Any] = self.bulkServer.offer(self._link(), readable)
        return offering

    @property
    def writeVersion(self) -> int:
        """The version of AMP that is being written, 1 or 2."""
        return self._boxes().writeVersion

    def mayWriteBulk(self) -> bool:
        """
        @return: Whether a chunk may be written now: not while TLS begins, not after
            the protocol has been switched, and not when the connection is only
            waiting to be closed.
        """
        disconnecting = getattr(self.transport, "disconnecting", False)
        return self.mayWriteBoxes() and not disconnecting

    def mayWriteBoxes(self) -> bool:
        """
        @return: Whether what is written now is read as AMP: not while TLS begins, and
            not after the protocol has been switched.
        """
        return not self._locked and self._startingTLSBuffer is None

    def dispatchCommand(self, box: amp.AmpBox) -> Deferred[Any]:
        """
        See C{amp.AMP.dispatchCommand}.  When the responder has answered, the streams
        that nobody is taking are refused.
        """
        result: Deferred[Any] = super().dispatchCommand(box)
        if answerThere(result) is not None:
            if isinstance(box, StreamBox) and box.claimed:
                box.callEnded(None)
            return result
        result.addErrback(self._commandFailed, box)
        if isinstance(box, StreamBox) and box.claimed:
            result.addCallback(_commandAnswered, box)
        return result

    # What follows is not for callers.

    def _link(self) -> StreamMultiplexer:
        """Made when first needed: there may be no C{__init__} that is called."""
        if self._streamLink is None:
            self._streamLink = StreamMultiplexer(self, self.limits, self._clock())
        return self._streamLink

    def _boxes(self) -> BoxLayer:
        """Made when first needed, as well."""
        if self._boxLayer is None:
            self._boxLayer = BoxLayer(
                self, self._link(), self.limits, self.version, self._clock()
            )
        return self._boxLayer

    def _reader(self) -> StreamDemultiplexer:
        return self._link()

    def _startTLS(self, certificate: Any, verifyAuthorities: Any) -> None:
        waiting: Any = self._startingTLSBuffer
        if waiting is not None:
            self._startingTLSBuffer = []
        super()._startTLS(certificate, verifyAuthorities)
        for box in waiting or ():
            # One that cannot be sent must not take those behind it along.
            try:
                self.sendBox(box)
            except StreamError:
                self._boxes().failed(box, [], Failure())
        self._resume()

    def _unlockFromSwitch(self) -> None:
        super()._unlockFromSwitch()
        self._resume()

    def _isBusy(self) -> bool:
        return self._link().isBusy or self._boxes().isBusy

    def _resume(self) -> None:
        self._boxes().resume()
        self._link().kick()

    def _switchTo(self, newProto: Any, clientFactory: Any = None) -> None:
        """The transport belongs to another protocol from now on."""
        switched = amp.ProtocolSwitched("the connection is no longer one of AMP")
        self.failStreams(Failure(switched))
        # Where C{amp.AMP} finds the bytes that came behind the last box.
        self._unprocessed = self._boxes().parser.takeRest()
        self._compatibilityOffset = 0
        super()._switchTo(newProto, clientFactory)

    def _commandReceived(self, box: amp.AmpBox) -> None:
        """
        As in C{amp.AMP}, but an answer that is there at once is sent at once, and
        not by callbacks.
        """
        result = self.dispatchCommand(box)
        if amp.ASK in box:
            tag = box[amp.ASK]
            answer = answerThere(result)
            if answer is not None:
                try:
                    self._safeEmit(asAnswer(answer, tag))
                except Exception:
                    self.unhandledError(Failure())
                return
            result.addCallbacks(
                asAnswer, asError, callbackArgs=(tag,), errbackArgs=(tag,)
            )
            result.addCallback(self._safeEmit)
        result.addErrback(self.unhandledError)

    def _safeEmit(self, aBox: amp.AmpBox) -> None:
        """
        As in C{amp.AMP}; but an answer that cannot be sent is answered with the
        reason, instead of the end of the connection, and the text of an error is
        cut to what fits.
        """
        if amp.ERROR_DESCRIPTION in aBox:
            aBox[amp.ERROR_DESCRIPTION] = aBox[amp.ERROR_DESCRIPTION][:_MAX_TEXT]
        try:
            if isinstance(aBox, amp._SwitchBox) and self._isBusy():
                raise _switchRefused()
            super()._safeEmit(aBox)
        except (OversizeValue, BoxTooLong, UsageError) as error:
            tag = aBox.get(amp.ANSWER) or aBox.get(amp.ERROR)
            self._link().answerError(amp.AmpBox({amp.ASK: tag}), error)

    def _sendBoxCommand(
        self, command: bytes, box: amp.AmpBox, requiresAnswer: bool = True
    ) -> Deferred[Any] | None:
        """
        As in C{amp.AMP}, with a Deferred that takes the streams of the call with
        it.  A call without streams gets the very Deferred of C{amp.AMP}.
        """
        announced = [announcement for _, announcement in announcementsIn(box)]
        commandType = self._calling
        try:
            result: Deferred[Any] | None = super()._sendBoxCommand(
                command, box, requiresAnswer
            )
        except BaseException:
            _giveUp(announced, CallFailed())
            raise
        if result is None:
            return None
        declared = [] if commandType is None else streamKeys(commandType.response)
        tag = box.get(amp.ASK, b"")
        if not (announced or declared or self._boxes().isSending(tag)):
            return result
        questions: dict[bytes, Deferred[Any]] = self._outstandingRequests or {}
        if questions.get(tag) is result:
            result = questions[tag] = Deferred(
                partial(self._callCancelled, tag, declared, announced)
            )
        result.addErrback(_callFailed, announced)
        return result

    def _errorReceived(self, box: amp.AmpBox) -> None:
        """As in C{amp.AMP}, but an error of this package keeps its class."""
        code = box[amp.ERROR_CODE]
        if not isStreamCode(code):
            super()._errorReceived(box)
            return
        question = self._outstandingRequests.pop(box[amp.ERROR])
        question.addErrback(self.unhandledError)
        text = box[amp.ERROR_DESCRIPTION].decode("utf-8", "replace")
        question.errback(Failure(errorForCode(code, text)))

    def _callCancelled(
        self,
        tag: bytes,
        declared: list[bytes],
        announced: list[Announcement],
        deferred: Deferred[Any],
    ) -> None:
        """Stop what the call sends now, and what its answer sends when that comes."""
        if self._outstandingRequests and tag in self._outstandingRequests:
            late: Deferred[Any] = Deferred()
            late.addCallback(self._refuse, declared)
            late.addErrback(lambda failure: None)
            self._outstandingRequests[tag] = late
        self._boxes().cancel(tag, StreamCancelled())
        _giveUp(announced, StreamCancelled())

    def _commandFailed(self, failure: Failure, box: amp.AmpBox) -> Failure | None:
        """
        A responder has failed.  AMP would close the connection after an error of
        this package that its command does not declare, and after any error if
        nobody asked for an answer: what a peer did to one stream must not do that.
        """
        if isinstance(box, StreamBox):
            box.callEnded(CallFailed())
        failure = self._answerable(failure)
        if amp.ASK not in box and isStreamCode(
            getattr(failure.value, "errorCode", b"")
        ):
            _log.debug("a call without an answer failed: {error}", error=failure.value)
            return None
        return failure

    def _refuse(self, box: amp.AmpBox, declared: list[bytes]) -> None:
        for name in declared:
            if name in box:
                stream = self.incoming(parseNumber(repr(name), box[name]))
                stream.callEnded(StreamCancelled())


def _switchRefused() -> UsageError:
    return UsageError(
        "the protocol cannot be switched while streams, or boxes in fragments, are "
        "under way; wait for them, or abort them"
    )


def _giveUp(announced: list[Announcement], error: StreamError) -> None:
    for announcement in announced:
        announcement.giveUp(error)


def _callFailed(failure: Failure, announced: list[Announcement]) -> Failure:
    """
    A call has failed, and takes the streams that it announced with it.  If it
    failed because one of those could not be read, say why: only this side knows.
    """
    for announcement in announced:
        broken = None if announcement.stream is None else announcement.stream.failure
        announcement.giveUp(CallFailed())
        if broken is None:
            continue
        if failure.check(SourceFailed) or (
            # The peer was told the code, and knows no more.
            isinstance(failure.value, OutOfBandError)
            and broken.check(type(failure.value))
            and str(failure.value) == str(type(failure.value)())
        ):
            failure = broken
    return failure


def _commandAnswered(result: Any, box: StreamBox) -> Any:
    box.callEnded(None)
    return result

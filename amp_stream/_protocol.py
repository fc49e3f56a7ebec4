# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
AMP with streams: the protocol, and the locator that any C{amp.AMP} can have mixed in.

L{StreamAMP} adds two names to those of C{amp.AMP}, so that a subclass can call its
own methods what it likes: the rest stands on L{StreamConnection}, in an attribute whose
name is mangled.  It overrides only methods that C{amp.AMP} has already.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from amp_stream._boxes import StreamBox, Streams, localError, streamKeys
from amp_stream._boxtransport import BoxTransport
from amp_stream._calls import (
    asAnswer,
    asError,
    callFailed,
    commandAnswered,
    cutText,
    giveUp,
    resultIfFired,
    switchRefused,
)
from amp_stream._commands import STREAM_COMMANDS
from amp_stream._config import StreamConfig, clockOf
from amp_stream._connection import StreamConnection
from amp_stream._demultiplexer import StreamDemultiplexer
from amp_stream._multiplexer import StreamMultiplexer
from amp_stream._outgoing import announcementsIn
from amp_stream._sansio.frames import StreamFrame
from amp_stream._transport import BUFFER, readMore, tuneForLatency
from amp_stream.errors import (
    STREAM_ERRORS,
    CallFailed,
    FramingError,
    OversizeValue,
    StreamError,
    UsageError,
    ValueTooLong,
    errorForCode,
)

_log = Logger()

_Responder = Callable[[amp.AmpBox], Any]
# Where a StreamAMP has its connection: no subclass has such a name by chance.
_CORE = "_StreamAMP__core"


def _receivingConnection(receiver: Any) -> StreamConnection:
    """Make the connection of a L{StreamReceiver}."""
    config = receiver.streamConfig
    connection = StreamConnection(receiver, config)
    connection._demultiplexer = StreamDemultiplexer(
        config.limits, config.streamTimeout, connection._sendFrame
    )
    if isinstance(receiver, amp.BoxDispatcher):
        connection._demultiplexer.useClock(clockOf(config))
    return connection


def _fullConnection(protocol: Any) -> StreamConnection:
    """Make the connection of a L{StreamAMP}."""
    config = protocol.streamConfig
    connection = StreamConnection(protocol, config)
    clock = clockOf(config)
    multiplexer = StreamMultiplexer(connection, config, clock)
    connection._demultiplexer = connection._multiplexer = multiplexer
    connection._boxes = BoxTransport(connection, multiplexer, config, clock)
    return connection


class StreamReceiver(amp.CommandLocator):
    """
    Takes streams, and reassembles each by its id.

    Mix it into an C{amp.AMP} of your own, and a peer that makes plain AMP calls
    can send values of any size to it::

        class Server(StreamReceiver, amp.AMP):
            @Upload.responder
            def upload(self, id):
                return self.collect(id).addCallback(self.store)

    It serves one connection.  Where it is the C{locator} of a stock C{amp.AMP} and not
    the protocol itself, call C{streams.attach(protocol)}, and
    C{streams.connectionLost(reason)} at the end.

    @cvar streamConfig: How this side behaves; set it on the class or on the instance,
        before the first stream.
    """

    streamConfig: StreamConfig = StreamConfig()
    streams: StreamConnection = Streams(  # type: ignore[assignment]
        "_StreamReceiver__core", _receivingConnection
    )

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
                _receiverOf(self).connectionLost(reason)

            locate = cls.locateResponder

            def locateResponder(self: Any, name: bytes) -> Any:
                return _ownResponder(self, name) or locate(self, name)

            cls.stopReceivingBoxes = stopReceivingBoxes  # type: ignore[method-assign]
            cls.locateResponder = locateResponder  # type: ignore[method-assign]

    def collect(self, id: int, maxSize: int | None = None) -> Deferred[bytes]:
        """
        Gather a whole stream in memory.

        @param id: Its id; its first chunk may have come or not.

        @param maxSize: The most to take (bytes); C{Limits.maxCollectSize} where it is
            L{None}.

        @return: See L{IncomingStream.collect}.
        """
        try:
            stream = _receiverOf(self).accept(id)
        except Exception:
            return fail()
        return stream.collect(maxSize)

    def stopReceivingBoxes(self, reason: Failure) -> None:
        """See L{amp.IBoxReceiver.stopReceivingBoxes}."""
        super().stopReceivingBoxes(reason)  # type: ignore[misc]
        _receiverOf(self).connectionLost(reason)

    def locateResponder(self, name: bytes) -> Any:
        """See L{amp.IResponderLocator.locateResponder}."""
        return _ownResponder(self, name) or super().locateResponder(name)

    def _wrapWithSerialization(
        self, aCallable: Callable[..., Any], command: type[amp.Command]
    ) -> _Responder:
        """
        The one place that every responder passes, wherever in the bases of the
        class C{amp.AMP} comes.
        """
        respond: _Responder = super()._wrapWithSerialization(aCallable, command)
        announces = streamKeys(command.arguments)
        connection = _receiverOf(self)

        def respondAndSettle(box: amp.AmpBox) -> Any:
            if isinstance(box, StreamBox):
                # It came by a StreamAMP, which sees to that.
                return respond(box)
            if not announces:
                return maybeDeferred(respond, box).addErrback(connection._answerable)
            called = StreamBox(connection._demultiplexer, box)

            def answered(result: Any) -> Any:
                called.callEnded(None)
                return result

            def failed(failure: Failure) -> Failure:
                called.callEnded(CallFailed())
                return connection._answerable(failure)

            return maybeDeferred(respond, called).addCallbacks(answered, failed)

        return respondAndSettle


class StreamAMP(amp.AMP):
    """
    A drop-in replacement for C{amp.AMP} that sends and receives streams.

    Any number of them, in both directions, share the connection with ordinary
    calls.  They take turns, a millisecond of the link each, and the next is
    written when the transport has drained: a call waits behind at most one.

    @cvar streamConfig: How this side of the connection behaves; set it on a subclass,
        or pass C{config}.

    @ivar streams: All that is not a call.
    """

    streamConfig: ClassVar[StreamConfig] = StreamConfig()
    streams: StreamConnection = Streams(  # type: ignore[assignment]
        _CORE, _fullConnection
    )

    def __init__(
        self,
        boxReceiver: Any = None,
        locator: Any = None,
        *,
        config: StreamConfig | None = None,
    ) -> None:
        """
        @param boxReceiver: See C{amp.AMP}; the boxes of streams do not go there.

        @param locator: See C{amp.AMP}; it need know nothing about streams.  If it
            is a L{StreamReceiver}, its C{collect} and C{streams} serve this connection.

        @param config: How this side behaves; C{streamConfig} where it is L{None}.

        @raise TypeError: If C{config} is no L{StreamConfig}.
        """
        super().__init__(boxReceiver, locator)
        if config is not None:
            if not isinstance(config, StreamConfig):
                raise TypeError(f"config must be a StreamConfig, not {config!r}")
            self.streamConfig = config  # type: ignore[misc]

    def callRemote(
        self, commandType: type[amp.Command], *a: Any, **kw: Any
    ) -> Deferred[Any]:
        """
        See C{amp.AMP.callRemote}.  Errors of this package come back as their own
        classes, whether or not the command declares them.  If the call fails or
        its Deferred is cancelled, the streams that it announced are stopped.  A
        switch of the protocol is refused while there are streams.
        """
        core = self.__dict__.get(_CORE) or _coreOf(self)
        if issubclass(commandType, amp.ProtocolSwitchCommand) and core._isBusy():
            return fail(switchRefused())
        outer, core._calling = core._calling, commandType
        try:
            result: Deferred[Any] = super().callRemote(commandType, *a, **kw)
            return result
        except StreamError:
            if not commandType.requiresAnswer:
                raise
            return fail()
        finally:
            core._calling = outer

    def makeConnection(self, transport: Any) -> None:
        """See L{twisted.internet.interfaces.IProtocol.makeConnection}."""
        tuneForLatency(transport)
        super().makeConnection(transport)
        core = _coreOf(self)
        core._start(transport)
        if core._multiplexer is not None:
            core._multiplexer.wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See L{twisted.internet.interfaces.IProtocol.connectionLost}."""
        core = _coreOf(self)
        error = core._framingError
        super().connectionLost(reason if error is None else Failure(error))
        core.connectionLost(reason)

    def sendBox(self, box: amp.AmpBox) -> None:
        """
        See C{amp.AMP.sendBox}.  The streams that the box announces get their
        ids now, and begin when it has been written.
        """
        core = self.__dict__.get(_CORE) or _coreOf(self)
        multiplexer, boxes = core._multiplexer, core._boxes
        protocol: Any = self
        if (
            self.transport is None
            or protocol._locked
            or protocol._startingTLSBuffer is not None
            or multiplexer is None
            or boxes is None
        ):
            super().sendBox(box)
            return
        if not multiplexer.isConnected:
            # A subclass has its own makeConnection.
            core._start(self.transport)
        if boxes.writeInline(box):
            return
        announced = multiplexer.announce(box)
        try:
            boxes.write(box, announced)
        except BaseException as error:
            multiplexer.retract(announced)
            raise localError(error, box) from None

    def dataReceived(self, data: bytes) -> None:
        """See L{twisted.internet.interfaces.IProtocol.dataReceived}."""
        self._justStartedTLS = False
        inner: Any = self.innerProtocol
        if inner is not None:
            inner.dataReceived(data)
            return
        core = self.__dict__.get(_CORE) or _coreOf(self)
        boxes = core._boxes
        if boxes is None or core._framingError is not None:
            # Bytes behind a framing violation have no meaning.
            return
        parser = boxes.parser
        parser.feed(data)
        if len(data) >= BUFFER:
            readMore(self.transport, len(data))
        # A box may have been the last before another protocol takes over, or have
        # led to a pause or to the end of the connection.
        while self.innerProtocol is None and not self.paused:
            try:
                values = parser.read()
            except FramingError as error:
                core.framingFailed(error)
                return
            if values is None:
                return
            if isinstance(values, StreamFrame):
                core._demultiplexer.readFrame(values)
            else:
                core.boxReceived(values)

    def dispatchCommand(self, box: amp.AmpBox) -> Deferred[Any]:
        """
        See C{amp.AMP.dispatchCommand}.  When the responder has answered, the streams
        that it has not taken are refused.
        """
        result: Deferred[Any] = super().dispatchCommand(box)
        accepted = box if isinstance(box, StreamBox) and box.accepted else None
        if resultIfFired(result) is None:
            core = _coreOf(self)
            result.addErrback(core._commandFailed, box)
            if accepted is not None:
                result.addCallback(commandAnswered, accepted)
        elif accepted is not None:
            commandAnswered(None, accepted)
        return result

    # Private methods of C{amp.AMP} that have no public way; docs/twisted.md lists them.

    def _startTLS(self, certificate: Any, verifyAuthorities: Any) -> None:
        waiting: Any = self._startingTLSBuffer
        if waiting is not None:
            self._startingTLSBuffer = []
        super()._startTLS(certificate, verifyAuthorities)
        core = _coreOf(self)
        for box in waiting or ():
            # One that cannot be sent must not take those behind it along.
            try:
                self.sendBox(box)
            except StreamError:
                if core._boxes is not None:
                    core._boxes.failed(box, [], Failure())
        core._resume()

    def _unlockFromSwitch(self) -> None:
        super()._unlockFromSwitch()
        _coreOf(self)._resume()

    def _switchTo(self, newProto: Any, clientFactory: Any = None) -> None:
        """The transport belongs to another protocol from now on."""
        core = _coreOf(self)
        switched = amp.ProtocolSwitched("the connection is no longer one of AMP")
        core.connectionLost(Failure(switched))
        # Where C{amp.AMP} finds the bytes that came behind the last box.
        self._unprocessed = (
            b"" if core._boxes is None else core._boxes.parser.takeRest()
        )
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
            answer = resultIfFired(result)
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
        cut if the peer is not known to read boxes in fragments.
        """
        if amp.ERROR in aBox and not _coreOf(self)._mayBeLarge(aBox):
            cutText(aBox)
        try:
            if isinstance(aBox, amp._SwitchBox) and _coreOf(self)._isBusy():
                raise switchRefused()
            super()._safeEmit(aBox)
        except (OversizeValue, ValueTooLong, UsageError) as error:
            tag = aBox.get(amp.ANSWER) or aBox.get(amp.ERROR)
            box = amp.AmpBox({amp.ASK: tag})
            _coreOf(self)._sending().answerError(box, error)

    def _sendBoxCommand(
        self, command: bytes, box: amp.AmpBox, requiresAnswer: bool = True
    ) -> Deferred[Any] | None:
        """
        As in C{amp.AMP}, with a Deferred that takes the streams of the call with
        it.  A call without streams gets the very Deferred of C{amp.AMP}.
        """
        core = self.__dict__.get(_CORE) or _coreOf(self)
        found = announcementsIn(box)
        announced = [announcement for _, announcement in found] if found else []
        commandType = core._calling
        try:
            result: Deferred[Any] | None = super()._sendBoxCommand(
                command, box, requiresAnswer
            )
        except BaseException:
            giveUp(announced, CallFailed())
            raise
        if result is None:
            return None
        declared: list[bytes] = []
        if commandType is not None:
            for name, kind in commandType.response:
                if getattr(kind, "announcesStream", False):
                    declared.append(name)
        tag = box.get(amp.ASK, b"")
        boxes = core._boxes
        isSending = boxes is not None and tag in boxes.sending
        if not (announced or declared or isSending):
            return result
        questions: dict[bytes, Deferred[Any]] = self._outstandingRequests or {}
        if questions.get(tag) is result:
            result = questions[tag] = Deferred(
                partial(core._callCancelled, tag, declared, announced)
            )
        result.addErrback(callFailed, announced)
        return result

    def _errorReceived(self, box: amp.AmpBox) -> None:
        """As in C{amp.AMP}, but an error of this package keeps its class."""
        code = box[amp.ERROR_CODE]
        if code not in STREAM_ERRORS.values():
            super()._errorReceived(box)
            return
        question = self._outstandingRequests.pop(box[amp.ERROR])
        question.addErrback(self.unhandledError)
        text = box[amp.ERROR_DESCRIPTION].decode("utf-8", "replace")
        question.errback(Failure(errorForCode(code, text)))


def _coreOf(protocol: StreamAMP) -> StreamConnection:
    """@return: The connection of a protocol, whatever its subclass calls C{streams}."""
    core: StreamConnection | None = protocol.__dict__.get(_CORE)
    if core is None:
        core = StreamAMP.__dict__["streams"].__get__(protocol)
    return core


def _ownResponder(receiver: Any, name: bytes) -> _Responder | None:
    """@return: What takes a command of streams; L{None} for any other command."""
    if name in STREAM_COMMANDS:
        return _receiverOf(receiver)._demultiplexer.readBox
    return None


def _receiverOf(receiver: Any) -> StreamConnection:
    """@return: The connection of a receiver, whatever its subclass calls C{streams}."""
    found: StreamConnection = StreamReceiver.__dict__["streams"].__get__(receiver)
    return found

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The locator that takes streams: one that any C{amp.AMP} can have mixed in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReactorTime
from twisted.protocols import amp
from twisted.python.failure import Failure

from amp_stream import commands
from amp_stream._sansio.chunk import Chunk
from amp_stream._sansio.frames import Frame
from amp_stream._sansio.limits import Limits
from amp_stream.boxes import StreamBox, streamKeys
from amp_stream.errors import CallFailed, StreamAborted, StreamError, UsageError
from amp_stream.incoming import IncomingStream
from amp_stream.incomingside import IncomingSide
from amp_stream.wire import WIRE_COMMANDS, BoxReader, frameToBox

__all__ = ["StreamReceiver"]

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
    _boxReader: BoxReader | None = None
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
        return self._reader().incoming.claim(id, size, maxSize)

    def chunkReceived(self, chunk: Chunk) -> Deferred[dict[str, Any]]:
        """
        Take a chunk that came by a command of your own.

        @param chunk: The value of its L{StreamChunk} argument.

        @return: What the responder should return.  It fires once there is room
            for the next chunk, and fails with the L{StreamError} that the chunk
            made its stream fail with.
        """
        try:
            return self._reader().incoming.receiveAsked(chunk)
        except StreamError:
            return fail()

    def attach(self, protocol: amp.BoxDispatcher) -> None:
        """
        Say which connection this receiver serves, where it is not the protocol
        itself.  Call L{failStreams} when that is lost.

        @param protocol: What the peer's boxes come by.
        """
        self._attached = protocol
        self._reader().incoming.useClock(self._clock())

    def adopt(self, reader: BoxReader) -> None:
        """
        Serve the connection of another object: that of the L{StreamAMP} whose
        locator this is.

        @raise UsageError: If this serves a connection already.
        """
        if self._boxReader is not None and self._boxReader.incoming.lost is None:
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
        self._reader().incoming.connectionLost(reason)

    def stopReceivingBoxes(self, reason: Failure) -> None:
        """
        See L{amp.IBoxReceiver.stopReceivingBoxes}.
        """
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
            return self._reader().read
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
        """
        Call a responder, and see to the streams of its call afterwards.
        """

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
        lost = self._reader().incoming.lost
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

    def _reader(self) -> BoxReader:
        """
        Made when first needed: there may be no C{__init__} that is called.
        """
        if self._boxReader is None:
            side = IncomingSide(self.limits, self._sendFrame)
            self._boxReader = BoxReader(side)
            if isinstance(self, amp.BoxDispatcher):
                side.useClock(self._clock())
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

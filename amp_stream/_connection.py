# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
All that a connection with streams has besides its calls.

L{StreamConnection} is the public face of a connection's streams, and stands between the
protocol, which is a subclass of C{amp.AMP}, and the multiplexer and the box transport,
which know no AMP class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from amp_stream._boxes import StreamBox, connectionOf
from amp_stream._calls import (
    answerable,
    commandFailed,
    failQuestion,
    forgetQuestion,
    giveUp,
)
from amp_stream._commands import BOX_COMMANDS, frameToBox
from amp_stream._config import StreamConfig, clockOf
from amp_stream._incoming import IncomingStream
from amp_stream._outgoing import Announcement, OutgoingStream, SourceLike, asSource
from amp_stream._sansio.frames import Chunk, Frame
from amp_stream.errors import (
    FramingError,
    NoOutOfBandServer,
    StreamCancelled,
    StreamError,
    StreamsUnsupported,
    UsageError,
)

if TYPE_CHECKING:
    from amp_stream._boxtransport import BoxTransport
    from amp_stream._demultiplexer import StreamDemultiplexer
    from amp_stream._multiplexer import StreamMultiplexer

_log = Logger()


@final
class StreamConnection:
    """
    All that a connection with streams has besides its calls: the C{streams} of a
    L{StreamAMP} or a L{StreamReceiver}.

    @ivar protocol: That one.
    """

    def __init__(self, protocol: Any, config: StreamConfig) -> None:
        """Connections come with a L{StreamAMP} or a L{StreamReceiver}."""
        self.protocol = protocol
        self._config = config
        self._demultiplexer: StreamDemultiplexer
        # Only StreamAMP sets these two; StreamReceiver alone leaves them unset.
        self._multiplexer: StreamMultiplexer | None = None
        self._boxes: BoxTransport | None = None
        self._framingError: FramingError | None = None
        # The command whose box is being made.
        self._calling: type[amp.Command] | None = None
        # What a StreamReceiver that is not the protocol sends its control messages by.
        self._attached: amp.BoxDispatcher | None = None

    def __repr__(self) -> str:
        return f"<StreamConnection of {type(self.protocol).__name__}>"

    @property
    def config(self) -> StreamConfig:
        """The configuration in force."""
        return self._config

    @property
    def isSender(self) -> bool:
        """Whether this connection sends streams, and does not only receive."""
        return self._multiplexer is not None

    @property
    def peerSupportsStreams(self) -> bool | None:
        """
        Whether the peer has shown that it understands streams; L{None} while that is
        not known.  It is never asked only to know it.
        """
        return self._demultiplexer.peerKnown or None

    def send(
        self, source: SourceLike, *, size: int | None = None, digest: bool = False
    ) -> OutgoingStream:
        """
        Send a stream that belongs to no call.  The peer accepts it by its id.

        @param source: See L{Stream}.

        @param size: How many bytes it has (bytes), where the source cannot say; a
            source that has others fails.

        @param digest: Whether to add a SHA-256 of the whole for the peer to check.

        @return: The stream.

        @raise StreamsUnsupported: If this is the connection of a L{StreamReceiver}.

        @raise UsageError: If a stream cannot be made from C{source}.

        @raise OSError: If it is a file that cannot be opened.
        """
        multiplexer = self._sending()
        readable = asSource(source)
        if size is not None:
            readable.size = size
        stream = multiplexer.open(readable, digest)
        stream.start()
        return stream

    def accept(
        self, id: int, *, size: int | None = None, maxSize: int | None = None
    ) -> IncomingStream:
        """
        Take a stream that belongs to no call.

        @param id: Its id; its first chunk may have come or not.

        @param size: How many bytes it will have (bytes), if that is known.

        @param maxSize: How many it may have (bytes); C{Limits.maxStreamSize} where
            it is L{None}.

        @return: The stream, to be taken as its bytes arrive.

        @raise ProtocolViolation: If it has been accepted before.

        @raise StreamError: If it has failed already.
        """
        return self._demultiplexer.accept(id, size, maxSize)

    def chunkReceived(self, chunk: Chunk) -> Deferred[dict[str, Any]]:
        """
        Take a chunk that came by a command of your own.

        @param chunk: The value of its L{StreamChunk} argument.

        @return: The answer of the responder.  It fires once there is room for the next
            chunk, and fails with the L{StreamError} that the chunk made its stream
            fail with.
        """
        try:
            return self._demultiplexer.receiveAsked(chunk)
        except StreamError:
            return fail()

    def offer(self, source: SourceLike) -> Deferred[Any]:
        """
        Let a client that has no AMP connection get a value, once, over HTTP(S).

        @param source: See L{Stream}.

        @return: A Deferred that fires with the L{amp_stream.outofband.Offer}, which has
            the ticket.  It fails with L{NoOutOfBandServer} if this side has no
            C{outOfBandServer} that listens, and with L{CapacityExceeded} if too many
            tickets wait there to be used.  The ticket is void when this connection is
            lost.

        @raise StreamsUnsupported: If this is the connection of a L{StreamReceiver}.

        @raise UsageError: If a stream cannot be made from C{source}.

        @raise OSError: If it is a file that cannot be opened.
        """
        multiplexer = self._sending()
        readable = asSource(source)
        server = self._config.outOfBandServer
        if server is None:
            readable.close()
            return fail(NoOutOfBandServer())
        offering: Deferred[Any] = server.offer(multiplexer, readable)
        return offering

    def attach(self, protocol: amp.BoxDispatcher) -> None:
        """
        Say by which protocol a L{StreamReceiver} that is only its locator sends.  That
        of a L{StreamAMP} knows.

        @param protocol: A stock C{amp.AMP}.
        """
        self._attached = protocol
        self._demultiplexer.useClock(clockOf(self._config))

    def connectionLost(self, reason: Failure) -> None:
        """
        Fail every stream that is not complete.  Call it where a L{StreamReceiver} is
        only the locator; otherwise that happens by itself.

        @param reason: Why the connection is gone.
        """
        self._demultiplexer.connectionLost(reason)
        if self._boxes is not None:
            self._boxes.connectionLost()

    def _sending(self) -> StreamMultiplexer:
        if self._multiplexer is None:
            raise StreamsUnsupported(
                "a StreamReceiver only receives; use StreamAMP in the place of amp.AMP"
            )
        return self._multiplexer

    # The protocol, as the multiplexer and the box transport need it.

    @property
    def writeVersion(self) -> int:
        """The version of AMP that is being written, 1 or 2."""
        return 1 if self._boxes is None else self._boxes.writeVersion

    def sendBox(self, box: amp.AmpBox) -> None:
        """Send a box."""
        self.protocol.sendBox(box)

    def mayWriteBoxes(self) -> bool:
        """
        @return: Whether bytes that are written now are read as AMP: not while TLS
            begins, and not after the protocol has been switched.
        """
        protocol = self.protocol
        return not protocol._locked and protocol._startingTLSBuffer is None

    def boxReceived(self, values: dict[bytes, bytes]) -> None:
        """
        Pass on a box that has come.  Boxes of streams are taken here: another box
        receiver or locator would not know them.
        """
        command = values.get(amp.COMMAND)
        multiplexer, boxes = self._multiplexer, self._boxes
        if multiplexer is not None and boxes is not None:
            if command is None:
                taken = multiplexer.questions and multiplexer.takes(amp.AmpBox(values))
            elif command in BOX_COMMANDS:
                taken = boxes.takes(amp.AmpBox(values))
            elif command in multiplexer.commands:
                taken = multiplexer.takes(amp.AmpBox(values))
            else:
                taken = False
            if taken:
                return
        if command is None and self._isOver(values):
            return
        self.protocol.boxReceiver.ampBoxReceived(StreamBox(self._demultiplexer, values))

    def boxAssembled(self, values: dict[bytes, bytes]) -> None:
        """
        Pass on a box that came in fragments.  It is none of those that say how to read
        the boxes behind them: it has no place among these.
        """
        if not self._isOver(values):
            box = StreamBox(self._demultiplexer, values)
            self.protocol.boxReceiver.ampBoxReceived(box)

    def _isOver(self, values: dict[bytes, bytes]) -> bool:
        """@return: Whether a box answers a call that has ended already."""
        protocol = self.protocol
        tag = values.get(amp.ANSWER, values.get(amp.ERROR))
        return (
            tag is not None
            and protocol.boxReceiver is protocol
            and tag not in (protocol._outstandingRequests or ())
        )

    def framingFailed(self, error: FramingError) -> None:
        """
        The peer's bytes make no sense: the connection ends, and everything that waits
        for it fails with the reason.
        """
        protocol = self.protocol
        transport = protocol.transport
        if self._framingError is None and transport is not None:
            self._framingError = error
            protocol._keyLengthLimitExceeded = error.code == b"AMP_KEY_TOO_LONG"
            _log.error("{peer}: {error}", peer=transport.getPeer(), error=error)
            transport.loseConnection()

    def questionFailed(self, tag: bytes, failure: Failure) -> None:
        """A request did not reach the peer."""
        failQuestion(self.protocol, tag, failure)

    # For the protocol.

    def _start(self, transport: Any) -> None:
        """There is a transport."""
        multiplexer, boxes = self._multiplexer, self._boxes
        if multiplexer is None or boxes is None or multiplexer.isConnected:
            return
        multiplexer.connectionMade(transport)
        boxes.connectionMade()
        receiver = connectionOf(self.protocol.locator)
        if receiver is not None and receiver is not self:
            # The locator is a StreamReceiver.
            receiver._adopt(self)

    def _adopt(self, connection: StreamConnection) -> None:
        """
        Serve the connection of the L{StreamAMP} whose locator this is.

        @raise UsageError: If this serves a connection already.
        """
        if self._multiplexer is not None and self._demultiplexer.lost is None:
            raise UsageError(
                "a StreamReceiver serves one connection: give each its own locator"
            )
        self._demultiplexer = connection._demultiplexer
        self._multiplexer = connection._multiplexer

    def _mayBeLarge(self, box: amp.AmpBox) -> bool:
        return self._boxes is not None and self._boxes.mayFragment(box)

    def _isBusy(self) -> bool:
        return self._demultiplexer.isBusy or (
            self._boxes is not None and self._boxes.isBusy
        )

    def _resume(self) -> None:
        if self._boxes is not None and self._multiplexer is not None:
            self._boxes.resume()
            self._multiplexer.wake()

    def _sendFrame(self, frame: Frame) -> None:
        """
        Send a control message from a stock C{amp.AMP}, so that a peer which does not
        know it does not mind.
        """
        protocol = self.protocol
        connection = (
            protocol if isinstance(protocol, amp.BoxDispatcher) else self._attached
        )
        if connection is None or connection.boxSender is None:
            return
        box = frameToBox(frame)
        command = box.pop(amp.COMMAND)
        try:
            answer = connection.callRemoteString(
                command,
                requiresAnswer=not self._demultiplexer.peerKnown,
                **{key.decode("ascii"): value for key, value in box.items()},
            )
        except (amp.ProtocolSwitched, ConnectionLost):
            return
        if answer is not None:
            answer.addErrback(lambda failure: None)

    def _commandFailed(self, failure: Failure, box: amp.AmpBox) -> Failure | None:
        return commandFailed(failure, box, self._demultiplexer.lost)

    def _answerable(self, failure: Failure) -> Failure:
        return answerable(failure, self._demultiplexer.lost)

    def _callCancelled(
        self,
        tag: bytes,
        declared: list[bytes],
        announced: list[Announcement],
        deferred: Deferred[Any],
    ) -> None:
        forgetQuestion(self.protocol, tag, declared, self._demultiplexer.accept)
        if self._boxes is not None:
            self._boxes.cancel(tag, StreamCancelled())
        giveUp(announced, StreamCancelled())

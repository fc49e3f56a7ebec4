# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
How one connection writes boxes and reads them.

A L{BoxTransport} writes in the version of AMP that both ends have agreed on.  It sends
a box that is too large for one piece in fragments, and puts the fragments that arrive
together again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from amp_stream._commands import BOX_COMMANDS
from amp_stream._config import StreamConfig
from amp_stream._incoming import IncomingStream
from amp_stream._outgoing import Announcement, IterableSource, OutgoingStream
from amp_stream._sansio.boxes import MAX_SEGMENT, BoxParser, encodeBox, encodeInline
from amp_stream._sansio.frames import parseNumber
from amp_stream._sansio.limits import Limits
from amp_stream._sansio.negotiation import Negotiation, Peer, Settings
from amp_stream._sansio.splitting import reunite
from amp_stream.errors import FramingError, StreamError, ValueTooLong

if TYPE_CHECKING:
    from amp_stream._demultiplexer import StreamDemultiplexer
    from amp_stream._multiplexer import StreamMultiplexer

_log = Logger()

_BYTES = (bytes, bytearray, memoryview)


class BoxAssembly:
    """
    Gathers boxes from the streams that carry them.

    Only so many bytes are gathered at once: C{Limits.maxBufferedBytes}, or one box
    if that is larger.  The streams of other boxes wait for their turn, and their
    windows hold their sender back.
    """

    def __init__(
        self, incoming: StreamDemultiplexer, limits: Limits, taker: Any
    ) -> None:
        self._incoming = incoming
        self._limits = limits
        self._taker = taker
        # A box of the largest size takes somewhat more as bytes of a stream: each
        # key has two lengths, and so has each 65,535 bytes of a value.
        lengths = limits.maxBoxSize // 16_384 + 4 * limits.maxBoxKeys + 64
        self._most = limits.maxBoxSize + lengths
        self._budget = max(self._most, limits.maxBufferedBytes)
        self._gathering = 0
        self._queue: deque[tuple[IncomingStream, int]] = deque()

    def announced(self, id: int, size: int) -> None:
        """
        A box is coming.

        @param id: The stream that carries it.

        @param size: How many bytes that has.

        @raise StreamError: If it cannot be taken.  The sender is told.
        """
        if size > self._most:
            error = ValueTooLong(
                f"a box of {size} bytes, and {self._limits.maxBoxSize} are taken: "
                "raise Limits.maxBoxSize, or declare the long value as Stream()",
                b"AMP_BOX_TOO_LONG",
            )
            self._incoming.refuse(id, error, tell=True)
            raise error
        stream = self._incoming.accept(id, size, self._most)
        self._queue.append((stream, size))
        self._gatherMore()

    def _gatherMore(self) -> None:
        queue = self._queue
        while queue and (
            not self._gathering or self._gathering + queue[0][1] <= self._budget
        ):
            stream, size = queue.popleft()
            self._gathering += size
            gathering = _Gathering(self._limits)
            gathered: Deferred[Any] = stream.writeTo(gathering)
            gathered.addBoth(self._ended, size)
            gathered.addCallbacks(
                self._gathered, _logFailure, callbackArgs=(gathering.parser,)
            )

    def _ended(self, result: Any, size: int) -> Any:
        self._gathering -= size
        self._gatherMore()
        return result

    def _gathered(self, size: int, parser: BoxParser) -> None:
        """The bytes are there: they must be one box and nothing more."""
        try:
            values = parser.next()
            if values is None or not parser.isBetweenBoxes:
                raise FramingError("the fragments of a box are not one box")
        except FramingError as error:
            self._taker.framingFailed(error)
        else:
            self._taker.boxAssembled(values)


class _Gathering:
    """Collects the fragments of one box; a stream writes them here."""

    def __init__(self, limits: Limits) -> None:
        self.parser = BoxParser(2, limits.maxBoxSize, limits.maxBoxKeys)

    def write(self, data: bytes) -> None:
        """Keep the bytes as they are: they are joined once, when all are there."""
        self.parser.feed(data)


def _logFailure(failure: Failure) -> None:
    """Log it only: the sender knows of it, and ends the call that waits."""
    _log.debug("a box did not come whole: {error}", error=failure.value)


@frozen
class _Outgoing:
    """A box that cannot go in one piece."""

    box: amp.AmpBox
    size: int
    announced: list[Announcement]


class BoxTransport:
    """
    Writes boxes, and takes the commands by which two ends agree on how.

    @ivar parser: What reads the peer's boxes.
    """

    def __init__(
        self,
        port: Any,
        multiplexer: StreamMultiplexer,
        config: StreamConfig,
        clock: IReactorTime,
    ) -> None:
        """
        @param port: The L{StreamConnection}.

        @param multiplexer: The streams of the connection, which carry fragments.
        """
        self._port = port
        self._protocol = port.protocol
        self._multiplexer = multiplexer
        self._config = config
        self._limits = limits = config.limits
        self._clock = clock
        self._negotiation = Negotiation(config.version)
        self.parser = BoxParser(
            self._negotiation.readVersion, limits.maxBoxSize, limits.maxBoxKeys
        )
        # Whether to tell the peer, when that is possible, that version 2 comes.
        self._versionDue = False
        # Whether the box that tells it is under way to the transport.
        self._isSwitching = False
        self._waiting: list[_Outgoing] = []
        self._timeout: IDelayedCall | None = None
        # The streams of the boxes that go in fragments, by the tag of the call; None
        # instead of a stream while a box waits for the peer's settings.  Boxes without
        # a tag share the key None, which is never looked up.
        self.sending: dict[bytes | None, OutgoingStream | None] = {}
        self._assembly = BoxAssembly(multiplexer, limits, port)
        # The most bytes that the peer takes in a box.
        self._most = inf

    @property
    def writeVersion(self) -> int:
        """The version that the peer expects of the next box."""
        return self._negotiation.writeVersion

    @property
    def isBusy(self) -> bool:
        """Whether a box waits for the peer to say whether it can be sent."""
        return bool(self._waiting)

    def connectionMade(self) -> None:
        """Say what this end can read."""
        if self._negotiation.isAutomatic:
            settings = Settings(frozenset({1, 2}), self._limits.maxBoxSize)
            box = amp.AmpBox(settings.toBox())
            box[amp.COMMAND] = b"stream.Settings"
            self._multiplexer.sendAsking(box, self._settingsAnswered)

    def connectionLost(self) -> None:
        """Forget everything; the calls fail by themselves."""
        self._stopWaiting()
        self._waiting.clear()
        self.sending.clear()

    def writeInline(self, box: amp.AmpBox) -> bool:
        """
        Send a box, if it announces no streams and has only values that C{amp.AMP} could
        send: then it goes at once, in one piece, as C{amp.AMP} would send it.

        @return: Whether it has been sent.

        @raise ValueTooLong: If it is more than the peer takes.
        """
        data = encodeInline(box, self._negotiation.writeVersion)
        if data is None:
            return False
        if len(data) > self._most and _sizeOf(box) > self._most:
            raise self._tooLong(box)
        if self._multiplexer.turn:
            # A source that is being read has led to this.
            self._multiplexer.writeTurn()
        self._protocol.transport.write(data)
        if self._isSwitching:
            self._written(box)
        return True

    def write(self, box: amp.AmpBox, announced: list[Announcement]) -> None:
        """
        Send a box, in the way that its size and its peer allow.

        @param announced: The streams that it announces, which begin when it has
            been sent.

        @raise OversizeValue: If there is no way.

        @raise ValueTooLong: If it is more than the peer takes.
        """
        items: list[tuple[Any, Any]] = sorted(box.items())
        isLarge = False
        for key, value in items:
            if not isinstance(key, bytes) or not isinstance(value, _BYTES):
                raise TypeError(
                    f"the key {key!r} and its value must be bytes, not "
                    f"{type(key).__name__} and {type(value).__name__}"
                )
            # A view is a part of a longer value, see splitting.
            isLarge = isLarge or len(value) > MAX_SEGMENT or type(value) is memoryview
            if not memoryview(value).readonly:
                # They may change before they are sent.
                box[key] = bytes(value)
        if isLarge and self.mayFragment(box, items):
            self._writeLater(_Outgoing(box, _sizeOf(box), announced))
            return
        if _sizeOf(box) > self._most:
            raise self._tooLong(box)
        pieces = encodeBox(items, self._negotiation.writeVersion)
        self._multiplexer.writeTurn()
        self._protocol.transport.write(b"".join(pieces))
        self._written(box)
        for announcement in announced:
            announcement.begin()

    def _written(self, box: amp.AmpBox) -> None:
        if self._isSwitching and box.get(amp.COMMAND) == b"stream.Version":
            # Known by what it says: what was sent may be a copy of what we made.
            self._isSwitching = False
            self._negotiation.versionWritten()

    def takes(self, box: amp.AmpBox) -> bool:
        """
        Take a box that has arrived, if it is one of these commands.

        @return: Whether it was.
        """
        command = box.get(amp.COMMAND)
        if command not in BOX_COMMANDS or not self._negotiation.isAutomatic:
            return False
        try:
            if command == b"stream.Settings":
                self._settingsReceived(Settings.fromBox(box))
            elif command == b"stream.Version":
                version = parseNumber("version", box.get(b"version"))
                self._negotiation.versionAnnounced(version)
                self.parser.version = self._negotiation.readVersion
            else:
                self._assembly.announced(
                    parseNumber("id", box.get(b"id")),
                    parseNumber("size", box.get(b"size")),
                )
        except StreamError as error:
            self._multiplexer.answerError(box, error)
        else:
            self._multiplexer.answer(box)
        return True

    def cancel(self, tag: bytes, error: StreamError) -> None:
        """Send no more of a request, if it is being sent in fragments."""
        waiting = len(self._waiting)
        self._waiting = [
            outgoing for outgoing in self._waiting if outgoing.box.get(amp.ASK) != tag
        ]
        if len(self._waiting) < waiting:
            del self.sending[tag]
            # No answer will ever come to what is never asked.
            self._port.questionFailed(tag, Failure(error))
        stream = self.sending.get(tag)
        if stream is not None and not stream.isSent:
            # Otherwise the peer has the request, and is going to answer it.
            stream.giveUp(error)

    def mayFragment(
        self, box: amp.AmpBox, items: Iterable[tuple[bytes, bytes]] = ()
    ) -> bool:
        """
        @param items: The keys and values for which to ask a peer that is not known yet.

        @return: Whether a box may go in fragments.  One that does more than carry
            values when it is sent goes as it is.
        """
        negotiation = self._negotiation
        if (
            negotiation.peer is Peer.PLAIN
            or type(box)._sendTo is not amp.AmpBox._sendTo
            or self._multiplexer.lost is not None
        ):
            return False
        if negotiation.peer is Peer.KNOWN:
            return True
        return any(len(value) > MAX_SEGMENT for _, value in items)

    def _writeLater(self, outgoing: _Outgoing) -> None:
        if self._negotiation.settings is None:
            self._waiting.append(outgoing)
            self.sending[outgoing.box.get(amp.ASK)] = None
            if self._timeout is None:
                self._timeout = self._clock.callLater(
                    self._config.negotiationTimeout, self._settingsTimedOut
                )
            return
        if outgoing.size > self._most:
            raise self._tooLong(outgoing.box)
        self._writeFragments(outgoing)

    def _tooLong(self, box: amp.AmpBox) -> ValueTooLong:
        return ValueTooLong(
            f"the box has {_sizeOf(box)} bytes, and the peer takes {self._most}: raise "
            "Limits.maxBoxSize there, or declare the long value as Stream()",
            b"AMP_BOX_TOO_LONG",
        )

    def _writeFragments(self, outgoing: _Outgoing) -> None:
        pieces = encodeBox(sorted(reunite(outgoing.box).items()), 2)
        source = IterableSource(pieces)
        source.size = sum(map(len, pieces))
        stream = self._multiplexer.open(source, digest=False)
        announcement = amp.AmpBox(
            _command=b"stream.Box", id=b"%d" % stream.id, size=b"%d" % source.size
        )
        self._port.sendBox(announcement)
        self.sending[outgoing.box.get(amp.ASK)] = stream
        stream.done.addCallbacks(
            self._fragmentsSent,
            self._fragmentsFailed,
            callbackArgs=(outgoing,),
            errbackArgs=(outgoing,),
        )
        stream.start()

    def _fragmentsSent(self, size: int, outgoing: _Outgoing) -> None:
        self.sending.pop(outgoing.box.get(amp.ASK), None)
        for announcement in outgoing.announced:
            announcement.begin()

    def _fragmentsFailed(self, failure: Failure, outgoing: _Outgoing) -> None:
        self.sending.pop(outgoing.box.get(amp.ASK), None)
        if self._multiplexer.lost is None:
            self.failed(outgoing.box, outgoing.announced, failure)

    def failed(
        self, box: amp.AmpBox, announced: list[Announcement], failure: Failure
    ) -> None:
        """A box did not get through: tell those who wait for it, on either side."""
        self._multiplexer.retract(announced)
        self.sending.pop(box.get(amp.ASK), None)
        error = failure.value
        if amp.ASK in box:
            self._port.questionFailed(box[amp.ASK], failure)
        elif amp.ANSWER in box and isinstance(error, StreamError):
            self._multiplexer.answerError(amp.AmpBox({amp.ASK: box[amp.ANSWER]}), error)
        else:
            _log.warn("a call without an answer was not sent: {error}", error=error)

    def _settingsReceived(self, settings: Settings) -> None:
        self._multiplexer.peerKnown = True
        self._most = settings.box
        self._versionDue = self._negotiation.settingsReceived(settings)
        self.resume()

    def _settingsAnswered(self, box: amp.AmpBox) -> None:
        if amp.ERROR in box:
            self._negotiation.noAnswer()
            self.resume()

    def _settingsTimedOut(self) -> None:
        self._timeout = None
        self._negotiation.noAnswer()
        self.resume()

    def resume(self) -> None:
        """
        Send what has waited for the peer to say what it can do, for TLS, or for the
        end of an attempt to switch to another protocol.
        """
        if self._negotiation.peer is Peer.UNKNOWN or not self._port.mayWriteBoxes():
            return
        if self._versionDue:
            self._versionDue = False
            self._isSwitching = True
            self._port.sendBox(amp.AmpBox(_command=b"stream.Version", version=b"2"))
        self._stopWaiting()
        # What is called back when one of them fails may cancel another, or do
        # anything else to the connection.
        while self._waiting and self._port.mayWriteBoxes():
            outgoing = self._waiting.pop(0)
            try:
                self.write(outgoing.box, outgoing.announced)
            except StreamError:
                self.failed(outgoing.box, outgoing.announced, Failure())

    def _stopWaiting(self) -> None:
        timeout, self._timeout = self._timeout, None
        if timeout is not None:
            timeout.cancel()


def _sizeOf(box: amp.AmpBox) -> int:
    """
    @return: The bytes of the keys and values, which is what the limit of a box
        counts.
    """
    return sum(map(len, box)) + sum(map(len, box.values()))

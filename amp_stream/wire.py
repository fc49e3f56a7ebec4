# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The commands of the stream layer as boxes: what a peer sent, to whom it goes.

AMP closes the connection when the responder to a box without C{_ask} raises.
Nothing here does: what a peer gets wrong is answered if it asked, told with a
control message if it did not, and logged if that is impossible.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from amp_stream._sansio.chunk import parseNumber
from amp_stream._sansio.chunkbox import StreamFrame
from amp_stream._sansio.frames import Frame, MaxStreamData, StopSending
from amp_stream.chunks import chunkFromBox
from amp_stream.codes import MAX_CODE
from amp_stream.errors import InvalidChunk, StreamError, errorForCode
from amp_stream.incomingside import IncomingSide
from amp_stream.interfaces import ISendingSide

__all__ = ["WIRE_COMMANDS", "BoxReader", "frameToBox"]

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

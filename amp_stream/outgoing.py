# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
A stream as the application that sends it sees it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from amp_stream._sansio.sending import SendStream
from amp_stream.codes import errorToAbortWith
from amp_stream.errors import (
    DeclarationError,
    SourceFailed,
    StreamCancelled,
    StreamError,
)
from amp_stream.sources import Source

__all__ = ["Announcement", "OutgoingStream", "WritingSide", "announcementsIn"]

_log = Logger()


class WritingSide(Protocol):
    """
    What a stream needs of its connection.
    """

    def offer(self, stream: SendStream) -> None:
        """
        There may be bytes to send.
        """

    def allowance(self, stream: SendStream) -> int:
        """
        How many bytes to send in this turn.
        """

    def withdraw(self, stream: SendStream) -> None:
        """
        There are none now.
        """

    def writeChunk(
        self,
        stream: SendStream,
        data: bytes | memoryview,
        fin: bool,
        sha256: bytes | None,
    ) -> None:
        """
        Send bytes.
        """

    def reset(self, stream: SendStream, error: StreamError) -> None:
        """
        Give the stream up.
        """


class OutgoingStream:
    """
    Bytes that are being sent to the peer.

    @ivar done: A Deferred that fires with the number of bytes (bytes) once the
        peer has all of them.  It fails with L{SourceFailed} if they could not be
        read, with another L{StreamError} if the peer did not want them, and with
        the reason if the connection is lost.  Cancelling it stops the stream at
        both ends.
    """

    def __init__(
        self, stream: SendStream, source: Source, side: WritingSide, digest: bool
    ) -> None:
        """
        Streams come from L{StreamAMP.sendStream}; do not make them.
        """
        self._stream = stream
        self._source: Source | None = source
        self._calling = False
        self._side = side
        self._digest = hashlib.sha256() if digest else None
        self.size = source.size
        self.failure: Failure | None = None
        self.done: Deferred[int] = Deferred(self._cancel)

    def __repr__(self) -> str:
        size = "?" if self.size is None else self.size
        return f"<OutgoingStream {self.id}: {self.sent} of {size} bytes>"

    @property
    def id(self) -> int:
        """
        The number of the stream.
        """
        return self._stream.id

    @property
    def sent(self) -> int:
        """
        How many bytes have been handed to the transport (bytes).
        """
        return self._stream.window.offset

    def abort(self, code: bytes = b"STREAM_ABORTED") -> None:
        """
        Send no more of it.  The peer is told, and L{done} fails with the error of
        the code.  Does nothing once the stream has ended.

        @param code: An error code, of L{amp_stream.errors} or of your own (1 to
            255 bytes).
        """
        self.give(errorToAbortWith(code))

    # What follows is for the rest of the package.

    def start(self) -> None:
        """
        Send, now that the peer knows what this is.
        """
        source = self._source
        if source is None:
            return
        self._calling = True
        try:
            source.start(self._ready, self._sourceFailed)
        except Exception:
            self._sourceFailed(Failure())
        self._called(source)
        self._ready()

    def give(self, error: StreamError) -> None:
        """
        Give the stream up, if it has not ended.
        """
        if not self._stream.isEnded:
            self._side.reset(self._stream, error)
            self.fail(Failure(error))

    def sendChunk(self) -> bool:
        """
        It is this stream's turn.

        @return: Whether there was anything to send.
        """
        source, side, stream = self._source, self._side, self._stream
        if source is None:
            return False
        read = None
        self._calling = True
        try:
            read = source.read(side.allowance(stream))
        except Exception:
            self._sourceFailed(Failure())
        self._called(source)
        if read is None or self._source is None:
            side.withdraw(stream)
            return False
        data, fin = read
        if self.size is not None:
            total = self.sent + len(data)
            if total > self.size or (fin and total < self.size):
                wrong = ValueError(f"the source has not {self.size} bytes, as it said")
                self._sourceFailed(Failure(wrong))
                return False
        side.writeChunk(stream, data, fin, self._hash(data, fin))
        if fin:
            side.withdraw(stream)
            self._close()
        else:
            self._ready()
        return True

    def succeed(self) -> None:
        """
        The peer has every byte.
        """
        self.done.callback(self.sent)

    def fail(self, failure: Failure) -> None:
        """
        The stream has ended before its bytes did.
        """
        self._close()
        if self.failure is None:
            self.failure = failure
            self.done.errback(failure)

    def _ready(self) -> None:
        if self._source is not None and not self._calling:
            self._side.offer(self._stream)

    def _sourceFailed(self, failure: Failure) -> None:
        error = SourceFailed(f"the source of the stream failed: {failure.value}")
        error.__cause__ = failure.value
        self.give(error)

    def _hash(self, data: bytes | memoryview, fin: bool) -> bytes | None:
        if self._digest is None:
            return None
        self._digest.update(data)
        if fin:
            return self._digest.digest()
        return None if self.sent else b""

    def _called(self, source: Source) -> None:
        """
        The source has returned.  If the stream has ended meanwhile, close it now:
        a generator, for one, cannot be closed from inside.
        """
        self._calling = False
        if self._source is None:
            _close(source)

    def _close(self) -> None:
        source, self._source = self._source, None
        if source is not None and not self._calling:
            _close(source)

    def _cancel(self, deferred: Deferred[int]) -> None:
        error = StreamCancelled()
        self.failure = Failure(error)
        self._side.reset(self._stream, error)
        self._close()


Opener = Callable[[Any, amp.AmpBox, bytes, "Announcement"], OutgoingStream]


class Announcement:
    """
    What stands in a box for a stream that has no number yet.

    The number is given when the box is sent, by the connection that sends it.  A
    box that is never sent, because another of its values cannot be written, leaves
    nothing behind: when it goes, the source is closed.

    @ivar open: Makes the stream; called with the L{StreamLink}, the box, the key and
        this object.

    @ivar stream: The stream, once the box has been sent.
    """

    def __init__(self, source: Source, digest: bool, open: Opener) -> None:
        self.source = source
        self.digest = digest
        self.open = open
        self.stream: OutgoingStream | None = None
        self._closed = False

    def __len__(self) -> int:
        """
        Somebody who does not know what this is wants to write it into a box.

        @raise DeclarationError: Always.
        """
        raise DeclarationError(
            "this box announces a stream: it can only be sent by StreamAMP, and not "
            "inside an AmpList; declare Stream as an argument of the command itself"
        )

    def begin(self) -> None:
        """
        The box has been sent.
        """
        if self.stream is not None:
            self.stream.start()

    def giveUp(self, error: StreamError) -> None:
        """
        The call that announces it has failed.
        """
        if self.stream is not None:
            self.stream.give(error)
        else:
            self._closeUnsent()

    def __del__(self) -> None:
        if self.stream is None:
            self._closeUnsent()

    def _closeUnsent(self) -> None:
        if not self._closed:
            self._closed = True
            _close(self.source)


def announcementsIn(box: amp.AmpBox) -> list[tuple[bytes, Announcement]]:
    """
    @return: The announcements in a box, each with its key.
    """
    values: dict[bytes, Any] = box
    if Announcement not in map(type, values.values()):
        # As in nearly all: every box comes here.
        return []
    return [item for item in values.items() if type(item[1]) is Announcement]


def _close(source: Source) -> None:
    try:
        source.close()
    except Exception:
        _log.failure("while closing the source of a stream")

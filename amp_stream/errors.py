# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Everything that can go wrong, each with the code that names it on the wire.

A code travels in C{ResetStream}, C{StopSending} and AMP's own C{_error_code};
the other side turns it back into the class::

    StreamError                    STREAM_ERROR
     +- StreamAborted              STREAM_ABORTED       one end gave up
     |   +- StreamCancelled        STREAM_CANCELLED     its Deferred was cancelled
     |   +- StreamRefused          STREAM_REFUSED       nobody wanted the bytes
     |   +- CallFailed             STREAM_CALL_FAILED   the call it belonged to failed
     |   +- SourceFailed           STREAM_SOURCE_FAILED the sender could not read
     |   +- ConsumerFailed         STREAM_CONSUMER_FAILED  the receiver could not write
     +- LimitExceeded              STREAM_LIMIT
     |   +- StreamTooLong          STREAM_TOO_LONG      more bytes than allowed
     |   +- TooManyStreams         STREAM_TOO_MANY      more streams than allowed
     |   +- TooMuchUnclaimed       STREAM_UNCLAIMED     bytes that nobody asked for
     |   +- TooFragmented          STREAM_FRAGMENTED    too many gaps at once
     |   +- StreamTimedOut         STREAM_TIMED_OUT     no progress for too long
     |   +- FlowControlError       STREAM_FLOW_CONTROL  bytes beyond the window
     |   +- BoxTooLong             AMP_BOX_TOO_LONG     a box beyond maxBoxSize
     +- ProtocolViolation          STREAM_PROTOCOL
     |   +- InvalidChunk           STREAM_INVALID_CHUNK malformed keys or values
     |   +- ConflictingData        STREAM_CONFLICT      two bytes for one offset
     |   +- FinalSizeError         STREAM_FINAL_SIZE    the end moved (RFC 9000, 4.5)
     |   +- StreamTruncated        STREAM_TRUNCATED     an end, but bytes are missing
     |   +- DigestMismatch         STREAM_DIGEST        the SHA-256 does not match
     |   +- StreamReused           STREAM_REUSED        an id was used twice
     |   +- FramingError           AMP_FRAMING          a length makes no sense
     |       +- KeyTooLong         AMP_KEY_TOO_LONG     that of a key
     +- UsageError                 STREAM_USAGE         a mistake in the local program
     |   +- NotStreaming           STREAM_UNSUPPORTED   no streams on this connection
     |   +- StreamBusy             STREAM_BUSY          it already has a consumer
     |   +- DeclarationError       STREAM_DECLARATION   an argument in the wrong place
     +- BigValueError              BIG_VALUE            L{BigString} and its kin
     |   +- ValueTooLong           BIG_VALUE_TOO_LONG   longer than C{maxSize}
     |   +- MissingPiece           BIG_VALUE_GAP        a key of the run is not there
     |   +- KeyClash               BIG_VALUE_CLASH      two arguments want one key
     |   +- InvalidText            BIG_VALUE_TEXT       not UTF-8
     |   +- OversizeValue          AMP_OVERSIZE         too long for this connection
     +- OutOfBandError             OOB_ERROR            a transfer over HTTP
         +- NobodyListens          OOB_NO_SERVER        neither side has a server
         +- TransferRefused        OOB_REFUSED          the server refused the ticket
         +- TransferCut            OOB_CUT              the HTTP connection was lost
         +- Unreachable            OOB_UNREACHABLE      nobody answers at the URL
         +- UntrustedServer        OOB_UNTRUSTED        not the server of the ticket
         +- TicketExpired          OOB_EXPIRED          nobody used the ticket in time
         +- TooManyTickets         OOB_TICKETS          more tickets than allowed

A lost connection is not in this tree: it fails everything with the reason that
the transport gave, as it does for any AMP call.

The codes that an application gives a stream up with.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

__all__ = [
    "STREAM_ERRORS",
    "BigValueError",
    "BoxTooLong",
    "CallFailed",
    "ConflictingData",
    "ConsumerFailed",
    "DeclarationError",
    "DigestMismatch",
    "FinalSizeError",
    "FlowControlError",
    "FramingError",
    "InvalidChunk",
    "InvalidText",
    "KeyClash",
    "KeyTooLong",
    "LimitExceeded",
    "MissingPiece",
    "NobodyListens",
    "NotStreaming",
    "OutOfBandError",
    "OversizeValue",
    "ProtocolViolation",
    "SourceFailed",
    "StreamAborted",
    "StreamBusy",
    "StreamCancelled",
    "StreamError",
    "StreamRefused",
    "StreamReused",
    "StreamTimedOut",
    "StreamTooLong",
    "StreamTruncated",
    "TicketExpired",
    "TooFragmented",
    "TooManyStreams",
    "TooManyTickets",
    "TooMuchUnclaimed",
    "TransferCut",
    "TransferRefused",
    "Unreachable",
    "UntrustedServer",
    "UsageError",
    "ValueTooLong",
    "errorForCode",
    "isStreamCode",
]


class StreamError(Exception):
    """
    The base of every error of this package.

    @cvar wireCode: The code of the class: upper-case ASCII, unique in the tree.

    @ivar code: The code of this error.  It differs from L{wireCode} only when
        the peer sent a code that no class here is known by.
    """

    wireCode: ClassVar[bytes] = b"STREAM_ERROR"
    _advice: ClassVar[str] = "the stream failed"

    def __init__(self, message: str = "", code: bytes | None = None) -> None:
        """
        @param message: What happened and what to do next, for a person.  The
            advice of the class when empty.

        @param code: The code to report instead of that of the class.
        """
        super().__init__(message or self._advice)
        self.code = self.wireCode if code is None else code


class StreamAborted(StreamError):
    """One end gave the stream up: the value is not complete and never will be."""

    wireCode = b"STREAM_ABORTED"
    _advice = "the stream was aborted; send the value again if it is still wanted"


class StreamCancelled(StreamAborted):
    """One end cancelled the Deferred that was waiting for the stream."""

    wireCode = b"STREAM_CANCELLED"
    _advice = "the Deferred of this stream was cancelled, so the stream was stopped"


class StreamRefused(StreamAborted):
    """
    The receiver did not want the bytes: it answered the call without consuming
    the stream that came with it.
    """

    wireCode = b"STREAM_REFUSED"
    _advice = "the receiver answered without reading this stream to its end"


class CallFailed(StreamAborted):
    """The AMP call that announced the stream failed, and took the stream with it."""

    wireCode = b"STREAM_CALL_FAILED"
    _advice = "the call that this stream belonged to failed; see the error of the call"


class SourceFailed(StreamAborted):
    """
    The sender could not read its source.  At the sender, C{__cause__} is the
    error that the source raised.
    """

    wireCode = b"STREAM_SOURCE_FAILED"
    _advice = "the sender could not read the rest of the value from its source"


class ConsumerFailed(StreamAborted):
    """
    The receiver could not write to its file or consumer.  At the receiver,
    C{__cause__} is the error that the consumer raised.
    """

    wireCode = b"STREAM_CONSUMER_FAILED"
    _advice = "the receiver could not write the value to where it was going"


class LimitExceeded(StreamError):
    """A limit of the side that reports this was exceeded."""

    wireCode = b"STREAM_LIMIT"
    _advice = "a limit of the receiver was exceeded"


class StreamTooLong(LimitExceeded):
    """The stream has more bytes than its receiver allows."""

    wireCode = b"STREAM_TOO_LONG"
    _advice = "the value is longer than its receiver allows; raise maxSize there"


class TooManyStreams(LimitExceeded):
    """The sender opened more streams at once than the receiver allows."""

    wireCode = b"STREAM_TOO_MANY"
    _advice = (
        "too many streams at once; wait for one to end, or raise Limits.maxStreams"
    )


class TooMuchUnclaimed(LimitExceeded):
    """
    Bytes arrived that nobody at the receiver has asked for yet, and too many of
    them.
    """

    wireCode = b"STREAM_UNCLAIMED"
    _advice = (
        "too many bytes arrived before anybody asked for them; "
        "announce the stream first, or raise Limits.maxUnacceptedBytes"
    )


class TooFragmented(LimitExceeded):
    """
    So many separate pieces arrived out of order that keeping them would cost
    more than they hold.
    """

    wireCode = b"STREAM_FRAGMENTED"
    _advice = "too many gaps at once; send chunks nearer to their order, or larger ones"


class StreamTimedOut(LimitExceeded):
    """The stream made no progress for longer than allowed."""

    wireCode = b"STREAM_TIMED_OUT"
    _advice = "the stream made no progress for too long; see Limits.idleTimeout"


class FlowControlError(LimitExceeded):
    """
    The sender sent bytes beyond the maximum that the receiver had granted (RFC
    9000, section 4.1).
    """

    wireCode = b"STREAM_FLOW_CONTROL"
    _advice = "bytes beyond the window; wait for stream.MaxData, or for each answer"


class BoxTooLong(LimitExceeded):
    """A box has more bytes than the side that would receive it allows."""

    wireCode = b"AMP_BOX_TOO_LONG"
    _advice = (
        "the box is longer than its receiver allows; raise Limits.maxBoxSize there, "
        "or declare the long value as Stream()"
    )


class ProtocolViolation(StreamError):
    """The peer broke a rule of the stream layer."""

    wireCode = b"STREAM_PROTOCOL"
    _advice = "the peer broke a rule of the stream layer"


class InvalidChunk(ProtocolViolation):
    """The keys or values of a stream command are malformed."""

    wireCode = b"STREAM_INVALID_CHUNK"
    _advice = "malformed stream command; see the wire specification"


class ConflictingData(ProtocolViolation):
    """Two different bytes arrived for one offset (RFC 9000, section 2.2)."""

    wireCode = b"STREAM_CONFLICT"
    _advice = "two different bytes for one offset; the sender is at fault"


class FinalSizeError(ProtocolViolation):
    """
    The end of the stream moved, or bytes arrived beyond it (RFC 9000, section
    4.5).
    """

    wireCode = b"STREAM_FINAL_SIZE"
    _advice = "the end of the stream moved, or bytes came after it"


class StreamTruncated(ProtocolViolation):
    """The end of the stream is known, but bytes before it never came."""

    wireCode = b"STREAM_TRUNCATED"
    _advice = "the end of the stream came, but bytes before it are missing"


class DigestMismatch(ProtocolViolation):
    """The bytes do not have the SHA-256 that the sender gave."""

    wireCode = b"STREAM_DIGEST"
    _advice = "the bytes do not match the sender's SHA-256; send the value again"


class StreamReused(ProtocolViolation):
    """A stream id was used a second time on one connection."""

    wireCode = b"STREAM_REUSED"
    _advice = "this stream id was used before on this connection; choose a new one"


class FramingError(ProtocolViolation):
    """
    The bytes of the connection are not boxes of the version of AMP that was
    agreed on.  There is no way to find the next box, so the connection ends.
    """

    wireCode = b"AMP_FRAMING"
    _advice = "the peer does not speak this version of AMP"


class KeyTooLong(FramingError):
    """The length of a key makes no sense."""

    wireCode = b"AMP_KEY_TOO_LONG"
    _advice = "a key of more than 255 bytes: the peer does not speak AMP"


class UsageError(StreamError):
    """A mistake of the program on this side."""

    wireCode = b"STREAM_USAGE"
    _advice = "this cannot be done with a stream"


class NotStreaming(UsageError):
    """There are no streams on this connection."""

    wireCode = b"STREAM_UNSUPPORTED"
    _advice = (
        "no streams on this connection: use StreamAMP, "
        "or mix StreamReceiver into the protocol, at both ends"
    )


class StreamBusy(UsageError):
    """The stream already has a consumer, or its bytes are gone."""

    wireCode = b"STREAM_BUSY"
    _advice = "this stream has a consumer already; a stream is read once"


class DeclarationError(UsageError):
    """An argument was declared where it cannot work."""

    wireCode = b"STREAM_DECLARATION"
    _advice = "this argument cannot be declared here"


class BigValueError(StreamError):
    """The base of the errors of C{BigString} and C{BigUnicode}."""

    wireCode = b"BIG_VALUE"
    _advice = "the value cannot be carried in one box"


class ValueTooLong(BigValueError):
    """The value is longer than the C{maxSize} of its argument."""

    wireCode = b"BIG_VALUE_TOO_LONG"
    _advice = "the value is longer than maxSize; raise it, or declare Stream()"


class MissingPiece(BigValueError):
    """A key in the middle of a run of pieces is missing."""

    wireCode = b"BIG_VALUE_GAP"
    _advice = "a piece of the value is missing"


class KeyClash(BigValueError):
    """Two arguments of one command need the same key of the box."""

    wireCode = b"BIG_VALUE_CLASH"
    _advice = "two arguments need the same key; rename one of them"


class InvalidText(BigValueError):
    """The bytes of a text value are not UTF-8."""

    wireCode = b"BIG_VALUE_TEXT"
    _advice = "the bytes of this text are not UTF-8"


class OversizeValue(BigValueError):
    """
    A value of more than 65,535 bytes, in an argument that is not made for such,
    cannot be sent to this peer.
    """

    wireCode = b"AMP_OVERSIZE"
    _advice = (
        "a value of more than 65,535 bytes cannot be sent to this peer: declare it as "
        "Stream() or BigString(), or use StreamAMP with version='auto' at both ends"
    )


class OutOfBandError(StreamError):
    """The base of the errors of C{OutOfBand}, whose bytes travel over HTTP."""

    wireCode = b"OOB_ERROR"
    _advice = "the transfer over HTTP failed"


class NobodyListens(OutOfBandError):
    """Neither side has an HTTP server that could take part in the transfer."""

    wireCode = b"OOB_NO_SERVER"
    _advice = (
        "neither side listens for out-of-band transfers: give the StreamConfig of one "
        "of them outOfBandServer=OutOfBandServer(...), or start the file service with "
        "--oob-listen"
    )


class TransferRefused(OutOfBandError):
    """The HTTP server did not accept the request."""

    wireCode = b"OOB_REFUSED"
    _advice = (
        "the HTTP server refused the ticket: it was used before, is too old, or its "
        "call has ended; make the call again"
    )


class TransferCut(OutOfBandError):
    """The HTTP connection was lost before the last byte."""

    wireCode = b"OOB_CUT"
    _advice = "the HTTP connection was lost before the last byte; make the call again"


class Unreachable(OutOfBandError):
    """The server of a ticket does not answer."""

    wireCode = b"OOB_UNREACHABLE"
    _advice = (
        "the HTTP server of the ticket does not answer: see the endpoint and the "
        "publicURL of its OutOfBandServer, and what is between"
    )


class UntrustedServer(OutOfBandError):
    """
    The server of a ticket is not the one that the ticket is for, or is not one
    that this side would talk to.
    """

    wireCode = b"OOB_UNTRUSTED"
    _advice = "the HTTP server is not the one that the ticket is for"


class TicketExpired(OutOfBandError):
    """Nobody used the ticket while it was valid."""

    wireCode = b"OOB_EXPIRED"
    _advice = "nobody used the ticket in time; make the call again"


class TooManyTickets(OutOfBandError):
    """More tickets are waiting to be used than the server allows."""

    wireCode = b"OOB_TICKETS"
    _advice = "too many tickets wait to be used; wait, or raise maxTickets of the store"


def _tree(cls: type[StreamError]) -> Iterator[type[StreamError]]:
    yield cls
    for subclass in cls.__subclasses__():
        yield from _tree(subclass)


STREAM_ERRORS: dict[type[Exception], bytes] = {
    cls: cls.wireCode for cls in reversed(list(_tree(StreamError)))
}
"""
Every error class and its code, in the form of C{amp.Command.errors}: a Command
that a stock C{amp.AMP} calls or answers can include it to get the classes.  Each class
comes before its bases, as AMP takes the first that matches.
"""

_BY_CODE: dict[bytes, type[StreamError]] = {
    cls.wireCode: cls for cls in _tree(StreamError)
}


def errorForCode(code: bytes, message: str = "") -> StreamError:
    """
    Make the exception that a code from the wire stands for.

    @param code: A code that a peer sent.

    @param message: What the peer said, if it said anything.

    @return: An instance of the class of that code; of L{StreamAborted}, with
        C{code} as it came, if there is none.
    """
    cls = _BY_CODE.get(code)
    if cls is not None:
        return cls(message)
    shown = code[:64].decode("ascii", "backslashreplace")
    return StreamAborted(
        message or f"the peer gave the stream up with code {shown!r}", code=code
    )


def isStreamCode(code: bytes) -> bool:
    """@return: Whether a code is that of a class of this tree."""
    return code in _BY_CODE

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The errors of the package.

A class says whether to try again; a code says exactly what happened::

    StreamError              STREAM_ERROR            everything of this package
     +- StreamAborted        STREAM_ABORTED          an end gave the stream up
     |   +- StreamCancelled  STREAM_CANCELLED
     |   +- StreamRefused    STREAM_REFUSED
     |   +- CallFailed       STREAM_CALL_FAILED
     |   +- SourceFailed     STREAM_SOURCE_FAILED
     |   +- ConsumerFailed   STREAM_CONSUMER_FAILED
     +- StreamTimedOut       STREAM_TIMED_OUT
     +- LimitExceeded        STREAM_LIMIT            a limit of the side that reports it
     |   +- ValueTooLong     STREAM_TOO_LONG         trying again cannot help
     |   |                   AMP_BOX_TOO_LONG
     |   |                   BIG_VALUE_TOO_LONG
     |   +- CapacityExceeded STREAM_TOO_MANY         trying again later may help
     |                       STREAM_UNACCEPTED
     |                       STREAM_FRAGMENTED
     |                       OOB_TICKETS
     +- ProtocolViolation    STREAM_PROTOCOL         the peer is at fault
     |   |                   STREAM_FLOW_CONTROL
     |   |                   STREAM_FINAL_SIZE
     |   |                   STREAM_CONFLICT
     |   |                   STREAM_TRUNCATED
     |   |                   STREAM_REUSED
     |   +- InvalidValue     STREAM_INVALID_CHUNK
     |   |                   BIG_VALUE_GAP
     |   |                   BIG_VALUE_TEXT
     |   +- DigestMismatch   STREAM_DIGEST
     |   +- FramingError     AMP_FRAMING             ends the connection
     |                       AMP_KEY_TOO_LONG
     +- StreamsUnsupported   STREAM_UNSUPPORTED      this connection has no streams
     +- OversizeValue        AMP_OVERSIZE            this peer cannot read the value
     +- UsageError           STREAM_USAGE            a mistake of its program
     +- OutOfBandError       OOB_ERROR               a transfer over HTTP failed
         +- NoOutOfBandServer   OOB_NO_SERVER
         +- ServerUnreachable   OOB_UNREACHABLE
         +- UntrustedServer     OOB_UNTRUSTED
         +- TransferRefused     OOB_REFUSED
         +- TransferInterrupted OOB_INTERRUPTED
         +- TicketExpired       OOB_EXPIRED

The code travels in C{stream.Reset}, C{stream.StopSending} and AMP's own
C{_error_code}; the other side turns it back into the class.

A lost connection is not in this tree: it fails everything with the reason that
the transport gave, as it does for any AMP call.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar, cast

__all__ = [
    "STREAM_ERRORS",
    "CallFailed",
    "CapacityExceeded",
    "ConsumerFailed",
    "DigestMismatch",
    "FramingError",
    "InvalidValue",
    "LimitExceeded",
    "NoOutOfBandServer",
    "OutOfBandError",
    "OversizeValue",
    "ProtocolViolation",
    "ServerUnreachable",
    "SourceFailed",
    "StreamAborted",
    "StreamCancelled",
    "StreamError",
    "StreamRefused",
    "StreamTimedOut",
    "StreamsUnsupported",
    "TicketExpired",
    "TransferInterrupted",
    "TransferRefused",
    "UntrustedServer",
    "UsageError",
    "ValueTooLong",
    "errorForCode",
]


_Error = TypeVar("_Error", bound="StreamError")


class StreamError(Exception):
    """
    The base of every error of this package.

    @cvar code: The code of the class: upper-case ASCII.

    @ivar code: The code of this error: one of its class, or one of an application.
    """

    code: bytes
    _advice: str

    def __new__(cls: type[_Error], *args: Any, **kwargs: Any) -> _Error:
        # Each further code has a class of its own below the public one, as
        # amp.Command.errors goes by class: a stock responder sends the right code.
        code = args[1] if len(args) > 1 else kwargs.get("code")
        exact = _BY_CODE.get(code, cls) if isinstance(code, bytes) else cls
        return super().__new__(exact if issubclass(exact, cls) else cls, *args)

    def __init__(self, message: str = "", code: bytes | None = None) -> None:
        """
        @param message: What happened and what to do next, for a person.  A text
            that fits the code when empty.

        @param code: The code, if it is not the first one of the class.
        """
        cls = type(self) if code is None else _BY_CODE.get(code, type(self))
        Exception.__init__(self, message or cls._advice)
        if code is not None:
            self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickle finds classes by name, and the class of a further code has none.
        cls = None if _BY_CODE.get(self.code) is type(self) else type(self)
        return _restored, (cls, self.code, self.args), self.__dict__


class StreamAborted(StreamError):
    """
    One end gave the stream up: the value is not complete and never will be.  An error
    whose code is that of an application, and of no class here, is of this class.
    """


class StreamCancelled(StreamAborted):
    """One end cancelled the Deferred that was waiting for the stream."""


class StreamRefused(StreamAborted):
    """
    The receiver did not want the bytes: it answered the call without consuming
    the stream that came with it.
    """


class CallFailed(StreamAborted):
    """The AMP call that announced the stream failed, and took the stream with it."""


class SourceFailed(StreamAborted):
    """
    The sender could not read its source.  At the sender, C{__cause__} is the
    error that the source raised.
    """


class ConsumerFailed(StreamAborted):
    """
    The receiver could not write to its file or consumer.  At the receiver,
    C{__cause__} is the error that the consumer raised.
    """


class StreamTimedOut(StreamError):
    """The stream made no progress for longer than allowed."""


class LimitExceeded(StreamError):
    """A limit of the side that reports this was exceeded."""


class ValueTooLong(LimitExceeded):
    """A stream, a value or a box has more bytes than its receiver allows."""


class CapacityExceeded(LimitExceeded):
    """
    The side that reports this holds as much as it may.  It may have room later, or for
    a peer that asks for less at once.
    """


class ProtocolViolation(StreamError):
    """The peer broke a rule of the stream layer."""


class InvalidValue(ProtocolViolation):
    """A key or a value of a box is malformed."""


class DigestMismatch(ProtocolViolation):
    """The bytes do not have the SHA-256 that the sender gave."""


class FramingError(ProtocolViolation):
    """
    The bytes of the connection are not boxes of the version of AMP that was
    agreed on.  There is no way to find the next box, so the connection ends.
    """


class StreamsUnsupported(StreamError):
    """There are no streams on this connection."""


class OversizeValue(StreamError):
    """
    A value of more than 65,535 bytes, in an argument that is not made for such,
    cannot be sent to this peer.
    """


class UsageError(StreamError):
    """A mistake of the program that reports it."""


class OutOfBandError(StreamError):
    """The base of the errors of C{OutOfBand}, whose bytes travel over HTTP."""


class NoOutOfBandServer(OutOfBandError):
    """Neither side has an HTTP server that could take part in the transfer."""


class ServerUnreachable(OutOfBandError):
    """The server of a ticket does not answer."""


class UntrustedServer(OutOfBandError):
    """
    The server of a ticket is not the one that the ticket is for, or is not one
    that this side would talk to.
    """


class TransferRefused(OutOfBandError):
    """The HTTP server did not accept the request."""


class TransferInterrupted(OutOfBandError):
    """The HTTP connection was lost before the last byte."""


class TicketExpired(OutOfBandError):
    """Nobody used the ticket while it was valid."""


_TABLE: Final[dict[type[StreamError], dict[bytes, str]]] = {
    StreamError: {b"STREAM_ERROR": "the stream failed"},
    StreamAborted: {
        b"STREAM_ABORTED": "the stream was aborted; send the value again if need be"
    },
    StreamCancelled: {b"STREAM_CANCELLED": "the Deferred of this stream was cancelled"},
    StreamRefused: {
        b"STREAM_REFUSED": "the receiver answered without reading it to its end"
    },
    CallFailed: {
        b"STREAM_CALL_FAILED": "the call of this stream failed; see the call's error"
    },
    SourceFailed: {
        b"STREAM_SOURCE_FAILED": "the sender could not read the rest from its source"
    },
    ConsumerFailed: {
        b"STREAM_CONSUMER_FAILED": "the receiver could not write the value"
    },
    StreamTimedOut: {
        b"STREAM_TIMED_OUT": "no progress for too long; see StreamConfig.streamTimeout"
    },
    LimitExceeded: {b"STREAM_LIMIT": "a limit of the receiver was exceeded"},
    ValueTooLong: {
        b"STREAM_TOO_LONG": "longer than the receiver allows; raise maxSize there",
        b"AMP_BOX_TOO_LONG": "the box is longer than its receiver allows: "
        "raise Limits.maxBoxSize there, or declare the long value as Stream()",
        b"BIG_VALUE_TOO_LONG": "longer than maxSize; raise it, or declare Stream()",
    },
    CapacityExceeded: {
        b"STREAM_TOO_MANY": "too many streams at once; wait for one to end, "
        "or raise Limits.maxStreams",
        b"STREAM_UNACCEPTED": "too many bytes before their call; send the call first, "
        "or raise Limits.maxUnacceptedBytes",
        b"STREAM_FRAGMENTED": "too many gaps at once; send chunks in their order",
        b"OOB_TICKETS": "too many tickets wait to be used; wait, or raise maxTickets",
    },
    ProtocolViolation: {
        b"STREAM_PROTOCOL": "the peer broke a rule of the stream layer",
        b"STREAM_FLOW_CONTROL": "bytes beyond the window; wait for stream.MaxData, "
        "or for each answer",
        b"STREAM_FINAL_SIZE": "the end of the stream moved, or bytes came after it",
        b"STREAM_CONFLICT": "two different bytes for one offset",
        b"STREAM_TRUNCATED": "the end came, but bytes before it are missing",
        b"STREAM_REUSED": "this stream id was used before on this connection",
    },
    InvalidValue: {
        b"STREAM_INVALID_CHUNK": "malformed stream command; see the wire specification",
        b"BIG_VALUE_GAP": "a piece of the value is missing",
        b"BIG_VALUE_TEXT": "the bytes of this text are not UTF-8",
    },
    DigestMismatch: {b"STREAM_DIGEST": "the bytes do not match the sender's SHA-256"},
    FramingError: {
        b"AMP_FRAMING": "the peer does not speak this version of AMP",
        b"AMP_KEY_TOO_LONG": "a key of over 255 bytes: the peer speaks no AMP",
    },
    StreamsUnsupported: {
        b"STREAM_UNSUPPORTED": "no streams on this connection: use StreamAMP, "
        "or mix StreamReceiver into the protocol, at both ends"
    },
    OversizeValue: {
        b"AMP_OVERSIZE": "more than 65,535 bytes cannot be sent to this peer: declare "
        "Stream() or BigString(), or use StreamAMP with version='auto' at both ends"
    },
    UsageError: {b"STREAM_USAGE": "this cannot be done with a stream"},
    OutOfBandError: {b"OOB_ERROR": "the transfer over HTTP failed"},
    NoOutOfBandServer: {
        b"OOB_NO_SERVER": "neither side listens for out-of-band transfers: give one "
        "StreamConfig outOfBandServer=OutOfBandServer(...), or start the file service "
        "with --oob-listen"
    },
    ServerUnreachable: {
        b"OOB_UNREACHABLE": "the HTTP server of the ticket does not answer: see the "
        "endpoint and the publicURL of its OutOfBandServer, and what is between"
    },
    UntrustedServer: {
        b"OOB_UNTRUSTED": "the HTTP server is not the one that the ticket is for"
    },
    TransferRefused: {
        b"OOB_REFUSED": "the HTTP server refused the ticket: it was used before, is "
        "too old, or its call has ended; make the call again"
    },
    TransferInterrupted: {
        b"OOB_INTERRUPTED": "the HTTP connection was lost before the last byte; "
        "make the call again"
    },
    TicketExpired: {
        b"OOB_EXPIRED": "nobody used the ticket in time; make the call again"
    },
}
"""
The codes of each class, its own first, with the text of an error that was given none.
"""


def _exactClass(cls: type[StreamError], code: bytes, text: str) -> type[StreamError]:
    if "code" in vars(cls):
        # Failure.trap goes by name, so the name has to differ.
        name = f"{cls.__name__}[{code.decode()}]"
        cls = cast("type[StreamError]", type(name, (cls,), {"__module__": __name__}))
    cls.code, cls._advice = code, text
    return cls


_BY_CODE: dict[bytes, type[StreamError]] = {
    code: _exactClass(cls, code, text)
    for cls, codes in _TABLE.items()
    for code, text in codes.items()
}

STREAM_ERRORS: dict[type[Exception], bytes] = {
    cls: code for code, cls in reversed(_BY_CODE.items())
}
"""
Each code and its class, in the form of C{amp.Command.errors}: a Command that a stock
C{amp.AMP} calls or answers can include it to get the classes.  Each class comes before
its bases, as AMP takes the first that matches.
"""


def _restored(cls: type[StreamError] | None, code: bytes, args: Any) -> StreamError:
    exact = cls or _BY_CODE[code]
    return exact.__new__(exact, *args)


def errorForCode(code: bytes, message: str = "") -> StreamError:
    """
    Make the exception that a code from the wire stands for.

    @param code: A code that a peer sent.

    @param message: What the peer said, if it said anything.

    @return: An instance of the class of that code; of L{StreamAborted}, with
        C{code} as it came, if there is none.
    """
    if code in _BY_CODE:
        return _BY_CODE[code](message)
    shown = code[:64].decode("ascii", "backslashreplace")
    return StreamAborted(
        message or f"the peer gave the stream up with code {shown!r}", code
    )

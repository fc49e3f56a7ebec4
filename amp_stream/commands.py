# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The AMP commands of the stream layer.

C{StreamData} may be sent either way.  Without C{_ask}, its sender keeps within
the window that L{MaxStreamData} opens.  With C{_ask}, the answer comes once there
is room for the next chunk: to wait for each answer is all the flow control that a
simple sender needs.
"""

from __future__ import annotations

from twisted.protocols import amp

from amp_stream.chunks import StreamChunk
from amp_stream.errors import STREAM_ERRORS

__all__ = [
    "AskTicket",
    "MaxStreamData",
    "ResetStream",
    "StopSending",
    "StreamBox",
    "StreamData",
    "StreamSettings",
    "StreamVersion",
    "TakeTicket",
]


class StreamData(amp.Command):
    """
    Bytes of a stream.

    The response says up to which offset the sender may go on without another
    answer; one that waits for each answer need not look at it.
    """

    arguments = [(b"data", StreamChunk())]
    response = [(b"maximum", amp.Integer(optional=True))]
    errors = STREAM_ERRORS


class MaxStreamData(amp.Command):
    """
    The receiver will take the bytes of a stream below C{maximum}, an absolute
    offset that never goes back (RFC 9000, section 19.10).
    """

    arguments = [(b"id", amp.Integer()), (b"maximum", amp.Integer())]
    errors = STREAM_ERRORS
    requiresAnswer = False


class ResetStream(amp.Command):
    """
    The sender of a stream gives up after C{final_size} bytes (RFC 9000, section
    19.4).  What was sent must not be taken for the whole.
    """

    arguments = [
        (b"id", amp.Integer()),
        (b"code", amp.String()),
        (b"final_size", amp.Integer()),
    ]
    errors = STREAM_ERRORS
    requiresAnswer = False


class StopSending(amp.Command):
    """
    The receiver of a stream wants no more of it (RFC 9000, section 19.5).  The
    sender answers with L{ResetStream}.
    """

    arguments = [(b"id", amp.Integer()), (b"code", amp.String())]
    errors = STREAM_ERRORS
    requiresAnswer = False


class TakeTicket(amp.Command):
    """
    The receiver of a stream that was announced as L{OutOfBand}, which has an HTTP
    server, tells its sender how to C{PUT} the bytes there.

    An answer without an error says that the sender is going to.
    """

    arguments = [
        (b"id", amp.Integer()),
        (b"url", amp.String()),
        (b"token", amp.String()),
        (b"method", amp.String()),
        (b"lifetime", amp.Integer()),
        (b"max_size", amp.Integer(optional=True)),
        (b"certificate", amp.String(optional=True)),
        (b"server_name", amp.String(optional=True)),
    ]
    errors = STREAM_ERRORS


class AskTicket(amp.Command):
    """
    The receiver of such a stream, which has no HTTP server, asks its sender, which
    has one, how to C{GET} the bytes.
    """

    arguments = [(b"id", amp.Integer())]
    response = TakeTicket.arguments[1:]
    errors = STREAM_ERRORS


class StreamSettings(amp.Command):
    """
    What the side that sends this can read, once, at the start of a connection.
    """

    arguments = [(b"versions", amp.String()), (b"box", amp.Integer())]
    errors = STREAM_ERRORS


class StreamVersion(amp.Command):
    """
    The boxes behind this one are of another version of AMP.  It is only sent to a
    peer that has said that it can read that.
    """

    arguments = [(b"version", amp.Integer())]
    errors = STREAM_ERRORS
    requiresAnswer = False


class StreamBox(amp.Command):
    """
    A box is coming, as the bytes of a stream, in version 2 of AMP.  When it is whole
    it is taken as if it had come like any other.
    """

    arguments = [(b"id", amp.Integer()), (b"size", amp.Integer())]
    errors = STREAM_ERRORS
    requiresAnswer = False

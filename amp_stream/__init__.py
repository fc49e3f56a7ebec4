# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Values of any size over AMP, without slowing the small calls down.

Declare what an argument is, and nothing else changes:

  - L{BigString} and L{BigUnicode}: one value over several keys of a box, for any
    AMP peer;
  - L{Stream}: a value of any size, sent between other calls and taken as it
    arrives, over a L{StreamAMP} connection;
  - L{OutOfBand}: the same, over an HTTP(S) connection of its own, which AMP sets up
    and authorises;
  - any argument at all, and lists of them: between two L{StreamAMP}, a box that is
    too large for AMP is sent in fragments;
  - L{StreamChunk} and L{StreamReceiver}: the same, chunk by chunk, from any peer
    that can make AMP calls.
"""

from amp_stream import errors
from amp_stream._arguments import AmpList, BigString, BigUnicode, ListOf, Stream
from amp_stream._commands import (
    MaxStreamData,
    ResetStream,
    StopSending,
    StreamChunk,
    StreamData,
)
from amp_stream._incoming import IncomingStream
from amp_stream._outgoing import OutgoingStream
from amp_stream._protocol import StreamAMP, StreamReceiver
from amp_stream._sansio.frames import Chunk
from amp_stream._sansio.limits import Limits
from amp_stream._version import __version__
from amp_stream.outofband._argument import OutOfBand

__all__ = [
    "AmpList",
    "BigString",
    "BigUnicode",
    "Chunk",
    "IncomingStream",
    "Limits",
    "ListOf",
    "MaxStreamData",
    "OutOfBand",
    "OutgoingStream",
    "ResetStream",
    "StopSending",
    "Stream",
    "StreamAMP",
    "StreamChunk",
    "StreamData",
    "StreamReceiver",
    "__version__",
    "errors",
]

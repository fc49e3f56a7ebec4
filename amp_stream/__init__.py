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

from typing import TYPE_CHECKING, Any

from amp_stream import errors
from amp_stream._arguments import (
    AmpList,
    BigString,
    BigUnicode,
    ListOf,
    Stream,
    StreamChunk,
)
from amp_stream._config import StreamConfig
from amp_stream._connection import StreamConnection
from amp_stream._incoming import IncomingStream
from amp_stream._outgoing import OutgoingStream
from amp_stream._protocol import StreamAMP, StreamReceiver
from amp_stream._sansio.frames import Chunk
from amp_stream._sansio.limits import Limits
from amp_stream._version import __version__

if TYPE_CHECKING:
    from amp_stream.outofband._argument import OutOfBand

__all__ = [
    "AmpList",
    "BigString",
    "BigUnicode",
    "Chunk",
    "IncomingStream",
    "Limits",
    "ListOf",
    "OutOfBand",
    "OutgoingStream",
    "Stream",
    "StreamAMP",
    "StreamChunk",
    "StreamConfig",
    "StreamConnection",
    "StreamReceiver",
    "__version__",
    "errors",
]


def __getattr__(name: str) -> Any:
    """Load L{OutOfBand} when it is used: it needs an HTTP library."""
    if name == "OutOfBand":
        from amp_stream.outofband._argument import OutOfBand

        globals()[name] = OutOfBand
        return OutOfBand
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

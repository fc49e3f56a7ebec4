# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The bounds that one side of a connection sets."""

from __future__ import annotations

from typing import Any

from attrs import field, frozen
from attrs.validators import and_, ge, instance_of, le, optional

MAX_CHUNK = 0xFFFF
"""
The most bytes that one value of an AMP box can hold.
"""

INITIAL_MAXIMUM = 262_144
"""
How many bytes of a stream may be sent before the receiver has granted any.  Every
receiver takes at least this much of each stream that it allows.
"""

LEAST_BOX = 131_072
"""
The least that any side may say of the largest box that it takes (bytes): a chunk of
full length, and every box that holds one full value, fit into it.
"""

MAX_NUMBER = 2**62 - 1
"""
The largest id, offset or maximum: that of a QUIC integer (RFC 9000, section 16).
"""


def _count(least: int, most: int = MAX_NUMBER) -> Any:
    return and_(instance_of(int), ge(least), le(most))


@frozen(kw_only=True)
class Limits:
    """
    What one side of a connection allows its peer, and itself.

    The most memory that a peer can make a connection hold in stream data is
    C{maxBufferedBytes + maxStreams * 262144} bytes.

    @ivar initialWindow: How many bytes of one stream may wait for their consumer
        (bytes, at least 262,144), to begin with.

    @ivar maxWindow: How many there may be on a connection that is so long and so
        fast that its senders would otherwise wait (bytes).  One of less than
        C{initialWindow} is as good as that: then no window grows.

    @ivar chunk: The largest chunk that this side sends (bytes, 1 to 65,535).

    @ivar maxStreams: The most streams that the peer may have open at once
        towards this side, those included that were accepted and have not begun.

    @ivar maxUnacceptedBytes: The most bytes, over all streams of a connection,
        that are kept before their stream is accepted.

    @ivar maxBufferedBytes: What all streams of a connection may hold together
        before each gets no more than the 262,144 bytes that it is entitled to.

    @ivar maxStreamSize: The most bytes that one stream may carry, or L{None}
        for no bound: a consumer that writes to a disk needs none.

    @ivar maxCollectSize: The most bytes that C{collect()} gathers in memory when
        its caller does not say.

    @ivar maxGaps: The most gaps that one stream may have at once, while bytes
        beyond them are here already.

    @ivar maxBoxSize: The most bytes that the keys and values of a box may have
        together, be it sent whole or in fragments (131,072 or more).  The default is 16
        MiB and 64 KiB: room for a C{BigString} of its largest size and a few arguments.

    @ivar maxBoxKeys: The most keys that a box may have.
    """

    initialWindow: int = field(default=1_048_576, validator=_count(INITIAL_MAXIMUM))
    maxWindow: int = field(default=67_108_864, validator=_count(0))
    chunk: int = field(default=MAX_CHUNK, validator=_count(1, MAX_CHUNK))
    maxStreams: int = field(default=1024, validator=_count(1))
    maxUnacceptedBytes: int = field(default=8_388_608, validator=_count(0))
    maxBufferedBytes: int = field(default=67_108_864, validator=_count(0))
    maxStreamSize: int | None = field(default=None, validator=optional(_count(0)))
    maxCollectSize: int = field(default=268_435_456, validator=_count(0))
    maxGaps: int = field(default=1024, validator=_count(1))
    maxBoxSize: int = field(default=16_842_752, validator=_count(LEAST_BOX))
    maxBoxKeys: int = field(default=8192, validator=_count(16))

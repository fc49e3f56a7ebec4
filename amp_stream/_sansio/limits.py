# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The bounds that one side of a connection sets."""

from __future__ import annotations

from math import inf
from typing import Any

from attrs import field, frozen
from attrs.validators import and_, ge, instance_of, le, optional

__all__ = ["INITIAL_MAXIMUM", "MAX_CHUNK", "MAX_NUMBER", "Limits"]


MAX_CHUNK = 0xFFFF
"""
The most bytes that one value of an AMP box can hold.
"""

INITIAL_MAXIMUM = 262_144
"""
How many bytes of a stream may be sent before the receiver has granted any.  Every
receiver takes at least this much of each stream that it allows.
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

    @ivar window: How many bytes of one stream may wait for their consumer
        (bytes, at least 262,144), to begin with.

    @ivar maxWindow: How many there may be on a connection that is so long and so
        fast that its senders would otherwise wait (bytes).  One of less than
        C{window} is as good as that: then no window grows.

    @ivar chunk: The largest chunk that this side sends (bytes, 1 to 65,535).

    @ivar maxStreams: The most streams that the peer may have open at once
        towards this side, those included that somebody here has asked for and
        that have not begun.

    @ivar maxUnclaimedBytes: The most bytes, over all streams of a connection,
        that are kept before anybody asks for their stream.

    @ivar maxBufferedBytes: What all streams of a connection may hold together
        before each gets no more than the 262,144 bytes that it is entitled to.

    @ivar maxStreamSize: The most bytes that one stream may carry, or L{None}
        for no bound: a consumer that writes to a disk needs none.

    @ivar maxCollectSize: The most bytes that C{collect()} gathers in memory when
        it is not told otherwise.

    @ivar maxGaps: The most gaps that one stream may have at once, while bytes
        beyond them are here already.

    @ivar maxBoxSize: The most bytes that the keys and values of a box may have
        together, be it sent whole or in fragments.  The default is 16 MiB and 64
        KiB: room for a C{BigString} of its largest size and a few arguments.

    @ivar maxBoxKeys: The most keys that a box may have.

    @ivar negotiationTimeout: How long a box that can only be sent to a peer that
        takes fragments waits for that peer to say so (seconds).

    @ivar maxBulkDelay: How much the streams that this side sends may add to the time
        of a small call that crosses the same link (seconds, above 0), or L{None} to
        use the link like any other sender, whatever small calls take.  It is kept
        where the system tells what is in flight (Linux, TCP).  A link of less than
        some 10 Mbit/s needs four packets in its queue, which take longer than the
        default.

    @ivar idleTimeout: How long a stream may wait for the peer without a byte of
        progress (seconds), or L{None} to wait for ever.  It ends within a
        quarter more than that.
    """

    window: int = field(default=1_048_576, validator=_count(INITIAL_MAXIMUM))
    maxWindow: int = field(default=67_108_864, validator=_count(0))
    chunk: int = field(default=MAX_CHUNK, validator=_count(1, MAX_CHUNK))
    maxStreams: int = field(default=1024, validator=_count(1))
    maxUnclaimedBytes: int = field(default=8_388_608, validator=_count(0))
    maxBufferedBytes: int = field(default=67_108_864, validator=_count(0))
    maxStreamSize: int | None = field(default=None, validator=optional(_count(0)))
    maxCollectSize: int = field(default=268_435_456, validator=_count(0))
    maxGaps: int = field(default=1024, validator=_count(1))
    maxBoxSize: int = field(default=16_842_752, validator=_count(1024))
    maxBoxKeys: int = field(default=8192, validator=_count(16))
    negotiationTimeout: float = field(default=10.0)
    maxBulkDelay: float | None = field(default=0.005)
    idleTimeout: float | None = field(default=300.0)

    @maxBulkDelay.validator
    def _checkMaxBulkDelay(self, attribute: object, value: object) -> None:
        if value is not None and not _isTime(value):
            raise ValueError(
                "maxBulkDelay must be a number of seconds above 0, or None"
            )

    @idleTimeout.validator
    def _checkIdleTimeout(self, attribute: object, value: object) -> None:
        if value is not None and not _isTime(value):
            raise ValueError("idleTimeout must be a number of seconds above 0, or None")

    @negotiationTimeout.validator
    def _checkNegotiationTimeout(self, attribute: object, value: object) -> None:
        if not _isTime(value):
            raise ValueError("negotiationTimeout must be a number of seconds above 0")


def _isTime(value: object) -> bool:
    return isinstance(value, (int, float)) and 0 < value < inf

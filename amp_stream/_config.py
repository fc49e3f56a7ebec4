# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""How one side of a connection behaves."""

from __future__ import annotations

from math import inf
from typing import Any

from attrs import field, frozen
from attrs.validators import instance_of
from twisted.internet.interfaces import IReactorTime

from amp_stream._sansio.limits import Limits


def _isTime(instance: object, attribute: Any, value: object) -> None:
    isNumber = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (isNumber and 0 < value < inf):  # type: ignore[operator]
        raise ValueError(
            f"{attribute.name} must be a number of seconds above 0, not {value!r}"
        )


def _isTimeOrNone(instance: object, attribute: Any, value: object) -> None:
    if value is not None:
        _isTime(instance, attribute, value)


def _isVersion(instance: object, attribute: Any, value: object) -> None:
    if isinstance(value, bool) or value not in ("auto", 1, 2):
        raise ValueError(f"version must be 'auto', 1 or 2, not {value!r}")


@frozen(kw_only=True)
class StreamConfig:
    """
    How this side of a connection behaves.  Make one, and give it to all connections.

    @ivar limits: What this side allows the peer.

    @ivar version: The version of AMP to speak: C{"auto"} to agree on it with the peer;
        1, or 2 for a peer that speaks version 2 from the first byte and cannot
        negotiate.

    @ivar negotiationTimeout: How long a box that can only be sent to a peer that takes
        fragments waits for that peer to say so (seconds).

    @ivar streamTimeout: How long a stream may wait for the peer without a byte of
        progress (seconds), or L{None} to wait for ever.  It ends within a quarter more
        than that.

    @ivar maxBulkDelay: How much the streams that this side sends may add to the time of
        a small call that crosses the same link (seconds), or L{None} to use the link
        like any other sender.  It is kept where the system tells how much is in flight
        (Linux, TCP).  A link of less than some 10 Mbit/s needs four packets in its
        queue, which take longer than the default.

    @ivar outOfBandServer: The L{amp_stream.outofband.OutOfBandServer} that takes and
        gives the bytes of L{OutOfBand} arguments at this side.  One of the two sides
        needs one.

    @ivar outOfBandClient: The L{amp_stream.outofband.OutOfBandClient} that says which
        servers of the peer this side transfers with.  The default trusts a server at
        the peer's own address, over TLS.

    @ivar reactor: Measures waiting times; the global reactor where it is L{None}.

    @raise ValueError: If a value is not of its kind or out of its range.

    @raise TypeError: If C{limits} is no L{Limits}.
    """

    limits: Limits = field(factory=Limits, validator=instance_of(Limits))
    version: str | int = field(default="auto", validator=_isVersion)
    negotiationTimeout: float = field(default=10.0, validator=_isTime)
    streamTimeout: float | None = field(default=300.0, validator=_isTimeOrNone)
    maxBulkDelay: float | None = field(default=0.005, validator=_isTimeOrNone)
    outOfBandServer: Any = None
    outOfBandClient: Any = None
    reactor: IReactorTime | None = None


def clockOf(config: StreamConfig) -> IReactorTime:
    """@return: The reactor of a configuration."""
    if config.reactor is None:
        from twisted.internet import reactor

        return reactor
    return config.reactor

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The table of all measures."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.findings import Findings
from benchmarks.measures import distance, loopback, resources
from benchmarks.running import Setting

__all__ = ["MEASURES"]

MEASURES: dict[str, Callable[[Setting], Findings]] = {
    "distance-peers": distance.peersAtADistance,
    "distance": distance.distance,
    "links": distance.links,
    "distance-oob": distance.distanceOutOfBand,
    "changes": distance.changes,
    "jitter": distance.jitter,
    "sharing": distance.sharing,
    "sources": distance.sources,
    "near": distance.near,
    "both-ways": loopback.bothWays,
    "beside": loopback.beside,
    "throughput": loopback.throughput,
    "tls": loopback.tls,
    "out-of-band": loopback.outOfBand,
    "before": loopback.before,
    "long-way": loopback.longWay,
    "memory": resources.memory,
    "streams": resources.streams,
    "connections": resources.connections,
    "calls": loopback.calls,
    "small-values": loopback.smallValues,
    "bigstring": loopback.bigString,
    "put": resources.put,
    "chunks": loopback.chunks,
    "profile": resources.profile,
}
"""
In the order of the report.  The first line of a function's docstring is its title.
"""

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The table of all measures.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.findings import Findings
from benchmarks.measures.bigstring import bigString
from benchmarks.measures.calls import calls
from benchmarks.measures.chunks import chunks
from benchmarks.measures.distance import distance
from benchmarks.measures.files import put
from benchmarks.measures.latency import beside, bothWays, latency, peersLatency
from benchmarks.measures.many import connections, streams
from benchmarks.measures.memory import memory
from benchmarks.measures.profile import profile
from benchmarks.measures.throughput import outOfBand, throughput, tls
from benchmarks.rounds import Setting

__all__ = ["MEASURES"]

MEASURES: dict[str, Callable[[Setting], Findings]] = {
    "throughput": throughput,
    "tls": tls,
    "latency": latency,
    "peers-latency": peersLatency,
    "both-ways": bothWays,
    "distance": distance,
    "memory": memory,
    "streams": streams,
    "connections": connections,
    "calls": calls,
    "bigstring": bigString,
    "out-of-band": outOfBand,
    "beside": beside,
    "put": put,
    "chunks": chunks,
    "profile": profile,
}
"""
In the order of the report.  The first line of a function's docstring is its title.
"""

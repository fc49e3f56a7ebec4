# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Large values in one box.
"""

from __future__ import annotations

from benchmarks.findings import Findings, Target
from benchmarks.measures.throughput import bulk, throughputTable
from benchmarks.rounds import Setting, cases, rounds

__all__ = ["bigString"]


def bigString(setting: Setting) -> Findings:
    """
    BigString of 64 MiB
    """
    size = setting.pick(2**28, 2**26)
    peers = ("naive-64m", "bigstring-64m")
    what = cases(peers, setting, lambda peer: bulk(peer, size))
    series = rounds(setting, what)
    title = "Values of 64 MiB, one after the other"
    table = throughputTable(title, series, what, "naive-64m", "bigstring-64m")
    ratio = series.ratio("bigstring-64m", "naive-64m", lambda outcome: outcome.rate)
    return Findings(
        [table], [Target("BigString of 64 MiB against naive", "≥", 3, ratio)]
    )

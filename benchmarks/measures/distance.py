# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
A long way, at any rate.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.catalogue import PEERS
from benchmarks.findings import Column, Findings, Table, Target
from benchmarks.lab import Relayed
from benchmarks.measures.throughput import bulk
from benchmarks.rounds import Setting, rounds

__all__ = ["distance"]

ROUND_TRIP = 0.1


def distance(setting: Setting) -> Findings:
    """
    A round trip of 100 ms
    """
    size = setting.pick(2**30, 2**24)
    place = Relayed(delay=ROUND_TRIP / 2)
    large = ("raw", "stream", "stream-wide")
    peers = setting.pick((*large, "amp-16", "grpc"), large)
    what = {
        peer: replace(bulk(peer, size if peer in large else 2**26), place=place)
        for peer in peers
    }
    series = rounds(setting, what, timeout=300.0, times=setting.pick(3, 1))
    rows = [
        {
            "peer": case.label,
            "rate": series.median(name, lambda outcome: outcome.rate)
            or series.failure(name),
            "ratio": series.ratio(name, "raw", lambda outcome: outcome.rate),
        }
        for name, case in what.items()
    ]
    table = Table(
        "Through a relay that delays each byte by 50 ms, at unlimited rate",
        [
            Column("peer", "peer"),
            Column("rate", "MB/s", "rate"),
            Column("ratio", "against raw", "ratio"),
        ],
        rows,
        [f"{size / 2**20:.0f} MiB for raw and Stream, 64 MiB or less for the others."],
    )
    what = "against raw TCP at a round trip of 100 ms"
    return Findings(
        [table],
        [
            Target(
                f"{PEERS[name].label} {what}",
                "≥",
                0.9,
                series.ratio(name, "raw", lambda outcome: outcome.rate),
            )
            for name in large[1:]
        ],
    )

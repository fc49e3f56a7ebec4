# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Many streams, and many connections.
"""

from __future__ import annotations

import resource

from benchmarks.findings import Column, Findings, Table, Target
from benchmarks.job import Job
from benchmarks.rounds import Case, Series, Setting, rounds
from benchmarks.running import Outcome

__all__ = ["connections", "jain", "streams"]

MIB = 2**20


def jain(shares: list[int]) -> float:
    """
    @return: Jain's index: 1 if all have the same, 1/n if one has everything.
    """
    squares = sum(share**2 for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 0.0


def _rows(series: Series, what: dict[str, Case]) -> list[dict[str, object]]:
    first = next(iter(what))
    return [
        {
            "what": name,
            "rate": series.median(name, lambda outcome: outcome.rate)
            or series.failure(name),
            "ratio": series.ratio(name, first, lambda outcome: outcome.rate),
            "client": series.median(name, lambda outcome: outcome.growth["client"]),
            "server": series.median(name, lambda outcome: outcome.growth["server"]),
        }
        for name in what
    ]


_COLUMNS = [
    Column("what", "uploads"),
    Column("rate", "MB/s in total", "rate"),
    Column("ratio", "against one", "ratio"),
    Column("client", "client's memory, MiB more", "mib"),
    Column("server", "server's", "mib"),
]


def streams(setting: Setting) -> Findings:
    """
    Many streams on one connection
    """
    count = setting.pick(1000, 100)
    total = count * MIB
    many = f"{count:,} streams"
    what = {
        "one stream": Case(Job("stream", size=total)),
        many: Case(Job("stream", up=count, size=MIB, snapshotAt=total // 2)),
    }
    series = rounds(setting, what)
    rows = _rows(series, what)

    def shares(outcome: Outcome) -> list[int]:
        # A stream that has got nothing yet may not be known there; the one that was
        # the warm-up is, and has nothing.
        some = [share for share in outcome.server["meter"]["snapshot"] if share]
        return some + [0] * (count - len(some))

    index = series.median(many, lambda outcome: jain(shares(outcome)))
    rows[1]["jain"] = index
    table = Table(
        "Streams of one connection",
        [*_COLUMNS, Column("jain", "Jain's index, half way", "index")],
        rows,
        [f"1 MiB each, and one stream of {count:,} MiB."],
    )
    ratio = series.ratio(many, "one stream", lambda outcome: outcome.rate)
    outcomes = series.all(many)
    return Findings(
        [table],
        [
            Target(f"{many} on one connection against one", "≥", 0.8, ratio),
            Target(f"Jain's index of {many}", "≥", 0.95, index, "index"),
        ],
        {"fairness": shares(outcomes[-1]) if outcomes else []},
    )


def connections(setting: Setting) -> Findings:
    """
    Many connections to one process
    """
    count = setting.pick(1000, 100)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    many = f"{count:,} connections"
    what = {
        "one connection": Case(Job("stream", size=count * MIB)),
        many: Case(Job("stream", connections=count, size=MIB)),
    }
    series = rounds(setting, what)
    table = Table(
        "Connections with one stream each, to one server process",
        _COLUMNS,
        _rows(series, what),
        [f"1 MiB each, and one stream of {count:,} MiB."],
    )
    ratio = series.ratio(many, "one connection", lambda outcome: outcome.rate)
    failed = float(bool(series.failure(many)))
    return Findings(
        [table],
        [
            Target(f"failures of {many}", "≤", 0, failed, "count"),
            Target(f"{many} against one", "≥", 0.7, ratio),
        ],
    )

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
What a large stream costs.
"""

from __future__ import annotations

from benchmarks.findings import Column, Findings, Table, Target
from benchmarks.job import Job
from benchmarks.rounds import Case, Setting, rounds

__all__ = ["memory"]

MIB = 2**20


def memory(setting: Setting) -> Findings:
    """
    Memory of a large stream
    """
    size = setting.pick(2**32, 2**26)
    what = {
        way: Case(
            Job("stream", up=int(way == "up"), down=int(way == "down"), size=size),
            watch=True,
        )
        for way in ("up", "down")
    }
    series = rounds(setting, what, timeout=300.0, times=1)
    rows = []
    targets = []
    traces = {}
    for way in what:
        ends = {"sender": "client", "receiver": "server"}
        if way == "down":
            ends = {"sender": "server", "receiver": "client"}
        grown = {
            role: series.median(way, lambda outcome, end=end: outcome.growth[end])
            for role, end in ends.items()
        }
        rows.append({"way": way, **grown})
        targets += [
            Target(
                f"memory of a 4 GiB stream {way}, {role}", "≤", 16 * MIB, value, "mib"
            )
            for role, value in grown.items()
        ]
        for outcome in series.all(way):
            for role, end in ends.items():
                index = 1 if end == "server" else 2
                traces[f"{way}, {role}"] = [
                    (sample[0], sample[index]) for sample in outcome.memory
                ]
    table = Table(
        f"One stream of {size / 2**30:g} GiB: by how much VmHWM grew",
        [
            Column("way", "stream"),
            Column("sender", "sender, MiB", "mib"),
            Column("receiver", "receiver, MiB", "mib"),
        ],
        rows,
    )
    if setting.quick:
        targets = []
    return Findings([table], targets, {"memory": traces})

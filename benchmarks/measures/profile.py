# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Where the time of a chunk goes.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from benchmarks.findings import Column, Findings, Table
from benchmarks.job import Job
from benchmarks.rounds import Case, Setting, rounds
from benchmarks.sampling import INTERVAL

__all__ = ["groupOf", "profile"]

_MOST = 12
_UNIT = 65_536
GROUPS = (
    ("waiting for the other side", ("twisted.internet.epollreactor:doPoll",)),
    ("transport: send", ("twisted.internet.tcp:writeSomeData",)),
    (
        "transport: receive",
        ("twisted.internet.tcp:doRead", "twisted.internet.tcp:_dataReceived"),
    ),
    (
        "transport: buffering of writes",
        ("twisted.internet.abstract:", "twisted.internet.tcp:"),
    ),
    (
        "source",
        (
            "benchmarks.material:",
            "amp_stream.sources:",
            "amp_stream.piecesources:",
            "amp_stream.filesources:",
            "amp_stream.pump:",
        ),
    ),
    (
        "framing of chunks",
        ("amp_stream._sansio.chunkbox:", "amp_stream._sansio.frames:"),
    ),
    (
        "parsing of boxes",
        (
            "amp_stream.wire:",
            "amp_stream._sansio.boxparser:",
            "amp_stream._sansio.framing:",
            "amp_stream._sansio.reading:",
            "amp_stream.boxlayer:",
            "amp_stream.boxes:",
            "twisted.protocols.amp:",
        ),
    ),
    (
        "delivery",
        (
            "benchmarks.peers.streams:",
            "benchmarks.meter:add",
            "amp_stream.delivery:",
            "amp_stream.consumers:",
        ),
    ),
    ("state of streams", ("amp_stream.",)),
    ("reactor and everything else", ("",)),
)
"""
The innermost function of a stack that a group names decides; of the groups, the first.
"""


def groupOf(stack: list[str]) -> str:
    """
    @param stack: C{module:function}, from the innermost outwards.
    """
    for function in stack:
        for name, prefixes in GROUPS[:-1]:
            if function.startswith(prefixes):
                return name
    return GROUPS[-1][0]


def profile(setting: Setting) -> Findings:
    """
    Where the time goes
    """
    size = setting.pick(2**32, 2**28)
    what = {"stream": Case(Job("stream", size=size, profile=True))}
    series = rounds(setting, what, timeout=300.0, times=1)
    tables = []
    for outcome in series.all("stream")[-1:]:
        pieces = size / _UNIT
        average = outcome.server["meter"]["piece"]
        found = {
            "sender": _grouped(outcome.client["profile"]),
            "receiver": _grouped(outcome.server["profile"]),
        }
        note = (
            f"Looked at every millisecond, over {size / 2**30:g} GiB; what was "
            f"delivered came in pieces of {average:,.0f} bytes on average."
        )
        rows: list[dict[str, Any]] = []
        for name, _ in GROUPS:
            row: dict[str, Any] = {"group": name}
            for end, counted in found.items():
                total = sum(counted.values()) or 1
                row[end] = counted[name] * INTERVAL / pieces
                row[f"{end}Share"] = counted[name] / total
            rows.append(row)
        tables.append(
            Table(
                "Stream over loopback TCP: microseconds for each 64 KiB",
                [
                    Column("group", "where"),
                    Column("sender", "sender, µs", "µs"),
                    Column("senderShare", "share", "percent"),
                    Column("receiver", "receiver, µs", "µs"),
                    Column("receiverShare", "share", "percent"),
                ],
                rows,
                [note],
            )
        )
        tables.append(
            Table(
                "The functions in which most samples were, without what they call",
                [
                    Column("sender", "sender"),
                    Column("senderShare", "share", "percent"),
                    Column("receiver", "receiver"),
                    Column("receiverShare", "share", "percent"),
                ],
                [
                    {
                        "sender": one,
                        "senderShare": a,
                        "receiver": two,
                        "receiverShare": b,
                    }
                    for (one, a), (two, b) in zip(
                        _hottest(outcome.client["profile"]),
                        _hottest(outcome.server["profile"]),
                        strict=False,
                    )
                ],
            )
        )
    return Findings(tables)


def _grouped(samples: list[tuple[list[str], int]]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for stack, count in samples:
        counted[groupOf(stack)] += count
    return counted


def _hottest(samples: list[tuple[list[str], int]]) -> list[tuple[str, float]]:
    counted: Counter[str] = Counter()
    for stack, count in samples:
        counted[stack[0]] += count
    total = sum(counted.values())
    return [(name, count / total) for name, count in counted.most_common(_MOST)]

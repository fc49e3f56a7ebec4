# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
How long small calls take while bulk moves on the same connection.
"""

from __future__ import annotations

from typing import Any

from benchmarks.catalogue import PEERS
from benchmarks.findings import Column, Findings, Table, Target
from benchmarks.job import Job
from benchmarks.lab import link, linkKind
from benchmarks.rounds import Case, Series, Setting, cases, percentile, rounds
from benchmarks.running import Outcome, Place

__all__ = ["beside", "bothWays", "latency", "peersLatency"]

INTERVAL = 0.02
SLOW = 20_000_000
RATES = {SLOW: "20 Mbit/s", 100_000_000: "100 Mbit/s", 1_000_000_000: "1 Gbit/s"}
PEERS_WITH_CALLS = (
    *("stream", "trial", "amp-1", "amp-4", "amp-16", "amp-push"),
    *("naive-1m", "naive-4m", "pb-file", "pb-string", "foolscap", "grpc"),
)
_COLUMNS = [
    Column("idle50", "idle p50, ms", "ms"),
    Column("idle99", "p99", "ms"),
    Column("p50", "under bulk p50, ms", "ms"),
    Column("p99", "p99", "ms"),
    Column("settled", "p99 after the first second", "ms"),
    Column("longest", "longest", "ms"),
]
_NOTE = (
    "A small call every 20 ms on the connection that moves the bulk, from just before "
    "callRemote to its callback; one without an answer counts as long as was waited."
)
_SHARE = (
    "Share: payload that arrived, of the rate of the link. A packet of 1,514 bytes "
    "carries 1,448, so 95.6 % is all there is with namespaces."
)


def _case(setting: Setting, place: Place, peer: str, **more: Any) -> Case:
    seconds = setting.pick(8.0, 1.2)
    idle = setting.pick(4.0, 0.5)
    interval = INTERVAL if PEERS[peer].calls else 0.0
    warm = 2**17
    job = Job(peer, seconds=seconds, idle=idle, interval=interval, warm=warm, **more)
    return Case(job, place)


def _quantile(series: Series, name: str, when: str, percent: float) -> float | None:
    def value(outcome: Outcome) -> float:
        return percentile(outcome.result[when], percent)

    return series.median(name, value)


def _times(series: Series, name: str) -> dict[str, Any]:
    if series.failure(name):
        return {"p50": series.failure(name)}
    return {
        "idle50": _quantile(series, name, "idle", 50),
        "idle99": _quantile(series, name, "idle", 99),
        "p50": _quantile(series, name, "busy", 50),
        "p99": _quantile(series, name, "busy", 99),
        "settled": _settled(series, name),
        "longest": _quantile(series, name, "busy", 100),
    }


def _settled(series: Series, name: str) -> float | None:
    """
    Leave out what the kernel's first guess at the rate of the link does.
    """

    def value(outcome: Outcome) -> float:
        times = outcome.result["busy"]
        return percentile(times[int(1 / INTERVAL) :] or times, 99)

    return series.median(name, value)


def _calls(series: Series, name: str) -> list[float]:
    return [taken for outcome in series.all(name) for taken in outcome.result["busy"]]


def peersLatency(setting: Setting) -> Findings:
    """
    Small calls under bulk, all peers
    """
    peers = setting.pick(PEERS_WITH_CALLS, ("stream", "trial", "amp-push"))
    with link(SLOW) as place:
        what = cases(peers, setting, lambda peer: _case(setting, place, peer))
        what["raw"] = _case(setting, place, "raw")
        series = rounds(setting, what, times=setting.pick(3, 1))
    rows = []
    for name, case in what.items():
        times = _times(series, name) if PEERS[case.job.peer].calls else {}
        share = series.median(name, lambda outcome: outcome.arrived() * 8 / SLOW)
        rows.append({"peer": case.label, "share": share, **times})
    table = Table(
        "An upload at 20 Mbit/s",
        [
            Column("peer", "peer"),
            *_COLUMNS,
            Column("share", "bulk's share of the link", "percent"),
        ],
        rows,
        [_NOTE, _SHARE, linkKind()],
    )
    return Findings(
        [table],
        data={
            "latency": {
                case.label: _calls(series, name)
                for name, case in what.items()
                if series.all(name) and PEERS[case.job.peer].calls
            }
        },
    )


def _grid(setting: Setting) -> list[tuple[int, str, int]]:
    if setting.quick:
        return [(SLOW, "up", 1), (SLOW, "down", 1), (1_000_000_000, "up", 64)]
    return [
        (rate, way, streams)
        for rate in RATES
        for way in ("up", "down")
        for streams in (1, 4, 64)
    ]


def latency(setting: Setting) -> Findings:
    """
    Small calls under bulk, Stream
    """
    rows = []
    targets = []
    grid = _grid(setting)
    for rate, label in RATES.items():
        ways = [(way, streams) for each, way, streams in grid if each == rate]
        with link(rate) as place:
            what = {
                f"{label}, {way}, {streams}": _case(
                    setting,
                    place,
                    "stream",
                    up=streams if way == "up" else 0,
                    down=streams if way == "down" else 0,
                )
                for way, streams in ways
            }
            series = rounds(setting, what, times=setting.pick(3, 1))
        for (way, streams), name in zip(ways, what, strict=True):
            row = _row(series, name, rate)
            rows.append({"rate": label, "way": way, "streams": str(streams), **row})
            targets += _targets(f"{label}, {way}, {streams} streams", rate, row)
    table = Table(
        "Small calls beside streams, on links of three rates",
        [
            Column("rate", "link"),
            Column("way", "bulk"),
            Column("streams", "streams"),
            *_COLUMNS,
            Column("bound", "3 chunk times + idle p99", "ms"),
            Column("share", "bulk's share", "percent"),
            Column("piece", "chunk, bytes", "count"),
        ],
        rows,
        [
            _NOTE,
            "Chunk: how long the sender's chunks were at the end.",
            _SHARE,
            linkKind(),
        ],
    )
    return Findings([table], targets)


def _row(series: Series, name: str, rate: int) -> dict[str, Any]:
    row = _times(series, name)
    if series.failure(name):
        return row

    def piece(outcome: Outcome) -> float:
        sender = outcome.server if outcome.job.down else outcome.client
        return sender["meter"]["chunk"]

    row["piece"] = series.median(name, piece)
    row["bound"] = 3 * row["piece"] * 8 / rate + row["idle99"]
    row["share"] = series.median(name, lambda outcome: outcome.arrived() * 8 / rate)
    return row


def _targets(where: str, rate: int, row: dict[str, Any]) -> list[Target]:
    found = [
        Target(
            f"small call p99: {where}",
            "≤",
            row.get("bound", 0.0),
            row["p99"] if "bound" in row else None,
            "ms",
        )
    ]
    if rate == SLOW and where.endswith(" 1 streams") and "bound" in row:
        found += [
            Target(f"small call p50: {where}", "≤", 0.010, row["p50"], "ms"),
            Target(f"small call p99, in itself: {where}", "≤", 0.020, row["p99"], "ms"),
            Target(
                f"bulk's share of the link: {where}", "≥", 0.95, row["share"], "percent"
            ),
        ]
    return found


def bothWays(setting: Setting) -> Findings:
    """
    Small calls under bulk both ways, loopback
    """
    peers = setting.pick(("stream", "trial", "amp-16"), ("stream",))
    what = {peer: _case(setting, Place(), peer, up=4, down=4) for peer in peers}
    series = rounds(setting, what)
    rows = [
        {
            "peer": case.label,
            **_times(series, name),
            "rate": series.median(name, Outcome.arrived),
        }
        for name, case in what.items()
    ]
    table = Table(
        "Four streams each way, loopback",
        [Column("peer", "peer"), *_COLUMNS, Column("rate", "MB/s, both ways", "rate")],
        rows,
        [_NOTE],
    )
    idle, busy = rows[0].get("idle99"), rows[0].get("p99")
    value = busy / idle if idle else None
    what = "small call p99 on loopback with 4 streams both ways, against idle"
    return Findings([table], [Target(what, "≤", 5, value)])


def beside(setting: Setting) -> Findings:
    """
    Small calls beside an out-of-band transfer, loopback
    """
    peers = ("stream", "oob", "oob-tls")
    what = {
        f"{peer} {way}": _case(setting, Place(), peer, **{way: 1})
        for peer in peers
        for way in ("up", "down")
    }
    series = rounds(setting, what)
    rows = [
        {
            "peer": case.label,
            "way": name.split()[-1],
            **_times(series, name),
            "rate": series.median(name, Outcome.arrived),
        }
        for name, case in what.items()
    ]
    table = Table(
        "One transfer as fast as it goes, on the machine of the calls",
        [
            Column("peer", "peer"),
            Column("way", "way"),
            *_COLUMNS,
            Column("rate", "MB/s", "rate"),
        ],
        rows,
        [_NOTE],
    )
    return Findings([table])

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
How many bytes a second, over the loopback interface.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.catalogue import PEERS
from benchmarks.findings import Column, Findings, Table, Target
from benchmarks.job import Job
from benchmarks.rounds import Case, Series, Setting, cases, rounds

__all__ = ["bulk", "outOfBand", "throughput", "throughputTable", "tls"]

TCP = (
    *("raw", "raw-256k", "stream", "trial", "amp-1", "amp-4", "amp-16", "amp-push"),
    *("naive-1m", "naive-4m", "pb-file", "pb-string", "foolscap", "grpc"),
    *("http-put", "http-get", "treq-put", "treq-get", "static"),
)
TLS = (
    *("raw-tls", "stream-tls"),
    *("https-put", "https-get", "treq-tls-put", "treq-tls-get"),
)
QUICK_TCP = (
    *("raw", "stream", "trial", "amp-16", "amp-push", "naive-1m", "pb-string"),
    *("foolscap", "grpc", "http-put", "treq-get"),
)
QUICK_TLS = ("raw-tls", "stream-tls", "treq-tls-put")
OUT_OF_BAND = ("static", "oob", "raw-tls", "oob-tls")


def bulk(peer: str, size: int, **more: Any) -> Case:
    """
    One transfer, in the direction that the peer has, of as much as it needs.
    """
    entry = PEERS[peer]
    down = int(entry.downloads)
    return Case(Job(peer, up=1 - down, down=down, size=int(size * entry.share), **more))


def throughputTable(
    title: str, series: Series, what: Mapping[str, Case], base: str, ours: str
) -> Table:
    """
    Rates, ratios and memory.
    """
    rows = []
    for name, case in what.items():
        rate = series.median(name, lambda outcome: outcome.rate)
        ends = ("client", "server")
        if case.job.down:
            ends = ("server", "client")
        rows.append(
            {
                "peer": case.label,
                "rate": rate if rate is not None else series.failure(name),
                "ratio": series.ratio(name, base, lambda outcome: outcome.rate),
                "ours": series.ratio(ours, name, lambda outcome: outcome.rate),
                "sender": series.median(name, lambda o, end=ends[0]: o.growth[end]),
                "receiver": series.median(name, lambda o, end=ends[1]: o.growth[end]),
            }
        )
    return Table(
        title,
        [
            Column("peer", "peer"),
            Column("rate", "MB/s", "rate"),
            Column("ratio", f"against {PEERS[base].label}", "ratio"),
            Column("ours", f"{PEERS[ours].label} against it", "ratio"),
            Column("sender", "sender's memory, MiB more", "mib"),
            Column("receiver", "receiver's", "mib"),
        ],
        rows,
    )


def _leftOut(setting: Setting, every: Sequence[str], quick: Sequence[str]) -> list[str]:
    names = ", ".join(PEERS[name].label for name in every if name not in quick)
    return [f"Left out, because this is quick: {names}."] if setting.quick else []


def throughput(setting: Setting) -> Findings:
    """
    Throughput, loopback
    """
    size = setting.pick(2**30, 2**25)
    what = cases(setting.pick(TCP, QUICK_TCP), setting, lambda peer: bulk(peer, size))
    series = rounds(setting, what)
    table = throughputTable("Throughput over TCP", series, what, "raw", "stream")
    note = (
        f"{size / 2**20:.0f} MiB, or a quarter or half of that for the slow. Stream "
        "and gRPC set TCP_NODELAY by themselves, so they have one row."
    )
    table.notes = [note, *_leftOut(setting, TCP, QUICK_TCP)]

    def against(name: str) -> float | None:
        return series.ratio("stream", name, lambda outcome: outcome.rate)

    return Findings(
        [table],
        [
            Target(
                "Stream, loopback, against raw Twisted TCP", "≥", 0.9, against("raw")
            ),
            Target("Stream against trial's stream", "≥", 4, against("trial")),
            Target("Stream against gRPC Python", "≥", 5, against("grpc")),
        ],
    )


def tls(setting: Setting) -> Findings:
    """
    Throughput with TLS
    """
    size = setting.pick(2**29, 2**25)
    what = cases(setting.pick(TLS, QUICK_TLS), setting, lambda peer: bulk(peer, size))
    series = rounds(setting, what)
    table = throughputTable(
        "Throughput over TLS", series, what, "raw-tls", "stream-tls"
    )
    table.notes = [f"{size / 2**20:.0f} MiB.", *_leftOut(setting, TLS, QUICK_TLS)]
    ratio = series.ratio("stream-tls", "raw-tls", lambda outcome: outcome.rate)
    return Findings(
        [table], [Target("Stream over TLS against raw Twisted TLS", "≥", 0.9, ratio)]
    )


def outOfBand(setting: Setting) -> Findings:
    """
    Out of band
    """
    size = setting.pick(2**29, 2**25)
    what = {peer: bulk(peer, size) for peer in OUT_OF_BAND}
    series = rounds(setting, what)
    table = throughputTable("Out of band", series, what, "static", "oob")
    table.columns = [column for column in table.columns if column.key != "ours"]
    plain = series.ratio("oob", "static", lambda outcome: outcome.rate)
    secure = series.ratio("oob-tls", "raw-tls", lambda outcome: outcome.rate)
    return Findings(
        [table],
        [
            Target("OutOfBand against twisted.web's static file", "≥", 0.9, plain),
            Target("OutOfBand with TLS against raw Twisted TLS", "≥", 0.9, secure),
        ],
    )

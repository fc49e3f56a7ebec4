# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Throughput by the length of chunks.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.findings import Column, Findings, Table
from benchmarks.job import Job
from benchmarks.rounds import Case, Setting, rounds

__all__ = ["chunks"]


def chunks(setting: Setting) -> Findings:
    """
    Throughput by chunk size
    """
    full = (1024, 2048, 4096, 8192, 16384, 32768, 65535)
    lengths = setting.pick(full, (4096, 65535))
    what = {}
    for length in lengths:
        size = min(setting.pick(2**29, 2**25), length * 2**15)
        stream = Job("stream", size=size, options={"limits": {"chunk": length}})
        what[f"stream {length}"] = Case(stream)
        raw = replace(stream, peer="raw", options={"block": length})
        what[f"raw {length}"] = Case(raw)
    series = rounds(setting, what, times=setting.pick(3, 1))

    def rate(peer: str, length: int) -> float | None:
        return series.median(f"{peer} {length}", lambda outcome: outcome.rate)

    rows = [
        {
            "length": float(length),
            "stream": rate("stream", length),
            "raw": rate("raw", length),
        }
        for length in lengths
    ]
    table = Table(
        "Limits(chunk=…), and writes of that length to raw TCP",
        [
            Column("length", "bytes", "count"),
            Column("stream", "Stream, MB/s", "rate"),
            Column("raw", "raw, MB/s", "rate"),
        ],
        rows,
    )
    return Findings([table], data={"chunks": rows})

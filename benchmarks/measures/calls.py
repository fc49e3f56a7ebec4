# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
How many small calls a second, with nothing else going on.
"""

from __future__ import annotations

from benchmarks.findings import Column, Findings, Table, Target
from benchmarks.job import Job
from benchmarks.rounds import Case, Setting, rounds
from benchmarks.running import Outcome

__all__ = ["calls"]


def _rate(outcome: Outcome) -> float:
    return outcome.job.calls / outcome.seconds


def calls(setting: Setting) -> Findings:
    """
    Small calls, no bulk
    """
    number = setting.pick(5_000, 1_000)
    rows = []
    ratios = {}
    for inFlight in setting.pick((1, 50), (50,)):
        what = {
            peer: Case(Job(peer, calls=number, inFlight=inFlight))
            for peer in ("amp", "stream")
        }
        what["no-delay"] = Case(
            Job("amp", calls=number, inFlight=inFlight, noDelay=True)
        )
        series = rounds(setting, what)
        ratios[inFlight] = series.ratio("stream", "amp", _rate)
        rows.append(
            {
                "inFlight": str(inFlight),
                "amp": series.median("amp", _rate) or series.failure("amp"),
                "stream": series.median("stream", _rate) or series.failure("stream"),
                "noDelay": series.median("no-delay", _rate),
                "ratio": ratios[inFlight],
                "toNoDelay": series.ratio("stream", "no-delay", _rate),
            }
        )
    table = Table(
        "Calls a second",
        [
            Column("inFlight", "in flight"),
            Column("amp", "amp.AMP", "count"),
            Column("stream", "StreamAMP", "count"),
            Column("ratio", "StreamAMP against amp.AMP", "ratio"),
            Column("noDelay", "amp.AMP, no-delay", "count"),
            Column("toNoDelay", "StreamAMP against that", "ratio"),
        ],
        rows,
    )
    return Findings(
        [table],
        [
            Target(
                f"small calls, {inFlight} in flight, against amp.AMP", "≥", 1.2, ratio
            )
            for inFlight, ratio in ratios.items()
        ],
    )

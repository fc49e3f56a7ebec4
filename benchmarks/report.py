# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Makes docs/benchmarks.md and its plots of the results of a run.

Every figure is taken from the results; what is said around them is in C{template.md}.
Why something falls short is in C{remarks.md}: a section is named after the targets
whose reason it tells, and is only on the page if one of them is not met.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from benchmarks.catalogue import PEERS
from benchmarks.findings import Findings, Table, Target, show, verdict, withUnit
from benchmarks.measures import MEASURES
from benchmarks.plots import draw

__all__ = ["merged", "write"]

_TEMPLATE = Path(__file__).with_name("template.md")
_REMARKS = Path(__file__).with_name("remarks.md")
_PLOT_AFTER = {
    "distance-peers": "calls",
    "changes": "changes",
    "chunks": "chunks",
    "memory": "memory",
    "streams": "fairness",
}
_ABOUT = "about"
_CELLS = 6

_Measures = Mapping[str, tuple[str, Findings]]


def merged(files: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Make one of the results of several commands, in the order of the measures."""
    measures: dict[str, Any] = {}
    for results in files:
        measures.update(results["measures"])
    return {
        **files[-1],
        "command": "`, `".join(results["command"] for results in files),
        "quick": any(results["quick"] for results in files),
        "seconds": sum(results["seconds"] for results in files),
        "measures": {name: measures[name] for name in MEASURES if name in measures},
    }


def write(results: Mapping[str, Any], docs: Path) -> None:
    """
    Write the page and the plots.

    @param docs: The directory to write them to.
    """
    measures = {
        name: (measure["title"], Findings.fromDict(measure))
        for name, measure in results["measures"].items()
    }
    data: dict[str, Any] = {}
    for _, findings in measures.values():
        data.update(findings.data)
    plots = draw(data, docs / "benchmarks")
    sections = [
        _section(name, title, findings, plots)
        for name, (title, findings) in measures.items()
    ]
    targets = [target for _, found in measures.values() for target in found.targets]
    remarks = _remarks(_REMARKS.read_text())
    page = Template(_TEMPLATE.read_text()).substitute(
        date=results["date"],
        command=results["command"],
        minutes=f"{results['seconds'] / 60:.0f}",
        quick=_QUICK if results["quick"] else "",
        headlines=_headlines(measures),
        machine=_pairs(results["machine"]),
        versions=_pairs(results["versions"]),
        targets=_targets(targets),
        short=_short(targets),
        reasons=_reasons(targets, remarks),
        about=remarks.get(_ABOUT, ""),
        sections="\n".join(sections),
    )
    (docs / "benchmarks.md").write_text(page)


_QUICK = (
    "\n**This was a quick run: one round, small sizes. The figures say that "
    "everything runs, not how fast it is.**\n"
)


def _pairs(values: Mapping[str, str]) -> str:
    return _markdown(["", ""], [[name, value] for name, value in values.items()])


def _markdown(headings: list[str], rows: list[list[str]]) -> str:
    rule = ["---", *["---:" for _ in headings[1:]]]
    lines = [headings, rule, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _headlines(measures: _Measures) -> str:
    """Say in plain words what matters most, as far as it was measured."""

    def value(measure: str, peer: str, key: str, form: str) -> str:
        tables = measures[measure][1].tables if measure in measures else []
        for row in (row for table in tables for row in table.rows):
            found = row.get(key)
            if row.get("peer") == PEERS[peer].label and isinstance(found, float):
                return f"**{withUnit(found, form)}**"
        return ""

    def say(text: str, *values: str) -> None:
        if all(values):
            lines.append(f"{len(lines) + 1}. {text.format(*values)}")

    lines: list[str] = []
    say(
        "A small call beside an upload that fills a link of 20 Mbit/s, there and back "
        "in 40 ms, takes {} if the upload is a `Stream`, {} if it is calls of stock "
        "AMP, and {} if both go over gRPC Python. With no upload at all it takes {}.",
        *(
            value("distance-peers", peer, "p50", "ms")
            for peer in ("stream", "amp-push", "grpc")
        ),
        value("distance-peers", "stream", "idle", "ms"),
    )
    say(
        "The `Stream` gets {} of what raw TCP gets on that link.",
        value("distance-peers", "stream", "share", "percent"),
    )
    say(
        "On one machine a `Stream` moves {}, and raw Twisted TCP {}.",
        value("throughput", "stream", "rate", "rate"),
        value("throughput", "raw", "rate", "rate"),
    )
    return "\n".join(lines)


def _targets(targets: Sequence[Target]) -> str:
    rows = []
    for target in targets:
        aimed, value, met = verdict(target)
        shown = met if target.met == "met" else f"**{met}**"
        rows.append([target.what, aimed, value, shown])
    return _markdown(["measure", "aimed at", "measured", ""], rows)


def _short(targets: Sequence[Target]) -> str:
    every = [target.met for target in targets]
    return (
        f"Of {len(every)} bounds, {every.count('met')} are met, "
        f"{every.count('not met')} are not met, and {every.count('not measured')} were "
        "not measured. A bound of a table is met if each of its rows meets it; "
        "in the tables, what does not is in bold type."
    )


def _remarks(text: str) -> dict[str, str]:
    """Find the sections."""
    found = {}
    _, *parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
    for names, words in zip(parts[::2], parts[1::2], strict=True):
        found.update(dict.fromkeys(names.split(), words.strip()))
    return found


def _reasons(targets: Sequence[Target], remarks: Mapping[str, str]) -> str:
    """Say what is not met, and why: what has the same reason stands together."""
    groups: dict[str, list[str]] = {}
    for target in targets:
        if target.met != "not met":
            continue
        aimed, value, _ = verdict(target)
        line = f"**{target.what}**: {value}, aimed at {aimed}"
        if target.missed:
            line += f" (not in {len(target.missed)} of {target.of} rows"
            some = target.missed[:_CELLS]
            more = len(target.missed) - len(some)
            line += f": {'; '.join(some)}{f'; and {more} more' if more else ''})"
        reason = remarks.get(target.key, "No reason has been found yet.")
        groups.setdefault(reason, []).append(line)
    return "\n\n".join(
        "\n".join([*(f"- {line}." for line in lines), "", *_indented(reason)])
        for reason, lines in groups.items()
    )


def _indented(text: str) -> list[str]:
    return [f"  {line}".rstrip() for line in text.splitlines()]


def _section(
    name: str, title: str, findings: Findings, plots: Mapping[str, str]
) -> str:
    parts = [f"## {title}", f"`python -m benchmarks {name}`"]
    for table in findings.tables:
        parts += _table(table)
    plot = _PLOT_AFTER.get(name, "")
    if plot in plots:
        parts.append(f"![{plots[plot]}](benchmarks/{plot}.svg)")
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> list[str]:
    parts = [f"**{table.title}**"]
    if table.columns:
        headings = [column.heading for column in table.columns]
        rows = [_cells(table, row) for row in table.rows]
        parts.append(_markdown(headings, rows))
    return parts + table.notes


def _cells(table: Table, row: Mapping[str, Any]) -> list[str]:
    cells = []
    for column in table.columns:
        text = show(row.get(column.key), column.form)
        cells.append(f"**{text}**" if column.misses(row) else text)
    return cells

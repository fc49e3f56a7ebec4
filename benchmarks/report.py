# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Makes docs/benchmarks.md and its plots of the results of a run.

Every figure is taken from the results; what is said around them is in C{template.md},
and why something falls short in C{remarks.md}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from benchmarks.findings import Findings, Table, show
from benchmarks.measures import MEASURES
from benchmarks.plots import draw

__all__ = ["merged", "write"]

_TEMPLATE = Path(__file__).with_name("template.md")
_REMARKS = Path(__file__).with_name("remarks.md")
_PLOT_AFTER = {
    "chunks": "chunks",
    "peers-latency": "latency",
    "memory": "memory",
    "streams": "fairness",
}


def merged(files: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """
    Make one of the results of several commands, in the order of the measures.
    """
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
    page = Template(_TEMPLATE.read_text()).substitute(
        date=results["date"],
        command=results["command"],
        minutes=f"{results['seconds'] / 60:.0f}",
        quick=_QUICK if results["quick"] else "",
        machine=_pairs(results["machine"]),
        versions=_pairs(results["versions"]),
        targets=_targets(measures),
        short=_short(measures),
        remarks=_REMARKS.read_text().strip(),
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


def _targets(measures: Mapping[str, tuple[str, Findings]]) -> str:
    rows = [
        [
            target.what,
            f"{target.sign} {_withUnit(target.bound, target.form)}",
            _withUnit(target.value, target.form),
            target.met if target.met == "met" else f"**{target.met}**",
        ]
        for _, findings in measures.values()
        for target in findings.targets
    ]
    return _markdown(["measure", "aimed at", "measured", ""], rows)


def _short(measures: Mapping[str, tuple[str, Findings]]) -> str:
    every = [target.met for _, found in measures.values() for target in found.targets]
    return (
        f"Of {len(every)} bounds, {every.count('met')} are met, "
        f"{every.count('not met')} are not met, and {every.count('not measured')} were "
        "not measured."
    )


def _withUnit(value: float | None, form: str) -> str:
    unit = {"ms": " ms", "mib": " MiB", "rate": " MB/s"}.get(form, "")
    return show(value, form) + (unit if value is not None else "")


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
        rows = [
            [show(row.get(column.key), column.form) for column in table.columns]
            for row in table.rows
        ]
        parts.append(_markdown(headings, rows))
    return parts + table.notes

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
What a measure has found, as plain data: tables, and what was aimed at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Column", "Findings", "Table", "Target", "asText", "show"]


@dataclass
class Column:
    """
    One column.

    @ivar key: What rows call it.

    @ivar heading: What people read.

    @ivar form: How to show its values: see L{show}.
    """

    key: str
    heading: str
    form: str = "text"


@dataclass
class Table:
    """
    One table.
    """

    title: str
    columns: list[Column]
    rows: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)


@dataclass
class Target:
    """
    Something that was aimed at.

    @ivar sign: At least, or at most.

    @ivar value: What was measured, or nothing if it was not.
    """

    what: str
    sign: str
    bound: float
    value: float | None
    form: str = "ratio"

    @property
    def met(self) -> str:
        """
        The verdict.
        """
        if self.value is None:
            return "not measured"
        met = self.value >= self.bound if self.sign == "≥" else self.value <= self.bound
        return "met" if met else "not met"


@dataclass
class Findings:
    """
    All of one measure.

    @ivar data: What plots need, by name.
    """

    tables: list[Table]
    targets: list[Target] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    def toDict(self) -> dict[str, Any]:
        """
        Make it ready for JSON.
        """
        return asdict(self)

    @classmethod
    def fromDict(cls, found: dict[str, Any]) -> Findings:
        """
        Take it from there.
        """
        tables = [
            Table(
                table["title"],
                [Column(**column) for column in table["columns"]],
                table["rows"],
                table["notes"],
            )
            for table in found["tables"]
        ]
        targets = [Target(**target) for target in found["targets"]]
        return cls(tables, targets, found["data"])


_FORMS = {
    "rate": lambda value: f"{value / 1e6:,.{0 if value >= 1e8 else 1}f}",
    "ratio": lambda value: f"{value:.2f}",
    "ms": lambda value: (
        f"{value * 1e3:.{0 if value >= 0.1 else 1 if value >= 0.01 else 2}f}"
    ),
    "seconds": lambda value: f"{value:.2f}",
    "µs": lambda value: f"{value * 1e6:.1f}",
    "percent": lambda value: f"{value * 100:.1f} %",
    "mib": lambda value: f"{value / 2**20:.1f}",
    "count": lambda value: f"{value:,.0f}",
    "index": lambda value: f"{value:.3f}",
}


def show(value: Any, form: str) -> str:
    """
    Write a value: rates in MB/s, times in milliseconds, memory in MiB.
    """
    if value is None:
        return "–"
    return str(value) if isinstance(value, str) else _FORMS[form](value)


def asText(table: Table) -> str:
    """
    Lay a table out for a terminal.
    """
    lines = [[column.heading for column in table.columns]]
    lines += [
        [show(row.get(column.key), column.form) for column in table.columns]
        for row in table.rows
    ]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    text = [table.title, ""]
    text += [_line(line, widths) for line in lines]
    return "\n".join([*text, *table.notes, ""])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = zip(cells, widths, strict=True)
    return "  ".join(
        [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]
    )

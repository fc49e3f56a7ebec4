# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""What a measure has found, as plain data: tables, and what was aimed at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = [
    "Column",
    "Findings",
    "Table",
    "Target",
    "asText",
    "show",
    "verdict",
    "withUnit",
]


@dataclass
class Column:
    """
    One column.

    @ivar key: What rows call it.

    @ivar heading: What people read.

    @ivar form: How to show its values: see L{show}.

    @ivar sign: At least, or at most, if its values have a bound.

    @ivar over: The key of the column from whose value the bound is counted, if that is
        not zero.
    """

    key: str
    heading: str
    form: str = "text"
    sign: str = ""
    bound: float = 0.0
    over: str = ""

    def counted(self, row: Mapping[str, Any]) -> float | None:
        """
        @return: The value of a row to compare with the bound, or nothing if it was not
            measured.
        """
        value, base = row.get(self.key), row.get(self.over) if self.over else 0.0
        if isinstance(value, str | None) or isinstance(base, str | None):
            return None
        return value - base

    def misses(self, row: Mapping[str, Any]) -> bool:
        """@return: Whether a row was measured and does not keep the bound."""
        value = self.counted(row) if self.sign else None
        return value is not None and not _keeps(value, self.sign, self.bound)


@dataclass
class Target:
    """
    Something that was aimed at.

    @ivar sign: At least, or at most.

    @ivar value: What was measured, or nothing if it was not; the worst of the cells.

    @ivar key: What the remarks call it, which have the reason if it is not met.

    @ivar over: Whether the bound and the value are counted from the idle small call.

    @ivar of: How many cells of a table have the bound.

    @ivar unmeasured: How many of them were not measured.

    @ivar missed: Which of them do not keep it.
    """

    what: str
    sign: str
    bound: float
    value: float | None
    form: str = "ratio"
    key: str = ""
    over: bool = False
    of: int = 1
    unmeasured: int = 0
    missed: list[str] = field(default_factory=list)

    @property
    def met(self) -> str:
        """The verdict."""
        if self.missed:
            return "not met"
        if self.value is None or self.unmeasured:
            return "not measured"
        return "met" if _keeps(self.value, self.sign, self.bound) else "not met"


def _keeps(value: float, sign: str, bound: float) -> bool:
    return value >= bound if sign == "≥" else value <= bound


@dataclass
class Table:
    """One table."""

    title: str
    columns: list[Column]
    rows: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)

    def label(self, row: Mapping[str, Any]) -> str:
        """@return: What row this is."""
        cells = [
            (each, str(row.get(each.key, "")))
            for each in self.columns
            if each.form == "text"
        ]
        return ", ".join(
            f"{text} {each.heading}" if text.isdigit() else text for each, text in cells
        )

    def targets(self, key: str, what: str) -> list[Target]:
        """
        Make a target of each column with a bound.

        @param key: How the keys of the targets begin; the column's follows.

        @param what: What this table is about.
        """
        found = []
        for column in self.columns:
            if not column.sign:
                continue
            values = [column.counted(row) for row in self.rows]
            known = [value for value in values if value is not None]
            worst = min if column.sign == "≥" else max
            found.append(
                Target(
                    f"{what}: {column.heading.removesuffix(', ms')}",
                    column.sign,
                    column.bound,
                    worst(known, default=None),
                    column.form,
                    f"{key}-{column.key}",
                    bool(column.over),
                    len(values),
                    values.count(None),
                    [self.label(row) for row in self.rows if column.misses(row)],
                )
            )
        return found


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
        """Make it ready for JSON."""
        return asdict(self)

    @classmethod
    def fromDict(cls, found: dict[str, Any]) -> Findings:
        """Take it from there."""
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
    "share": lambda value: f"{value:.3f}",
    "ms": lambda value: (
        f"{value * 1e3:.{0 if value >= 0.2 else 1 if value >= 0.002 else 2}f}"
    ),
    "seconds": lambda value: f"{value:.2f}",
    "µs": lambda value: f"{value * 1e6:.1f}",
    "percent": lambda value: f"{value * 100:.1f} %",
    "mib": lambda value: f"{value / 2**20:.1f}",
    "count": lambda value: f"{value:,.0f}",
    "index": lambda value: f"{value:.3f}",
}


def show(value: Any, form: str) -> str:
    """Write a value: rates in MB/s, times in milliseconds, memory in MiB."""
    if value is None:
        return "–"
    return str(value) if isinstance(value, str) else _FORMS[form](value)


def withUnit(value: float | None, form: str) -> str:
    """Write a value that stands alone."""
    unit = {"ms": " ms", "mib": " MiB", "rate": " MB/s"}.get(form, "")
    return show(value, form) + (unit if value is not None else "")


def verdict(target: Target) -> tuple[str, str, str]:
    """Say what was aimed at, what was measured, and whether that is met."""
    above = "idle + " if target.over else ""
    value = withUnit(target.value, target.form)
    if target.value is not None and target.over:
        value = f"idle + {value}"
    met = target.met
    if target.of > 1 and target.value is not None:
        value = f"{value} at worst"
        kept = target.of - target.unmeasured - len(target.missed)
        met = f"{met}: {kept} of {target.of}" if met != "met" else f"met by {target.of}"
    return f"{target.sign} {above}{withUnit(target.bound, target.form)}", value, met


def asText(table: Table) -> str:
    """Lay a table out for a terminal."""
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

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The plots of the report, as SVG."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

__all__ = ["draw"]

OURS = "#c0392b"
OTHERS = "#7f8c8d"
_STYLE = {
    "svg.hashsalt": "amp_stream",
    "svg.fonttype": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "font.size": 10,
}


def _chunks(axes: Axes, rows: Any) -> None:
    lengths = [row["length"] for row in rows]
    for key, label, colour in (("raw", "raw TCP", OTHERS), ("stream", "Stream", OURS)):
        rates = [row[key] / 1e6 if row[key] else None for row in rows]
        axes.plot(lengths, rates, marker="o", color=colour, label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths, [f"{length:,.0f}" for length in lengths])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("chunk, or write (bytes)")
    axes.set_ylabel("MB/s")
    axes.legend()


def _calls(figure: Figure, found: Mapping[str, list[float]]) -> None:
    """A curve for each peer: how many of its calls are answered by when."""
    axes = figure.add_subplot()
    known = [(sorted(times), label) for label, times in found.items() if times]
    known.sort(key=lambda pair: pair[0][len(pair[0]) // 2])
    others = [label for _, label in known if not _isOurs(label)]
    colours = mpl.colormaps["viridis"]
    for times, label in known:
        median = times[len(times) // 2]
        at = others.index(label) / max(1, len(others) - 1) if label in others else 0
        style: dict[str, Any] = (
            {
                "color": colours(0.05 + 0.85 * at),
                "linestyle": ("-", "--", ":")[others.index(label) % 3],
                "linewidth": 1.3,
            }
            if label in others
            else {"color": OURS, "linewidth": 3, "zorder": 3}
        )
        axes.plot(
            [taken * 1e3 for taken in times],
            [(number + 1) / len(times) * 100 for number in range(len(times))],
            label=f"{label}: {median * 1e3:,.0f} ms",
            **style,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(0, 100)
    axes.set_xlabel("a small call takes no more than (ms)")
    axes.set_ylabel("of 100 calls")
    axes.set_title("Small calls beside an upload at 20 Mbit/s, 40 ms")
    axes.legend(
        title="the median, from the fastest",
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        frameon=False,
        alignment="left",
    )


def _isOurs(label: str) -> bool:
    return label == "Stream"


_TRACES = {
    "Stream": {"color": OURS, "linewidth": 1.8, "zorder": 3},
    "Stream, no bound in flight": {"color": "#2471a3", "linewidth": 1.1},
    "AMP, push producer": {"color": OTHERS, "linewidth": 1.1},
}


def _changes(figure: Figure, found: Mapping[str, Any]) -> None:
    """Above how long calls take, below the rate, for each kind of change."""
    kinds = found["kinds"]
    grid = figure.subplots(
        2, len(kinds), sharex=True, sharey="row", squeeze=False, height_ratios=(3, 2)
    )
    for (kind, traces), (above, below) in zip(kinds.items(), grid.T, strict=True):
        above.set_title(kind, fontsize=10)
        for label, trace in traces.items():
            style = _TRACES.get(label, {})
            when = [point[0] for point in trace["calls"]]
            taken = [point[1] * 1e3 for point in trace["calls"]]
            above.plot(when, taken, label=label, **style)
            when = [point[0] for point in trace["rate"]]
            below.plot(when, [point[1] / 1e6 for point in trace["rate"]], **style)
        above.set_yscale("log")
        above.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        above.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        above.yaxis.set_minor_formatter(NullFormatter())
        below.set_xlabel("seconds of bulk")
        for axes in (above, below):
            axes.axvline(found["at"], color="black", linestyle="--", linewidth=0.8)
    ours = [
        point[1] / 1e6
        for traces in kinds.values()
        for point in traces.get("Stream", {}).get("rate", ())
    ]
    grid[1][0].set_ylim(0, 1.3 * max(ours, default=1.0))
    grid[0][0].set_ylabel("small call (ms)")
    grid[1][0].set_ylabel("bulk (MB/s)")
    figure.suptitle("While the link changes (20 Mbit/s, 40 ms, cubic, a queue of 1 MB)")
    lines, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=3, frameon=False)


def _memory(axes: Axes, traces: Mapping[str, list[tuple[float, int]]]) -> None:
    for label, trace in traces.items():
        if trace:
            base = trace[0][1]
            axes.plot(
                [sample[0] for sample in trace],
                [(sample[1] - base) / 2**20 for sample in trace],
                label=label,
            )
    axes.axhline(16, color="black", linestyle="--", linewidth=0.8, label="aimed at")
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    axes.set_xlabel("seconds")
    axes.set_ylabel("memory over start (MiB)")
    axes.legend()


def _fairness(axes: Axes, shares: list[int]) -> None:
    ordered = sorted(shares)
    axes.bar(
        range(len(ordered)), [share / 1024 for share in ordered], width=1.0, color=OURS
    )
    axes.set_ylim(bottom=0)
    axes.set_xlabel("streams, from the one with the least")
    axes.set_ylabel("KiB when half of everything had arrived")


def _alone(title: str, plot: Callable[[Axes, Any], None]) -> Callable[..., None]:
    """A plot that has one pair of axes."""

    def drawIt(figure: Figure, data: Any) -> None:
        axes = figure.add_subplot()
        plot(axes, data)
        axes.set_title(title)

    return drawIt


_SMALL = (8.0, 4.1)
_PLOTS: list[tuple[str, str, tuple[float, float], Callable[[Figure, Any], None]]] = [
    ("calls", "How long a small call takes beside each kind of bulk", (10, 5), _calls),
    ("changes", "Small calls and bulk while the link changes", (12, 5.5), _changes),
    *(
        (name, title, _SMALL, _alone(title, plot))
        for name, title, plot in (
            ("chunks", "Throughput by chunk size, loopback", _chunks),
            ("memory", "Memory while a large stream passes", _memory),
            ("fairness", "How far the streams of one connection are", _fairness),
        )
    ),
]
"""
The plots: what to call the file and the data it needs, its title, how large it is
(inches), how to draw it.
"""


def draw(data: Mapping[str, Any], directory: Path) -> dict[str, str]:
    """
    Draw what there is data for.

    @return: The names of the files, and their titles.
    """
    directory.mkdir(parents=True, exist_ok=True)
    drawn = {}
    with plt.rc_context(_STYLE):
        for name, title, size, plot in _PLOTS:
            if not data.get(name):
                continue
            figure = plt.figure(figsize=size, layout="constrained")
            plot(figure, data[name])
            # Without a date, so that the same data make the same file.
            figure.savefig(directory / f"{name}.svg", metadata={"Date": None})
            plt.close(figure)
            drawn[name] = title
    return drawn

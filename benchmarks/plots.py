# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The plots of the report, as SVG.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

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


def _latency(axes: Axes, found: Mapping[str, list[float]]) -> None:
    known = [(label, times) for label, times in found.items() if times]
    known.sort(key=lambda pair: sorted(pair[1])[len(pair[1]) // 2], reverse=True)
    boxes = axes.boxplot(
        [[taken * 1e3 for taken in times] for _, times in known],
        orientation="horizontal",
        whis=(1, 99),
        showfliers=False,
        patch_artist=True,
        medianprops={"color": "black"},
    )
    for (label, _), box in zip(known, boxes["boxes"], strict=True):
        box.set_facecolor(OURS if label.startswith("Stream") else OTHERS)
    axes.set_yticks(range(1, len(known) + 1), [label for label, _ in known])
    axes.set_xscale("log")
    axes.set_xlabel("small call (ms): quartiles, and the 1st and 99th percentile")


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


# The plots: what to call the file, what data it needs, its title, how to draw it.
_PLOTS: list[tuple[str, str, str, Callable[[Axes, Any], None]]] = [
    ("chunks", "chunks", "Throughput by chunk size, loopback", _chunks),
    ("latency", "latency", "Small calls under an upload at 20 Mbit/s", _latency),
    ("memory", "memory", "Memory while a large stream passes", _memory),
    ("fairness", "fairness", "How far the streams of one connection are", _fairness),
]


def draw(data: Mapping[str, Any], directory: Path) -> dict[str, str]:
    """
    Draw what there is data for.

    @return: The names of the files, and their titles.
    """
    directory.mkdir(parents=True, exist_ok=True)
    drawn = {}
    with plt.rc_context(_STYLE):
        for name, key, title, plot in _PLOTS:
            if not data.get(key):
                continue
            tall = 3.2 + 0.22 * (len(data[key]) if key == "latency" else 4)
            figure, axes = plt.subplots(figsize=(8, tall), layout="constrained")
            plot(axes, data[key])
            axes.set_title(title)
            # Without a date, so that the same data make the same file.
            figure.savefig(directory / f"{name}.svg", metadata={"Date": None})
            plt.close(figure)
            drawn[name] = title
    return drawn

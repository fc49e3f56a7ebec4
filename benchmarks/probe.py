# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
One run over a link with a distance, and its figures in one line: for those who work on
the controller.  Needs root.

    python -m benchmarks.probe --rate 20e6 --rtt 0.04 --queue 1e6 --cc cubic --way down
    python -m benchmarks.probe --peer raw
    python -m benchmarks.probe --streams 64 --option limits.maxBulkDelay=null --runs 3
    python -m benchmarks.probe --seconds 12 --change 5:rate:10e6 --series 0.5
    python -m benchmarks.probe --seconds 15 --beside raw:4:8 --series 1
    python -m benchmarks.probe --option source.pause=[3,5.5] --option source.until=8

Times are in milliseconds.  C{p99} is that of the calls after the first second of bulk,
C{all99} that of all.  C{link} is the part of what the link can carry (1,448 of 1,500
bytes) that bulk had after the first second, C{first} that since its first byte.
C{drops} and C{queue} (in milliseconds of the link at its last rate) are of the bulk's
direction.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from typing import Any

from benchmarks.job import Job
from benchmarks.lab import Distance
from benchmarks.running import (
    Case,
    Change,
    Outcome,
    RunFailed,
    carried,
    percentile,
    run,
)

_INTERVAL = 0.02


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.probe",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--rate", type=float, default=20e6, help="bits per second [20e6]")
    add("--rtt", type=float, default=0.04, help="there and back, seconds [0.04]")
    add("--queue", type=float, default=1e6, help="bytes [1e6]")
    add("--jitter", type=float, default=0.0, help="each way, seconds [0]")
    add("--cc", default="cubic", help="cubic, reno or bbr [cubic]")
    add("--way", choices=("up", "down"), default="up", help="of the bulk [up]")
    add("--peer", default="stream", help="see python -m benchmarks --list [stream]")
    add("--streams", type=int, default=1, help="[1]")
    add("--idle", type=float, default=2.0, help="before the bulk, seconds [2]")
    add("--seconds", type=float, default=8.0, help="of bulk [8]")
    add("--runs", type=int, default=1, help="[1]")
    add(
        *("--option", "-o"),
        action="append",
        default=[],
        metavar="KEY[.KEY]=JSON",
        help="of the peer",
    )
    add(
        *("--change", "--changes"),
        action="append",
        default=[],
        metavar="AT:KEY:VALUE",
        help="rate, delay (one way), jitter or queue, AT seconds after bulk began",
    )
    add(
        "--beside",
        metavar="PEER:AT[:SECONDS]",
        help="another bulk in the same direction",
    )
    add("--series", type=float, default=0.0, help="also print every so many seconds")
    add("--package", default="", help="a directory with another amp_stream")
    add("--json", action="store_true", help="print all that was measured")
    return parser


def options(texts: list[str]) -> dict[str, Any]:
    """Read C{limits.maxBulkDelay=0.01} and the like."""
    found: dict[str, Any] = {}
    for text in texts:
        path, _, value = text.partition("=")
        *above, last = path.split(".")
        at = found
        for key in above:
            at = at.setdefault(key, {})
        at[last] = json.loads(value)
    return found


def _change(text: str) -> Change:
    at, key, value = text.split(":")
    return Change(float(at), key, float(value))


def _case(given: argparse.Namespace) -> Case:
    up, down = (given.streams, 0) if given.way == "up" else (0, given.streams)
    job = Job(
        given.peer,
        up=up,
        down=down,
        seconds=given.seconds,
        interval=0.0 if given.peer.startswith(("raw", "http")) else _INTERVAL,
        idle=given.idle,
        # Out of band, a byte before all this loads the modules that HTTP needs.
        warm=int(given.peer.startswith("oob")),
        options=options(given.option),
        package=given.package,
    )
    beside: tuple[Job, ...] = ()
    if given.beside:
        peer, at, *seconds = given.beside.split(":")
        lasts = float(seconds[0]) if seconds else given.seconds - float(at)
        idle = given.idle + float(at)
        other = Job(
            peer, up=up, down=down, seconds=lasts, idle=idle, warm=0, leaves=True
        )
        beside = (other,)
    place = Distance(given.rate, given.rtt, int(given.queue), given.cc, given.jitter)
    return Case(job, place, changes=tuple(map(_change, given.change)), beside=beside)


def _ms(values: list[float], percent: float) -> str:
    return f"{percentile(values, percent) * 1e3:.1f}" if values else "-"


def line(outcome: Outcome, rate: float) -> str:
    """Say it in one line."""
    parts = []
    if "calls" in outcome.result:
        settled = outcome.busy(outcome.settled)
        every = outcome.busy()
        parts += [
            f"idle={_ms(outcome.idle(), 50)} p50={_ms(every, 50)}",
            f"p99={_ms(settled, 99)} all99={_ms(every, 99)} max={_ms(every, 100)}",
        ]
    most = carried(rate)
    parts.append(
        f"link={outcome.arrived() / most:.3f} "
        f"first={outcome.sinceFirst() / most:.3f} "
        f"MB/s={outcome.arrived() / 1e6:.2f}"
    )
    if outcome.link:
        queue = outcome.counted("greatest") * 8 / rate
        parts.append(f"drops={outcome.counted('drops')} queue={queue * 1e3:.1f}")
    used = outcome.processor
    if used:
        lasted = outcome.stopped - outcome.started
        cpu = "+".join(f"{used[end] / lasted:.2f}" for end in ("client", "server"))
        parts.append(f"cpu={cpu}")
    return " ".join(parts)


def series(outcome: Outcome, step: float) -> list[str]:
    """Say it, a line for every so many seconds."""
    lines = []
    count = int((outcome.stopped - outcome.started) / step + 0.01)
    for number in range(count):
        window = number * step, (number + 1) * step
        text = f"  {window[0]:5.1f} s  {outcome.arrived(*window) / 1e6:6.2f} MB/s"
        if "calls" in outcome.result:
            calls = outcome.busy(*window)
            text += f"  calls p50 {_ms(calls, 50):>6} longest {_ms(calls, 100):>6}"
        for other in outcome.others:
            shift = outcome.started - other.started
            rate = other.arrived(window[0] + shift, window[1] + shift)
            text += f"  beside it {rate / 1e6:6.2f} MB/s"
        lines.append(text)
    return lines


def main(arguments: list[str]) -> None:
    """Run it."""
    given = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    case = _case(given)
    reason = case.unavailable()
    if reason:
        sys.exit(reason)
    rates = [change.value for change in case.changes if change.key == "rate"]
    for _ in range(given.runs):
        try:
            outcome = run(case, given.idle + given.seconds + 30.0)
        except RunFailed as error:
            print(f"failed: {error}", flush=True)
            continue
        if given.json:
            print(json.dumps([outcome.result, outcome.server, outcome.client]))
        rate = rates[-1] if rates else given.rate
        print(line(outcome, rate), flush=True)
        for other in outcome.others:
            print(f"  beside it: {line(other, rate)}", flush=True)
        if given.series:
            print("\n".join(series(outcome, given.series)), flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
What it takes: memory, many streams and connections, files, and where the time
goes.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.findings import Column, Findings, Table, Target
from benchmarks.job import Job
from benchmarks.measuring import LOOK
from benchmarks.running import ROOT, Case, Outcome, Series, Setting, rounds

__all__ = ["connections", "groupOf", "memory", "profile", "put", "streams"]

MIB = 2**20


def memory(setting: Setting) -> Findings:
    """How much memory does a large stream take?"""
    size = setting.pick(2**32, 2**26)
    what = {
        way: Case(
            Job("stream", up=int(way == "up"), down=int(way == "down"), size=size),
            watch=True,
        )
        for way in ("up", "down")
    }
    series = rounds(setting, what, timeout=300.0, times=1)
    rows = []
    targets = []
    traces = {}
    for way in what:
        ends = {"sender": "client", "receiver": "server"}
        if way == "down":
            ends = {"sender": "server", "receiver": "client"}
        grown = {
            role: series.median(way, lambda outcome, end=end: outcome.growth[end])
            for role, end in ends.items()
        }
        rows.append({"way": way, **grown})
        targets += [
            Target(
                f"memory of a 4 GiB stream {way}, {role}",
                "≤",
                16 * MIB,
                value,
                "mib",
                "memory",
            )
            for role, value in grown.items()
        ]
        for outcome in series.all(way):
            for role, end in ends.items():
                index = 1 if end == "server" else 2
                traces[f"{way}, {role}"] = [
                    (sample[0], sample[index]) for sample in outcome.memory
                ]
    table = Table(
        f"One stream of {size / 2**30:g} GiB: by how much VmHWM grew",
        [
            Column("way", "stream"),
            Column("sender", "sender, MiB", "mib"),
            Column("receiver", "receiver, MiB", "mib"),
        ],
        rows,
    )
    if setting.quick:
        targets = []
    return Findings([table], targets, {"memory": traces})


def jain(shares: list[int]) -> float:
    """@return: Jain's index: 1 if all have the same, 1/n if one has everything."""
    squares = sum(share**2 for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 0.0


def _rows(series: Series, what: dict[str, Case]) -> list[dict[str, object]]:
    first = next(iter(what))
    return [
        {
            "what": name,
            "rate": series.median(name, lambda outcome: outcome.rate)
            or series.failure(name),
            "ratio": series.ratio(name, first, lambda outcome: outcome.rate),
            "client": series.median(name, lambda outcome: outcome.growth["client"]),
            "server": series.median(name, lambda outcome: outcome.growth["server"]),
        }
        for name in what
    ]


_COLUMNS = [
    Column("what", "uploads"),
    Column("rate", "MB/s in total", "rate"),
    Column("ratio", "against one", "ratio"),
    Column("client", "client's memory, MiB more", "mib"),
    Column("server", "server's", "mib"),
]


def streams(setting: Setting) -> Findings:
    """What do many streams on one connection cost?"""
    count = setting.pick(1000, 100)
    total = count * MIB
    many = f"{count:,} streams"
    what = {
        "one stream": Case(Job("stream", size=total)),
        many: Case(Job("stream", up=count, size=MIB, snapshotAt=total // 2)),
    }
    series = rounds(setting, what)
    rows = _rows(series, what)

    def shares(outcome: Outcome) -> list[int]:
        # A stream that has got nothing yet may not be known there; the one that was
        # the warm-up is, and has nothing.
        some = [share for share in outcome.server["meter"]["snapshot"] if share]
        return some + [0] * (count - len(some))

    index = series.median(many, lambda outcome: jain(shares(outcome)))
    rows[1]["jain"] = index
    table = Table(
        "Streams of one connection",
        [*_COLUMNS, Column("jain", "Jain's index, half way", "index")],
        rows,
        [f"1 MiB each, and one stream of {count:,} MiB."],
    )
    ratio = series.ratio(many, "one stream", lambda outcome: outcome.rate)
    outcomes = series.all(many)
    return Findings(
        [table],
        [
            Target(
                f"{many} on one connection against one", "≥", 0.8, ratio, key="streams"
            ),
            Target(f"Jain's index of {many}", "≥", 0.95, index, "index", "jain"),
        ],
        {"fairness": shares(outcomes[-1]) if outcomes else []},
    )


def connections(setting: Setting) -> Findings:
    """And many connections to one process?"""
    count = setting.pick(1000, 100)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    many = f"{count:,} connections"
    what = {
        "one connection": Case(Job("stream", size=count * MIB)),
        many: Case(Job("stream", connections=count, size=MIB)),
    }
    series = rounds(setting, what)
    table = Table(
        "Connections with one stream each, to one server process",
        _COLUMNS,
        _rows(series, what),
        [f"1 MiB each, and one stream of {count:,} MiB."],
    )
    ratio = series.ratio(many, "one connection", lambda outcome: outcome.rate)
    failed = float(bool(series.failure(many)))
    return Findings(
        [table],
        [
            Target(f"failures of {many}", "≤", 0, failed, "count", "failures"),
            Target(f"{many} against one", "≥", 0.7, ratio, key="connections"),
        ],
    )


_START = 20.0
_TIMEOUT = 300.0
_BLOCK = 2**22
_NOTE = (
    "put: one process reads the file, hashes and sends it; the other one hashes it, "
    "writes it and synchronises it with the disk."
)


def put(setting: Setting) -> Findings:
    """How long does a file take?"""
    size = setting.pick(2**30, 2**26)
    taken: dict[str, list[float]] = {}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        file = directory / "file"
        with file.open("wb") as made:
            for _ in range(size // _BLOCK):
                made.write(os.urandom(_BLOCK))
            os.fsync(made.fileno())
        address = _serve(stack, directory)
        commands = {
            "amp-stream put": [[*_PROGRAM, "put", address, str(file)]],
            "amp-stream ls, which moves nothing": [[*_PROGRAM, "ls", address]],
            "cp, sync and sha256sum": [
                ["cp", str(file), str(directory / "copy")],
                ["sync", str(directory / "copy")],
                ["sha256sum", str(directory / "copy")],
            ],
        }
        for _ in range(setting.rounds):
            for name, steps in commands.items():
                setting.say(f"  {name}")
                started = time.perf_counter()
                for step in steps:
                    _run(step)
                taken.setdefault(name, []).append(time.perf_counter() - started)
                (directory / "copy").unlink(missing_ok=True)
                (directory / "root" / "file").unlink(missing_ok=True)
    base = taken["cp, sync and sha256sum"]
    rows = [
        {
            "what": name,
            "seconds": median(times),
            "ratio": median(a / b for a, b in zip(times, base, strict=True)),
        }
        for name, times in taken.items()
    ]
    table = Table(
        f"A file of {size / 2**20:.0f} MiB",
        [
            Column("what", "command"),
            Column("seconds", "seconds", "seconds"),
            Column("ratio", "against cp, sync and sha256sum", "ratio"),
        ],
        rows,
        [_NOTE],
    )
    return Findings([table])


_PROGRAM = [sys.executable, "-m", "amp_stream"]


def _environment() -> dict[str, str]:
    path = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{path}"}


def _run(command: list[str]) -> None:
    subprocess.run(
        command, check=True, timeout=_TIMEOUT, capture_output=True, env=_environment()
    )


def _serve(stack: ExitStack, directory: Path) -> str:
    """Start the service."""
    found = directory / "address"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "twisted", "--log-level=error", "amp-stream"),
            *("--listen", "tcp:0:interface=127.0.0.1"),
            *("--root", str(directory / "root"), "--address-file", str(found)),
        ],
        cwd=directory,
        env=_environment(),
        stdout=subprocess.DEVNULL,
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    deadline = time.monotonic() + _START
    while not (found.exists() and found.read_text().strip()):
        if time.monotonic() > deadline or process.poll() is not None:
            raise RuntimeError("the file service did not start")
        time.sleep(0.05)
    return found.read_text().splitlines()[0].strip()


_MOST = 12
_UNIT = 65_536
GROUPS = (
    ("waiting for the other side", ("twisted.internet.epollreactor:doPoll",)),
    ("transport: send", ("twisted.internet.tcp:writeSomeData",)),
    (
        "transport: receive",
        ("twisted.internet.tcp:doRead", "twisted.internet.tcp:_dataReceived"),
    ),
    (
        "transport: buffering of writes",
        ("twisted.internet.abstract:", "twisted.internet.tcp:"),
    ),
    (
        "source",
        (
            "benchmarks.material:",
            "amp_stream._outgoing:",
            "amp_stream._outgoing:",
            "amp_stream.filesources:",
            "amp_stream._transport:",
        ),
    ),
    ("framing of chunks", ("amp_stream._sansio.frames:", "amp_stream._sansio.frames:")),
    (
        "parsing of boxes",
        (
            "amp_stream._multiplexer:",
            "amp_stream._sansio.boxes:",
            "amp_stream._sansio.boxes:",
            "amp_stream._sansio.reading:",
            "amp_stream._boxtransport:",
            "amp_stream._boxes:",
            "twisted.protocols.amp:",
        ),
    ),
    (
        "delivery",
        (
            "benchmarks.peers.streams:",
            "benchmarks.measuring:add",
            "amp_stream._incoming:",
            "amp_stream._incoming:",
        ),
    ),
    ("state of streams", ("amp_stream.",)),
    ("reactor and everything else", ("",)),
)
"""
The innermost function of a stack that a group names decides; of the groups, the first.
"""


def groupOf(stack: list[str]) -> str:
    """@param stack: C{module:function}, from the innermost outwards."""
    for function in stack:
        for name, prefixes in GROUPS[:-1]:
            if function.startswith(prefixes):
                return name
    return GROUPS[-1][0]


def profile(setting: Setting) -> Findings:
    """Where does the time go?"""
    size = setting.pick(2**32, 2**28)
    what = {"stream": Case(Job("stream", size=size, profile=True))}
    series = rounds(setting, what, timeout=300.0, times=1)
    tables = []
    for outcome in series.all("stream")[-1:]:
        pieces = size / _UNIT
        average = outcome.server["meter"]["piece"]
        found = {
            "sender": _grouped(outcome.client["profile"]),
            "receiver": _grouped(outcome.server["profile"]),
        }
        note = (
            f"Looked at every millisecond, over {size / 2**30:g} GiB; what was "
            f"delivered came in pieces of {average:,.0f} bytes on average."
        )
        rows: list[dict[str, Any]] = []
        for name, _ in GROUPS:
            row: dict[str, Any] = {"group": name}
            for end, counted in found.items():
                total = sum(counted.values()) or 1
                row[end] = counted[name] * LOOK / pieces
                row[f"{end}Share"] = counted[name] / total
            rows.append(row)
        tables.append(
            Table(
                "Stream over loopback TCP: microseconds for each 64 KiB",
                [
                    Column("group", "where"),
                    Column("sender", "sender, µs", "µs"),
                    Column("senderShare", "share", "percent"),
                    Column("receiver", "receiver, µs", "µs"),
                    Column("receiverShare", "share", "percent"),
                ],
                rows,
                [note],
            )
        )
        tables.append(
            Table(
                "The functions in which most samples were, without what they call",
                [
                    Column("sender", "sender"),
                    Column("senderShare", "share", "percent"),
                    Column("receiver", "receiver"),
                    Column("receiverShare", "share", "percent"),
                ],
                [
                    {
                        "sender": one,
                        "senderShare": a,
                        "receiver": two,
                        "receiverShare": b,
                    }
                    for (one, a), (two, b) in zip(
                        _hottest(outcome.client["profile"]),
                        _hottest(outcome.server["profile"]),
                        strict=False,
                    )
                ],
            )
        )
    return Findings(tables)


def _grouped(samples: list[tuple[list[str], int]]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for stack, count in samples:
        counted[groupOf(stack)] += count
    return counted


def _hottest(samples: list[tuple[list[str], int]]) -> list[tuple[str, float]]:
    counted: Counter[str] = Counter()
    for stack, count in samples:
        counted[stack[0]] += count
    total = sum(counted.values())
    return [(name, count / total) for name, count in counted.most_common(_MOST)]

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The command line: see C{python -m benchmarks --help}."""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import benchmarks
from benchmarks.catalogue import PEERS
from benchmarks.findings import Findings, Table, asText, verdict
from benchmarks.machine import machine, versions
from benchmarks.measures import MEASURES
from benchmarks.running import Setting

_QUICK = 100.0
_DOCS = Path(__file__).resolve().parent.parent / "docs"
# Failures of the programs that measure, and not of the machine that they run on.
_FAULTS = re.compile(
    r"\b(ImportError|ModuleNotFoundError|AttributeError|NameError|TypeError)\b"
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=benchmarks.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", help="measures, or: report FILE...")
    parser.add_argument("--quick", action="store_true", help="smaller, and once")
    parser.add_argument("--rounds", type=int, metavar="N", help="how many")
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="how many links at once [1]"
    )
    parser.add_argument(
        "--before", default="", metavar="DIRECTORY", help="a version to compare with"
    )
    parser.add_argument("--json", metavar="FILE", help="where to write the results")
    parser.add_argument("--list", action="store_true", help="list measures and peers")
    parser.add_argument(
        "--docs", default=str(_DOCS), help="where report writes [default: docs]"
    )
    return parser


def _list() -> None:
    for name, measure in MEASURES.items():
        print(f"{name:16}{(measure.__doc__ or '').strip()}")
    print()
    for name, entry in PEERS.items():
        print(f"{name:16}{entry.label}  {entry.unavailable()}".rstrip())


def _measure(names: list[str], setting: Setting) -> dict[str, Any]:
    found: dict[str, Any] = {}
    until = time.monotonic() + _QUICK
    for name in names:
        measure = MEASURES[name]
        title = (measure.__doc__ or "").strip()
        setting.say(f"{name}: {title}")
        started = time.monotonic()
        try:
            if setting.quick and started > until:
                raise TimeoutError("not run: the two minutes are nearly over")
            findings = measure(setting)
        except Exception as error:
            # One that fails is a result, too, and the others are still wanted.
            note = f"failed: {type(error).__name__}: {error}"
            findings = Findings([Table(title, [], [], [note])])
        seconds = time.monotonic() - started
        found[name] = {"title": title, "seconds": seconds, **findings.toDict()}
        for table in findings.tables:
            print(
                asText(table) if table.columns else "\n".join(table.notes), flush=True
            )
        for target in findings.targets:
            bound, value, met = verdict(target)
            print(f"{target.what}: {value} (aimed at {bound}): {met}")
        print(flush=True)
    return found


def main(arguments: list[str]) -> None:
    """Measure, or report."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list:
        _list()
        return
    if options.names[:1] == ["report"]:
        if len(options.names) < 2:
            parser.error("report takes the names of files that --json has written")
        from benchmarks.report import merged, write

        files = [json.loads(Path(name).read_text()) for name in options.names[1:]]
        write(merged(files), Path(options.docs))
        return
    names = options.names or list(MEASURES)
    unknown = [name for name in names if name not in MEASURES]
    if unknown:
        parser.error(f"no such measure: {', '.join(unknown)}; see --list")
    # So that links are taken away when this is terminated, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    given = ["--quick"] if options.quick else []
    given += [f"--rounds {options.rounds}"] if options.rounds else []
    given += [f"--jobs {options.jobs}"] if options.jobs > 1 else []
    given += ["--before DIRECTORY"] if options.before else []
    results: dict[str, Any] = {
        "command": " ".join(["python -m benchmarks", *given, *options.names]),
        "quick": options.quick,
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "machine": machine(),
        "versions": versions(),
    }
    started = time.monotonic()
    setting = Setting(options.quick, options.rounds, options.jobs, options.before)
    results["measures"] = _measure(names, setting)
    results["seconds"] = time.monotonic() - started
    print(f"{results['seconds']:.0f} seconds", file=sys.stderr)
    if options.json:
        Path(options.json).write_text(json.dumps(results))
    if options.quick and _FAULTS.search(json.dumps(results["measures"])):
        sys.exit("a measure is broken: see the failures above")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)

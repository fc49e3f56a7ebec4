# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The file service, with the real commands.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.findings import Column, Findings, Table
from benchmarks.processes import ROOT
from benchmarks.rounds import Setting

__all__ = ["put"]

_START = 20.0
_TIMEOUT = 300.0
_BLOCK = 2**22
_NOTE = (
    "put: one process reads the file, hashes and sends it; the other one hashes it, "
    "writes it and synchronises it with the disk."
)


def put(setting: Setting) -> Findings:
    """
    A file to the file service
    """
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
        command,
        check=True,
        timeout=_TIMEOUT,
        capture_output=True,
        env=_environment(),
    )


def _serve(stack: ExitStack, directory: Path) -> str:
    """
    Start the service.
    """
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

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The two processes of a run, as seen by whoever starts them.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["ROOT", "Child", "RunFailed", "rss"]

ROOT = Path(__file__).absolute().parent.parent
_KIB = 1024


class RunFailed(Exception):
    """
    A run came to nothing; the text says why.
    """


class Child:
    """
    A Python process that says JSON objects, one a line, and takes words.
    """

    def __init__(self, arguments: Sequence[str], prefix: Sequence[str] = ()) -> None:
        """
        @param arguments: What follows C{python -m}.

        @param prefix: A command that runs another one in its place.
        """
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it is in __exit__
        path = os.environ.get("PYTHONPATH", "")
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-m", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{path}"},
            bufsize=0,
        )
        self.pid = self._process.pid
        self._buffer = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._selector.close()
        self._errors.close()

    def tell(self, word: str) -> None:
        """
        Send a word.
        """
        with suppress(OSError):
            self._process.stdin.write(f"{word}\n".encode())

    def hear(
        self, deadline: float, meanwhile: Callable[[], None] | None = None
    ) -> dict[str, Any]:
        """
        Wait for what it says next.

        @param deadline: Until when, on the clock of C{time.monotonic}.

        @param meanwhile: What to call ten times a second.
        """
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise RunFailed("timeout")
            if self._selector.select(min(left, 0.1)):
                data = os.read(self._process.stdout.fileno(), 2**20)
                if not data:
                    raise RunFailed(f"a process died: {self._lastWords()}")
                self._buffer += data
            if meanwhile is not None:
                meanwhile()
        line, self._buffer = self._buffer.split(b"\n", 1)
        said = json.loads(line)
        if "failed" in said:
            raise RunFailed(said["failed"][:300])
        return said

    def memory(self, key: str) -> int:
        """
        @param key: VmHWM or VmRSS.

        @return: In bytes.
        """
        return rss(self.pid, key)

    def _lastWords(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:300] if lines else "without a word"


def rss(pid: int, key: str) -> int:
    """
    Read a number of a process's status (bytes).
    """
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) * _KIB

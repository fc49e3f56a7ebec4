# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
A bar on the terminal, with the rate and the time that is left.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from amp_stream.hashed import Progress

__all__ = ["progressBar"]


@contextmanager
def progressBar(label: str) -> Iterator[Progress | None]:
    """
    Show how far something is, if standard error is a terminal.

    @param label: What it is.

    @return: A context manager: of what to tell, or of L{None} where nobody
        watches.  The bar goes away at its end.
    """
    if not sys.stderr.isatty():
        yield None
        return
    bar = _Bar(label)
    try:
        yield bar
    finally:
        bar.close()


class _Bar:
    """
    A L{Progress} that draws.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._bar: Any = None

    def start(self, size: int | None) -> None:
        """
        Draw an empty bar.
        """
        self.close()
        # Its monitor thread would wake up now and then for nothing.
        tqdm.monitor_interval = 0
        # A terminal that does not know its size says 0; a full line would wrap.
        columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80
        self._bar = tqdm(
            total=size,
            desc=self._label,
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            file=sys.stderr,
            ncols=columns - 1,
            nrows=24,
            leave=False,
        )

    def advance(self, count: int) -> None:
        """
        Draw it longer.
        """
        self._bar.update(count)

    def close(self) -> None:
        """
        Take it away.
        """
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()

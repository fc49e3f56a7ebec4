# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Links of a given rate.

As root, two network namespaces with a veth pair between them, and a token bucket at
each end.  Otherwise a relay of our own that limits the rate.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache

from benchmarks.processes import Child
from benchmarks.running import Place

__all__ = ["Relayed", "link", "linkKind"]

_START = 20.0
_QUEUE = 0.05
_MTU = 1500


class _Namespaces(Place):
    """
    The server in one namespace and the client in another.
    """

    host = "10.213.77.1"

    def __init__(self, name: str) -> None:
        self.server, self.client = f"{name}s", f"{name}c"
        self.serverPrefix = ("ip", "netns", "exec", self.server)
        self.clientPrefix = ("ip", "netns", "exec", self.client)

    def build(self, rate: int) -> None:
        """
        @param rate: In bits per second, of each direction.
        """
        # Half a millisecond's worth, but never less than a few packets.
        burst = max(4 * _MTU, rate // 8 // 2000)
        limit = max(30 * _MTU, int(rate / 8 * _QUEUE))
        for space in (self.server, self.client):
            _sh("ip", "netns", "add", space)
            _sh("ip", "-n", space, "link", "set", "lo", "up")
        outside, inside = f"{self.server}0", f"{self.client}0"
        _sh(
            *("ip", "-n", self.server, "link", "add", outside, "type", "veth"),
            *("peer", "name", inside, "netns", self.client),
        )
        for space, device, address in (
            (self.server, outside, self.host),
            (self.client, inside, "10.213.77.2"),
        ):
            _sh("ip", "-n", space, "addr", "add", f"{address}/24", "dev", device)
            _sh("ip", "-n", space, "link", "set", device, "up")
            _sh(
                *("tc", "-n", space, "qdisc", "add", "dev", device, "root", "tbf"),
                *("rate", f"{rate}bit", "burst", str(burst), "limit", str(limit)),
            )

    def destroy(self) -> None:
        """
        Leave nothing behind, however far C{build} came.
        """
        # Whoever presses Ctrl-C a second time waits until this is done.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            for space in (self.server, self.client):
                subprocess.run(
                    ["ip", "netns", "delete", space], check=False, capture_output=True
                )
        finally:
            signal.signal(signal.SIGINT, before)


class Relayed(Place):
    """
    A relay between the two.
    """

    def __init__(self, delay: float = 0.0, rate: int = 0) -> None:
        """
        @param delay: For each direction (seconds).

        @param rate: In bits per second, of each direction; 0 for no limit.
        """
        self._delay = delay
        self._rate = rate

    def route(self, port: int) -> AbstractContextManager[int]:
        """
        Start the relay.
        """
        return self._relay(port)

    @contextmanager
    def _relay(self, port: int) -> Iterator[int]:
        arguments = [str(port), str(self._delay), str(self._rate)]
        with Child(["benchmarks.relay", *arguments]) as relay:
            yield relay.hear(time.monotonic() + _START)["port"]


def _sh(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


@contextmanager
def link(rate: int) -> Iterator[Place]:
    """
    Make a link, and take it away again, also when interrupted.

    @param rate: In bits per second, of each direction.
    """
    if not _canLimit():
        yield Relayed(rate=rate)
        return
    place = _Namespaces(f"as{os.getpid()}")
    try:
        place.build(rate)
        yield place
    finally:
        place.destroy()


def linkKind() -> str:
    """
    @return: What links are made of here, for the notes of a table.
    """
    if _canLimit():
        return (
            "Links are network namespaces joined by veth, with `tc … tbf` at each end "
            f"(queue: {_QUEUE * 1000:.0f} ms)."
        )
    return (
        "No root, or no `tbf` in the kernel: a relay limits the rate, and its own "
        "buffers count."
    )


@cache
def _canLimit() -> bool:
    if os.geteuid() or not (shutil.which("ip") and shutil.which("tc")):
        return False
    place = _Namespaces(f"as{os.getpid()}t")
    try:
        place.build(20_000_000)
    except subprocess.CalledProcessError:
        return False
    finally:
        place.destroy()
    return True

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Ways between two processes: a link with a distance, a near link of a given rate, and a
relay that delays.

A L{Distance} is two network namespaces with a router of our own between them, which is
C{router.c}: there the queue is where it is on the Internet, in a device that belongs to
neither end.  A L{Near} link is two namespaces joined by veth with a token bucket at
each end: there the queue is on the sender's own host, and TCP knows of it.  Both need
root.
"""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.running import Child, Place, RunFailed, python

__all__ = ["Distance", "Near", "Relayed"]

_START = 20.0
_MTU = 1500
_NET = "10.213.77.0/24"
_HOSTS = ("10.213.77.1", "10.213.77.2")
_TUN = Path("/dev/net/tun")
_ROUTER = Path(__file__).with_name("router.c")
_BACKLOG = 10_000
_NEAR_QUEUE = 0.05

_numbers = itertools.count()


class _Namespaces(Place):
    """The server in one namespace and the client in another."""

    host = _HOSTS[0]

    def __init__(self, rate: float, delay: float = 0.0) -> None:
        name = f"as{os.getpid()}-{next(_numbers)}"
        self.rate = rate
        self.delay = delay
        self.server, self.client = f"{name}s", f"{name}c"
        self.serverPrefix = ("ip", "netns", "exec", self.server)
        self.clientPrefix = ("ip", "netns", "exec", self.client)

    @property
    def spaces(self) -> tuple[str, str]:
        """The names of both."""
        return self.server, self.client

    @contextmanager
    def made(self) -> Iterator[None]:
        """Make them, and take them away again."""
        try:
            for space in self.spaces:
                _sh("ip", "netns", "add", space)
                _sh("ip", "-n", space, "link", "set", "lo", "up")
            yield
        finally:
            for space in self.spaces:
                _sh("ip", "netns", "delete", space, check=False)

    def address(self, device: str, congestion: str = "") -> None:
        """
        Give the devices of both their addresses.

        @param congestion: TCP's congestion control, or nothing for the system's own.
            The route has it: a namespace may not choose one by sysctl unless all
            users of the machine may.
        """
        control = f"congctl {congestion}" if congestion else ""
        for space, host in zip(self.spaces, _HOSTS, strict=True):
            for command in (
                f"addr add {host}/24 dev {device} noprefixroute",
                f"link set {device} up",
                f"route add {_NET} dev {device} src {host} {control}",
            ):
                _sh("ip", "-n", space, *command.split())


@dataclass(frozen=True)
class Distance(Place):
    """
    A link with a distance.

    @ivar rate: In bits per second, of each direction.

    @ivar trip: How long the way is, there and back (seconds).

    @ivar queue: How many bytes wait at each end of it; what does not fit is dropped.

    @ivar jitter: By how much longer, at random, each packet takes (seconds).

    @ivar congestion: Which congestion control TCP has at both ends.
    """

    rate: float = 20e6
    trip: float = 0.04
    queue: int = 1_000_000
    congestion: str = "cubic"
    jitter: float = 0.0

    @property
    def weight(self) -> float:
        """How much of this machine it takes."""
        if self.rate < 10e6:
            return 0.5
        return 1.0 if self.rate < 80e6 else 2.0

    def unavailable(self) -> str:
        """@return: What is missing here, or nothing."""
        return _whyNot("cc", str(_TUN)) or _refused(self.congestion)

    @contextmanager
    def opened(self) -> Iterator[Place]:
        """Make a new one."""
        here = _Routed(self.rate, self.trip / 2)
        with ExitStack() as stack:
            try:
                stack.enter_context(here.made())
                here.router = stack.enter_context(Child([_router(), *here.spaces]))
                here.router.hear(time.monotonic() + _START)
                for space in here.spaces:
                    _sh(*f"ip -n {space} link set far txqueuelen {_BACKLOG}".split())
                here.address("far", self.congestion)
            except subprocess.CalledProcessError as error:
                raise RunFailed(_words(error)) from error
            for key in ("rate", "queue", "jitter"):
                here.change(key, getattr(self, key))
            here.change("delay", self.trip / 2)
            yield here


class _Routed(_Namespaces):
    """Two namespaces with the router between them."""

    router: Child

    def reset(self) -> None:
        self.router.tell("reset")

    def stats(self) -> dict[str, dict[str, int]]:
        self.router.tell("stats")
        return self.router.hear(time.monotonic() + _START)

    def change(self, key: str, value: float) -> None:
        self.router.tell(f"{key} {value!r}")


@dataclass(frozen=True)
class Near(Place):
    """A link of a rate (bits per second) without distance."""

    rate: int

    def unavailable(self) -> str:
        """@return: What is missing here, or nothing."""
        return _whyNot("tc")

    @contextmanager
    def opened(self) -> Iterator[Place]:
        """Make a new one."""
        here = _Namespaces(self.rate)
        try:
            with here.made():
                self._join(here)
                yield here
        except subprocess.CalledProcessError as error:
            raise RunFailed(_words(error)) from error

    def _join(self, here: _Namespaces) -> None:
        _sh(
            *f"ip -n {here.server} link add near type veth".split(),
            *f"peer name near netns {here.client}".split(),
        )
        here.address("near")
        # Half a millisecond's worth, but never less than a few packets.
        burst = max(4 * _MTU, self.rate // 8 // 2000)
        limit = max(30 * _MTU, int(self.rate / 8 * _NEAR_QUEUE))
        for space in here.spaces:
            _sh(
                *f"tc -n {space} qdisc add dev near root tbf".split(),
                *f"rate {self.rate}bit burst {burst} limit {limit}".split(),
            )


class Relayed(Place):
    """A relay between the two that delays each byte."""

    def __init__(self, delay: float) -> None:
        """@param delay: For each direction (seconds)."""
        self.delay = delay

    def route(self, port: int) -> AbstractContextManager[int]:
        """Start the relay."""
        return self._relay(port)

    @contextmanager
    def _relay(self, port: int) -> Iterator[int]:
        with Child(python("benchmarks.relay", str(port), str(self.delay))) as relay:
            yield relay.hear(time.monotonic() + _START)["port"]


def _sh(*command: str, check: bool = True) -> None:
    # In a session of its own: Ctrl-C must not end what takes a namespace away.
    subprocess.run(
        command, check=check, capture_output=True, text=True, start_new_session=True
    )


def _words(error: subprocess.CalledProcessError) -> str:
    text = (error.stderr or "").strip().splitlines()
    return f"{' '.join(error.cmd[:6])}: {text[-1] if text else error.returncode}"


def _whyNot(*needs: str) -> str:
    if os.geteuid():
        return "not run: a link needs root"
    for name in ("ip", *needs):
        if not (Path(name).exists() if "/" in name else shutil.which(name)):
            return f"not run: there is no {name}"
    return ""


@cache
def _refused(congestion: str) -> str:
    """Try to make a link, once."""
    try:
        with Distance(congestion=congestion).opened():
            return ""
    except RunFailed as error:
        return f"not run: {error}"


@cache
def _router() -> str:
    """
    Compile the router.

    @return: The name of the program, which goes away when this process ends.
    """
    directory = tempfile.mkdtemp(prefix="amp_stream-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    program = f"{directory}/router"
    try:
        _sh("cc", "-O2", "-o", program, str(_ROUTER))
    except subprocess.CalledProcessError as error:
        raise RunFailed(_words(error)) from error
    return program

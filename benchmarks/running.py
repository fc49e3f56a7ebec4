# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
One run: a server, a client, and what lies between them.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.catalogue import PEERS
from benchmarks.certificate import certificateFile
from benchmarks.job import Job
from benchmarks.processes import Child, RunFailed

__all__ = ["Outcome", "Place", "RunFailed", "run"]

_STEP = 0.1


class Place:
    """
    Where the two processes run.  This is the loopback interface.
    """

    serverPrefix: tuple[str, ...] = ()
    clientPrefix: tuple[str, ...] = ()
    host = "127.0.0.1"

    def route(self, port: int) -> AbstractContextManager[int]:
        """
        Tell how the client reaches the server's port.
        """
        return _Direct(port)


class _Direct(AbstractContextManager[int]):
    def __init__(self, port: int) -> None:
        self._port = port

    def __enter__(self) -> int:
        return self._port

    def __exit__(self, *ignored: object) -> None:
        pass


@dataclass
class Outcome:
    """
    What a run has shown.

    @ivar result: What the client measured.

    @ivar sent: The report of the meter of the server.

    @ivar growth: By how much VmHWM of the server and of the client grew (bytes).

    @ivar memory: What they used over time: (seconds, server's bytes, client's bytes).
    """

    job: Job
    result: dict[str, Any]
    server: dict[str, Any]
    client: dict[str, Any]
    growth: dict[str, int]
    memory: list[tuple[float, int, int]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """
        How long the bulk, or the calls, took.
        """
        return self.result["seconds"]

    @property
    def rate(self) -> float:
        """
        Bytes per second, of all streams.
        """
        job = self.job
        return job.size * (job.up + job.down) * job.connections / self.seconds

    def arrived(self) -> float:
        """
        @return: Bytes per second at which bulk arrived while small calls were made,
            without the first second.
        """
        meters = [self.server["meter"]] if self.job.up else []
        if self.job.down:
            meters.append(self.client["meter"])
        first, last = self.result["started"], self.result["stopped"]
        first += min(1.0, (last - first) / 4)
        return sum(_slope(meter["samples"], first, last) for meter in meters)


def _slope(samples: list[tuple[float, int]], first: float, last: float) -> float:
    inside = [sample for sample in samples if first <= sample[0] <= last]
    if len(inside) < 2:
        return 0.0
    (begin, before), (end, after) = inside[0], inside[-1]
    return (after - before) / (end - begin)


def run(job: Job, place: Place, timeout: float, watch: bool = False) -> Outcome:
    """
    Run it.

    @param timeout: For all of it (seconds).

    @param watch: Whether to note the memory over time.

    @raise RunFailed: It came to nothing.
    """
    deadline = time.monotonic() + timeout
    entry = PEERS[job.peer]
    with ExitStack() as stack:
        job = replace(
            job,
            directory=stack.enter_context(TemporaryDirectory()),
            host=place.host,
            options={**entry.options, **job.options},
            certificate=certificateFile() if entry.tls or entry.certified else "",
        )
        server = stack.enter_context(_worker("server", job, place.serverPrefix))
        client = stack.enter_context(_worker("client", job, place.clientPrefix))
        port = server.hear(deadline)["port"]
        client.tell(str(stack.enter_context(place.route(port))))
        client.hear(deadline)
        server.tell("reset")
        server.hear(deadline)
        ends = {"server": server, "client": client}
        before = {name: child.memory("VmHWM") for name, child in ends.items()}
        memory: list[tuple[float, int, int]] = []
        started = time.monotonic()

        def look() -> None:
            now = time.monotonic() - started
            used = (child.memory("VmRSS") for child in (server, client))
            memory.append((now, *used))

        client.tell("go")
        clientSaid = client.hear(deadline, look if watch else None)
        growth = {name: ends[name].memory("VmHWM") - before[name] for name in ends}
        server.tell("report")
        serverSaid = server.hear(deadline)
        return Outcome(
            job, clientSaid["result"], serverSaid, clientSaid, growth, memory
        )


def _worker(role: str, job: Job, prefix: tuple[str, ...]) -> Child:
    return Child(["benchmarks.worker", role, job.toJson()], prefix)

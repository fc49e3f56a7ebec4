# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Runs: their processes, what lies between them, and many of them in rounds.

A run has a server and a client for each of its jobs: mostly one, or two that share a
link.  Rounds are interleaved: each case once, then each of them again.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any

from benchmarks.catalogue import PEERS
from benchmarks.certificate import certificateFile
from benchmarks.job import Job

__all__ = [
    "ROOT",
    "Case",
    "Change",
    "Child",
    "Outcome",
    "Place",
    "RunFailed",
    "Series",
    "Setting",
    "carried",
    "cases",
    "percentile",
    "python",
    "rounds",
    "run",
]

ROOT = Path(__file__).absolute().parent.parent
_KIB = 1024
_QUICK_TIMEOUT = 30.0
_QUICK_JOBS = 3
_LARGE = 2**14
_LUMPS = 2**18

_stopping = threading.Event()
"""
Set when this program is interrupted: runs in other threads end.
"""


class RunFailed(Exception):
    """A run came to nothing; the text says why."""


def python(*arguments: str) -> list[str]:
    """@return: The command for C{python -m} with these arguments."""
    return [sys.executable, "-m", *arguments]


class Child:
    """A process that says JSON objects, one a line, and takes words."""

    def __init__(self, command: Sequence[str]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it is in __exit__
        path = os.environ.get("PYTHONPATH", "")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{path}"},
            bufsize=0,
            # Ctrl-C ends this program, which then ends its children in good order.
            start_new_session=True,
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
        """Send a word."""
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
            if _stopping.is_set():
                raise RunFailed("interrupted")
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
        status = Path(f"/proc/{self.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith(f"{key}:"))
        return int(line.split()[1]) * _KIB

    def hurry(self) -> None:
        """Have no lower priority than others any more, if this user may say so."""
        with suppress(OSError):
            for thread in Path(f"/proc/{self.pid}/task").iterdir():
                os.setpriority(os.PRIO_PROCESS, int(thread.name), 0)

    def processor(self) -> float:
        """@return: How much time of a processor it has used (seconds)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _lastWords(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:300] if lines else "without a word"


class Place:
    """
    Where the processes run.  This is the loopback interface.

    @ivar delay: How long the way is to the other end (seconds).

    @ivar rate: How many bits per second it has, each way, if that is known.

    @ivar weight: How much of this machine a run takes, where 1 is a third of it; 0 if
        nothing else may run beside it.
    """

    serverPrefix: tuple[str, ...] = ()
    clientPrefix: tuple[str, ...] = ()
    host = "127.0.0.1"
    delay = 0.0
    rate = 0.0
    weight = 0.0

    def unavailable(self) -> str:
        """@return: Why there is no such place here, or nothing."""
        return ""

    @contextmanager
    def opened(self) -> Iterator[Place]:
        """Make it ready for one run."""
        yield self

    def route(self, port: int) -> AbstractContextManager[int]:
        """Tell how the client reaches the server's port."""
        return _Direct(port)

    def reset(self) -> None:
        """Count anew."""

    def stats(self) -> dict[str, dict[str, int]]:
        """@return: What was counted, by direction."""
        return {}

    def change(self, key: str, value: float) -> None:
        """Make the way another one while it is in use."""
        raise NotImplementedError


class _Direct(AbstractContextManager[int]):
    def __init__(self, port: int) -> None:
        self._port = port

    def __enter__(self) -> int:
        return self._port

    def __exit__(self, *ignored: object) -> None:
        pass


@dataclass(frozen=True)
class Change:
    """
    What changes about the way between the two.

    @ivar at: When, from the beginning of the first job's bulk (seconds).

    @ivar key: C{rate}, C{delay}, C{jitter} or C{queue}.
    """

    at: float
    key: str
    value: float


@dataclass(frozen=True)
class Case:
    """
    One row: what to run, and where.

    @ivar beside: Other jobs of the same run.

    @ivar once: Whether one round is enough, as it has the same outcome each time.
    """

    job: Job
    place: Place = field(default_factory=Place)
    watch: bool = False
    changes: tuple[Change, ...] = ()
    beside: tuple[Job, ...] = ()
    once: bool = False

    @property
    def label(self) -> str:
        """What the table calls it."""
        entry = PEERS[self.job.peer]
        return f"{entry.label}, no-delay" if self.job.noDelay else entry.label

    def unavailable(self) -> str:
        """@return: Why it cannot be run here, or nothing."""
        peers = [PEERS[job.peer].unavailable() for job in (self.job, *self.beside)]
        return next(filter(None, [*peers, self.place.unavailable()]), "")


@dataclass
class Outcome:
    """
    What a job of a run has shown.

    @ivar result: What the client measured.

    @ivar server: The report of the server.

    @ivar client: The report of the client.

    @ivar growth: By how much VmHWM of the server and of the client grew (bytes).

    @ivar processor: How much time of a processor they used (seconds).

    @ivar link: What the place has counted during the bulk.

    @ivar delay: How long the way was (seconds).

    @ivar lineRate: How many bits per second it had at first, or 0.

    @ivar memory: What they used over time: (seconds, server's bytes, client's bytes).

    @ivar others: The outcomes of the other jobs.
    """

    job: Job
    result: dict[str, Any]
    server: dict[str, Any]
    client: dict[str, Any]
    growth: dict[str, int]
    processor: dict[str, float]
    link: dict[str, dict[str, int]] = field(default_factory=dict)
    delay: float = 0.0
    lineRate: float = 0.0
    memory: list[tuple[float, int, int]] = field(default_factory=list)
    others: list[Outcome] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """How long the bulk, or the calls, took."""
        return self.result["seconds"]

    @property
    def rate(self) -> float:
        """Bytes per second, of all streams."""
        job = self.job
        return job.size * (job.up + job.down) * job.connections / self.seconds

    @property
    def started(self) -> float:
        """When the bulk began."""
        return self.result["started"]

    @property
    def stopped(self) -> float:
        """When the last small call was made."""
        return self.result["stopped"]

    @property
    def settled(self) -> float:
        """How long the bulk is given to settle: a second, if there is time."""
        return min(1.0, (self.stopped - self.started) / 4)

    @property
    def most(self) -> float:
        """How many bytes of payload per second the link can carry."""
        return carried(self.lineRate)

    @property
    def _calls(self) -> list[tuple[float, float]]:
        return self.result.get("calls", [])

    def idle(self) -> list[float]:
        """@return: How long small calls took before the bulk (seconds)."""
        return [taken for when, taken in self._calls if when < self.started]

    def busy(self, after: float = 0.0, until: float = float("inf")) -> list[float]:
        """
        @return: How long those took that were made beside the bulk, from so long after
            its beginning (seconds).
        """
        begin, end = self.started + after, self.started + until
        return [taken for when, taken in self._calls if begin <= when < end]

    def arrived(self, after: float | None = None, until: float | None = None) -> float:
        """
        @return: Bytes per second at which bulk arrived while small calls were made,
            without the first second or from so long after the beginning.
        """
        first = self.started + (self.settled if after is None else after)
        last = (
            self.stopped if until is None else min(self.stopped, self.started + until)
        )
        return sum(_slope(meter, first, last) for meter in self._meters())

    def sinceFirst(self) -> float:
        """
        @return: Bytes per second from when the first of them was written: it arrived
            after the length of the way.  Those that come in larger pieces are counted
            from when they were asked for.
        """
        found = 0.0
        for meter in self._meters():
            inside = [each for each in meter["samples"] if each[0] <= self.stopped]
            if inside and meter["first"]:
                when, total = inside[-1]
                begun = meter["first"] - self.delay
                if meter["piece"] > _LARGE:
                    begun = self.started
                found += total / max(1e-9, when - begun)
        return found

    def counted(self, what: str) -> int:
        """
        @return: Of the direction of the bulk: C{drops}, or C{greatest} for the
            queue.
        """
        way = self.link.get("down" if self.job.down else "up", {})
        return way.get(what, 0)

    def _meters(self) -> list[dict[str, Any]]:
        meters = [self.server["meter"]] if self.job.up else []
        return meters + ([self.client["meter"]] if self.job.down else [])


def _slope(meter: Mapping[str, Any], first: float, last: float) -> float:
    inside = [sample for sample in meter["samples"] if first <= sample[0] <= last]
    if meter["piece"] > _LUMPS:
        # Values that come whole: from one arrival to another.
        inside = [two for one, two in pairwise(inside) if two[1] > one[1]]
    if len(inside) < 2:
        return 0.0
    (begin, before), (end, after) = inside[0], inside[-1]
    return (after - before) / (end - begin)


class _Pair:
    """The two processes of a job."""

    def __init__(self, stack: ExitStack, job: Job, place: Place) -> None:
        entry = PEERS[job.peer]
        self._stack = stack
        self._place = place
        self.job = replace(
            job,
            directory=stack.enter_context(tempfile.TemporaryDirectory()),
            host=place.host,
            options={**entry.options, **job.options},
            certificate=certificateFile() if entry.tls or entry.certified else "",
        )
        self.server = self._worker("server", place.serverPrefix)
        self.client = self._worker("client", place.clientPrefix)
        self.ends = {"server": self.server, "client": self.client}

    def connect(self, deadline: float) -> None:
        port = self.server.hear(deadline)["port"]
        self.client.tell(str(self._stack.enter_context(self._place.route(port))))

    def ready(self, deadline: float) -> None:
        self.client.hear(deadline)
        for end in self.ends.values():
            end.hurry()
        self.server.tell("reset")
        self.server.hear(deadline)
        self._before = self._memory()
        self._used = self._processor()

    def outcome(
        self, deadline: float, meanwhile: Callable[[], None] | None = None
    ) -> Outcome:
        said = self.client.hear(deadline, meanwhile)
        after, used = self._memory(), self._processor()
        self.server.tell("report")
        return Outcome(
            self.job,
            said["result"],
            self.server.hear(deadline),
            said,
            {name: after[name] - self._before[name] for name in after},
            {name: used[name] - self._used[name] for name in used},
            delay=self._place.delay,
            lineRate=self._place.rate,
        )

    def _memory(self) -> dict[str, int]:
        # A client that leaves may be gone already.
        with suppress(OSError, ValueError):
            return {name: end.memory("VmHWM") for name, end in self.ends.items()}
        return {}

    def _processor(self) -> dict[str, float]:
        with suppress(OSError):
            return {name: end.processor() for name, end in self.ends.items()}
        return {}

    def _worker(self, role: str, prefix: tuple[str, ...]) -> Child:
        command = [*prefix, *python("benchmarks.worker", role, self.job.toJson())]
        if self._place.weight and not os.geteuid():
            # A process that starts must not disturb the runs that go on beside it.
            command = ["nice", "-n", "10", *command]
        return self._stack.enter_context(Child(command))


def run(case: Case, timeout: float) -> Outcome:
    """
    Run a case.

    @param timeout: For all of it (seconds).

    @raise RunFailed: It came to nothing.
    """
    deadline = time.monotonic() + timeout
    with ExitStack() as stack:
        place = stack.enter_context(case.place.opened())
        jobs = (case.job, *case.beside)
        pairs = [_Pair(stack, job, place) for job in jobs]
        for pair in pairs:
            pair.connect(deadline)
        for pair in pairs:
            pair.ready(deadline)
        first = pairs[0]
        memory: list[tuple[float, int, int]] = []
        started = time.monotonic()

        def look() -> None:
            now = time.monotonic() - started
            used = (child.memory("VmRSS") for child in (first.server, first.client))
            memory.append((now, *used))

        for pair in pairs:
            pair.client.tell("go")
        if case.job.seconds:
            begun = first.client.hear(deadline)["started"]
            place.reset()
            for change in case.changes:
                left = begun + change.at - time.perf_counter()
                timer = threading.Timer(left, place.change, (change.key, change.value))
                stack.callback(timer.cancel)
                timer.start()
        outcome = first.outcome(deadline, look if case.watch else None)
        outcome.link = place.stats()
        outcome.memory = memory
        for pair in pairs[1:]:
            pair.client.hear(deadline)
            outcome.others.append(pair.outcome(deadline))
        return outcome


@dataclass(frozen=True)
class Setting:
    """
    How thorough to be.

    @ivar fixed: How many rounds to make of everything, instead of what the measures
        say.

    @ivar jobs: How many links to run at once.

    @ivar before: A directory with the version of amp_stream to compare this one with.
    """

    quick: bool = False
    fixed: int | None = None
    jobs: int = 1
    before: str = ""

    def pick(self, full: Any, quick: Any) -> Any:
        """Choose."""
        return quick if self.quick else full

    @property
    def rounds(self) -> int:
        """How often to run everything."""
        return self.fixed or self.pick(5, 1)

    def say(self, text: str) -> None:
        """Print a line for those who wait."""
        print(text, file=sys.stderr, flush=True)


class Series:
    """The outcomes of all rounds, by case."""

    def __init__(self, names: Iterable[str]) -> None:
        self._outcomes: dict[str, dict[int, Outcome]] = {name: {} for name in names}
        self._failures: dict[str, str] = {}

    def add(self, name: str, number: int, outcome: Outcome | str) -> None:
        """Note the outcome of a round, or why there is none."""
        if isinstance(outcome, str):
            self._failures.setdefault(name, outcome)
        else:
            self._outcomes[name][number] = outcome

    def failure(self, name: str) -> str:
        """@return: Why a case has failed, or nothing."""
        return self._failures.get(name, "")

    def all(self, name: str) -> list[Outcome]:
        """@return: Those that there are."""
        found = self._outcomes.get(name, {})
        return [found[number] for number in sorted(found)]

    def median(self, name: str, value: Callable[[Outcome], float]) -> float | None:
        """Take the median of the rounds."""
        values = [value(outcome) for outcome in self.all(name)]
        return median(values) if values else None

    def ratio(
        self, name: str, base: str, value: Callable[[Outcome], float]
    ) -> float | None:
        """
        Compare two cases within each round, and take the median of that.  A base that
        was run once is the base of all rounds.
        """
        ours, theirs = self._outcomes.get(name, {}), self._outcomes.get(base, {})
        if len(theirs) == 1:
            theirs = dict.fromkeys(ours, next(iter(theirs.values())))
        pairs = [
            (value(ours[each]), value(theirs[each])) for each in ours if each in theirs
        ]
        values = [one / other for one, other in pairs if other]
        return median(values) if values else None


def cases(
    peers: Iterable[str], setting: Setting, make: Callable[[str], Case]
) -> dict[str, Case]:
    """
    Make a case of each peer, and another one with TCP_NODELAY where that is not what
    the peer does by itself.
    """
    found = {}
    for peer in peers:
        found[peer] = case = make(peer)
        if not PEERS[peer].noDelay and not setting.quick:
            job = replace(case.job, noDelay=True)
            found[f"{peer}, no-delay"] = replace(case, job=job)
    return found


def rounds(
    setting: Setting,
    what: Mapping[str, Case],
    timeout: float = 150.0,
    times: int | None = None,
) -> Series:
    """Run all of them, some times.  One that has failed is not tried again."""
    series = Series(what)
    timeout = setting.pick(timeout, min(timeout, _QUICK_TIMEOUT))

    def once(name: str, number: int) -> None:
        case = what[name]
        setting.say(f"  round {number + 1}: {name}")
        try:
            series.add(name, number, run(case, timeout))
        except RunFailed as error:
            setting.say(f"    failed: {name}: {error}")
            series.add(name, number, f"failed: {error}")

    with _Together(setting.pick(setting.jobs, max(setting.jobs, _QUICK_JOBS))) as runs:
        for number in range(setting.fixed or times or setting.rounds):
            for name, case in what.items():
                if number and case.once:
                    continue
                unavailable = case.unavailable()
                if unavailable:
                    series.add(name, number, unavailable)
                if not series.failure(name):
                    runs.start(case.place.weight, once, name, number)
    return series


class _Together:
    """Runs that go on at the same time, as many as there is room for."""

    def __init__(self, room: float) -> None:
        self._room = room
        self._free = room
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []

    def __enter__(self) -> _Together:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._wait(self._room)
        except BaseException:
            _stopping.set()
            raise
        finally:
            if kind is not None:
                _stopping.set()
            for thread in self._threads:
                thread.join()
        if self._errors and kind is None:
            raise self._errors[0]

    def start(self, weight: float, function: Callable[..., None], *what: Any) -> None:
        """Wait for room, and run it."""
        taken = min(weight, self._room) if weight and self._room > 1 else self._room
        self._wait(taken)
        with self._changed:
            self._free -= taken
        thread = threading.Thread(target=self._run, args=(taken, function, what))
        self._threads.append(thread)
        thread.start()

    def _wait(self, room: float) -> None:
        with self._changed:
            # In short steps, so that Ctrl-C is noticed.
            while self._free < room - 1e-6:
                self._changed.wait(0.2)
        if self._errors:
            raise self._errors[0]

    def _run(self, taken: float, function: Callable[..., None], what: Any) -> None:
        try:
            function(*what)
        except BaseException as error:
            self._errors.append(error)
        finally:
            with self._changed:
                self._free += taken
                self._changed.notify_all()


def carried(rate: float) -> float:
    """
    @return: Bytes of payload per second that TCP can have of a link with so many bits
        per second: 1,448 of each 1,500.
    """
    return rate / 8 * 1448 / 1500


def percentile(values: Sequence[float], percent: float) -> float:
    """@return: The smallest of the values that so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * percent // 100) - 1)]

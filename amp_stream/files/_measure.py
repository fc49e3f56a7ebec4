# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The measurements of C{amp-stream bench} and C{amp-stream demo}: how long small calls
take while a file moves.

The demonstration moves the file as a L{Stream <amp_stream.Stream>}, as an ordinary
argument, as a L{BigString}, and out of band.  Its service, in a child process, is
C{twistd amp-stream} with Commands for the second and the third.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from attrs import evolve, frozen
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThread
from twisted.protocols.amp import Command, String, Unicode
from twisted.python.failure import Failure

import amp_stream
from amp_stream import BigString, Limits, StreamConfig
from amp_stream.errors import DigestMismatch
from amp_stream.files._client import FileClient, Progress, connect
from amp_stream.files._console import progressBar
from amp_stream.files._server import (
    FileServerFactory,
    FileServerProtocol,
    whyNoOutOfBand,
)
from amp_stream.files._threads import ThreadedSource

_T = TypeVar("_T")

_BLOCK = 2**20
_NULL = Path(os.devnull)  # bytes that arrive are hashed and not kept
_BENCH_INTERVAL = 0.02
_BENCH_LINE = "{:10}{:>10}{:>10}{:>10}{:>10}{:>8}"


# Small calls.


@frozen
class Latencies:
    """
    The durations of some calls, in seconds.

    @ivar count: The number of calls.

    @ivar p50: Half of the calls took no longer.

    @ivar p99: 99 of 100 calls took no longer.

    @ivar longest: The duration of the slowest call.
    """

    count: int
    p50: float
    p99: float
    longest: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latencies:
        """
        Sum up measurements.

        @param seconds: At least one duration.
        """
        ordered = sorted(seconds)

        def percentile(percent: int) -> float:
            # Nearest rank: a duration that was measured, not one in between.
            return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]

        return cls(len(ordered), percentile(50), percentile(99), ordered[-1])


async def smallCalls(
    clock: IReactorTime,
    call: Callable[[], Deferred[None]],
    interval: float,
    work: Awaitable[_T],
) -> tuple[_T, Latencies]:
    """
    Make calls at regular intervals, however long the answers take, while something
    else goes on.

    A call that is made late, because this process was busy, counts from when it
    was due: the wait is part of its duration.

    @param clock: Tells the time.

    @param call: Makes one call.

    @param interval: From one call to the next (seconds).

    @param work: A coroutine, or a Deferred.

    @return: The result of the work, and the durations of the calls.

    @raise Exception: The work or a call has failed.
    """
    due = clock.seconds()
    calls: list[Deferred[None]] = []
    seconds: list[float] = []
    failures: list[Failure] = []

    def makeCalls(count: int) -> None:
        nonlocal due
        # More than one if this process was too busy to make them in time.
        for _ in range(count):
            calling = call().addCallback(answered, due)
            calls.append(calling.addErrback(failures.append))
            due += interval

    def answered(ignored: None, due: float) -> None:
        seconds.append(clock.seconds() - due)

    # Not in the loop: the count of one that calls at once may be rounded to 0.
    makeCalls(1)
    loop = LoopingCall.withCount(makeCalls)
    loop.clock = clock
    loop.start(interval, now=False)
    try:
        result = await work
    finally:
        loop.stop()
    await gatherResults(calls)
    if failures:
        failures[0].raiseException()
    return result, Latencies.of(seconds)


def _milliseconds(*seconds: float) -> list[str]:
    return [f"{each * 1000:.2f}" for each in seconds]


# amp-stream bench.


@frozen
class Measured:
    """
    One row of C{amp-stream bench}.

    @ivar what: C{"idle"}, C{"upload"} or C{"download"}.

    @ivar calls: The durations of the small calls meanwhile.

    @ivar size: How many bytes moved meanwhile (bytes).

    @ivar seconds: How long they took to move (seconds).

    @ivar rate: Bytes per second.
    """

    what: str
    calls: Latencies
    size: int
    seconds: float
    rate: float


async def bench(
    reactor: Any, client: FileClient, outOfBand: bool, seconds: float, most: int
) -> list[Measured]:
    """
    Measure small calls on an idle connection, during an upload, and during a download.

    @param outOfBand: Whether the bytes travel over HTTPS.

    @param seconds: How long to send (seconds).

    @param most: The most bytes to send.
    """
    name = f"amp-stream-bench-{secrets.token_hex(8)}"
    block = os.urandom(_BLOCK)  # bytes that do not compress
    left = most
    until: float | None = None

    def read(size: int) -> bytes:
        nonlocal left, until
        now = reactor.seconds()
        until = now + seconds if until is None else until
        data = block[: min(size, left)] if now < until else b""
        left -= len(data)
        return data

    async def idle() -> int:
        await deferLater(reactor, min(seconds, 2.0))
        return 0

    async def up() -> int:
        return (await client.put(name, ThreadedSource(read), outOfBand=outOfBand)).size

    async def down() -> int:
        return (await client.get(name, _NULL, outOfBand=outOfBand)).size

    rows = []
    try:
        for what, move in (("idle", idle), ("upload", up), ("download", down)):
            started = reactor.seconds()
            size, calls = await smallCalls(
                reactor, client.ping, _BENCH_INTERVAL, move()
            )
            taken = reactor.seconds() - started
            rows.append(Measured(what, calls, size, taken, size / max(taken, 1e-6)))
    finally:
        # An upload that failed has left no file; a lost connection is known already.
        with suppress(Exception):
            await client.remove(name)
    return rows


def benchTable(outOfBand: bool, rows: list[Measured]) -> str:
    """Show the rows of C{amp-stream bench} to a person."""
    way = "out of band" if outOfBand else "stream"
    lines = [
        f"a small call every {_BENCH_INTERVAL * 1000:.0f} ms, {way}",
        "",
        _BENCH_LINE.format("", "MB/s", "p50 ms", "p99 ms", "max ms", "calls"),
    ]
    for row in rows:
        rate = f"{row.rate / 1e6:.1f}" if row.size else "-"
        times = _milliseconds(row.calls.p50, row.calls.p99, row.calls.longest)
        lines.append(_BENCH_LINE.format(row.what, rate, *times, row.calls.count))
    return "\n".join(lines)


# amp-stream demo: its Commands, and the service that has them.

_NAME = "demonstration"
_INTERVAL = 0.01
_IDLE = 1.0
_PATIENCE = 5.0
_TAIL = 2000
_LINE = "{:11}{:>8}{:>11}{:>9}{:>9}{:>10}{:>9}{:>9}"
_MAX_WHOLE = 2**30
_CONFIG = StreamConfig(
    limits=Limits(maxBoxSize=_MAX_WHOLE + 65_536, maxBoxKeys=2 * _MAX_WHOLE // 65_535)
)


class PutBig(Command):
    """Store a value that is in the box, spread over keys."""

    arguments = [(b"name", Unicode()), (b"body", BigString(maxSize=_MAX_WHOLE))]


class GetBig(Command):
    """Read a value in the box of the answer, spread over keys."""

    arguments = [(b"name", Unicode())]
    response = [(b"body", BigString(maxSize=_MAX_WHOLE))]


class PutArgument(Command):
    """Store a value that is an ordinary argument."""

    arguments = [(b"name", Unicode()), (b"body", String())]


class GetArgument(Command):
    """Read a value as an ordinary argument of the answer."""

    arguments = [(b"name", Unicode())]
    response = [(b"body", String())]


class _DemoServerProtocol(FileServerProtocol):
    """The file service, with Commands whose values are held in memory."""

    streamConfig = _CONFIG

    @PutBig.responder
    @PutArgument.responder
    async def putWhole(self, name: str, body: bytes) -> dict[str, Any]:
        """Store a value that is in memory."""
        upload = self.factory.store.receive(name, len(body))
        try:
            await deferToThread(upload.write, body)
            await deferToThread(upload.commit)
        finally:
            upload.discard()
        return {}

    @GetBig.responder
    @GetArgument.responder
    async def getWhole(self, name: str) -> dict[str, Any]:
        """Read a value into memory."""
        file, _ = self.factory.store.open(name)
        with file:
            return {"body": await deferToThread(file.read)}


def serve() -> None:
    """
    Run C{twistd amp-stream}, with the Commands above and the options that are in
    C{sys.argv}, until a signal ends it.
    """
    from twisted.scripts.twistd import run

    FileServerFactory.protocol = _DemoServerProtocol
    sys.argv[:1] = ["twistd", "-n", "--pidfile=", "amp-stream"]
    run()


# The child finds amp_stream where this process has found it, last of all places:
# also in a checkout, from any directory.
_SERVE = """
import sys
where = sys.argv.pop(1)
if where not in sys.path:
    sys.path.append(where)
from amp_stream.files._measure import serve
serve()
"""


class ServiceDied(Exception):
    """The child process ended before it listened."""


class ChildService(ProcessProtocol):
    """
    The service of the demonstration, in a child process.

    @cvar program: The Python program of the process.

    @ivar listening: Fires with the client endpoint string of the service.

    @ivar ended: Fires when the process has ended and been reaped.
    """

    program = _SERVE

    def __init__(
        self, reactor: Any, directory: str, options: Sequence[str] = ()
    ) -> None:
        """
        Start the process.

        @param directory: Where it keeps its files, below C{root}.

        @param options: More options of C{twistd amp-stream}.
        """
        self.listening: Deferred[str] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self._reactor = reactor
        self._output = b""
        where = os.path.dirname(os.path.dirname(os.path.abspath(amp_stream.__file__)))
        command = [
            *(sys.executable, "-c", self.program, where),
            *("--listen", "tcp:0:interface=127.0.0.1"),
            *("--root", os.path.join(directory, "root"), *options),
        ]
        reactor.spawnProcess(self, command[0], command, env=None, path=directory)

    def outReceived(self, data: bytes) -> None:
        """The process has written to its log: perhaps it listens."""
        self._output = (self._output + data)[-_TAIL:]
        found = re.search(rb"serving .+ at (\S+)\n", self._output)
        if found is not None and not self.listening.called:
            self.listening.callback(found[1].decode("ascii"))

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        """The process has ended."""
        if not self.listening.called:
            said = self._output.decode("utf-8", "replace").strip()
            error = ServiceDied(f"the file service did not start: {said}")
            self.listening.errback(error)
        self.ended.callback(None)

    async def stop(self) -> None:
        """
        End the process, with SIGKILL if it has not ended some seconds after a SIGTERM,
        and wait until it has been reaped.
        """
        self._signal("TERM")
        patience = self._reactor.callLater(_PATIENCE, self._signal, "KILL")
        await self.ended
        if patience.active():
            patience.cancel()

    def _signal(self, name: str) -> None:
        transport: Any = self.transport
        with suppress(ProcessExitedAlready):
            transport.signalProcess(name)


# The measurement.


@frozen
class _Way:
    """
    A way for the file to travel.

    @ivar commands: Those that put and get it, if it is held in memory; otherwise the
        file service moves it.

    @ivar maxSize: The most bytes that it carries, or L{None}.

    @ivar version: The version of AMP to speak, as L{StreamConfig} takes it.
    """

    name: str
    commands: tuple[type[Command], type[Command]] | None = None
    maxSize: int | None = None
    version: str | int = "auto"

    def obstacle(self, size: int) -> str | None:
        """Why a file of this size cannot travel this way, or L{None} if it can."""
        if self.maxSize is not None and size > self.maxSize:
            return f"carries no more than {_binary(self.maxSize)}"
        return whyNoOutOfBand() if self.name == "oob" else None

    async def move(
        self, client: FileClient, path: str, up: bool, progress: Progress
    ) -> bytes:
        """
        Move the file.

        @param up: Whether it goes to the service, or comes back.

        @return: The SHA-256 of the bytes that arrived.
        """
        if self.commands is None:
            outOfBand = self.name == "oob"
            move: Any = partial(client.put if up else client.get, outOfBand=outOfBand)
            info = await move(_NAME, Path(path) if up else _NULL, progress=progress)
            return info.sha256 or b""
        body: bytes
        call: Any = client.protocol.callRemote
        put, get = self.commands
        if up:
            body = await deferToThread(Path(path).read_bytes)
            progress(0, len(body))
            await call(put, name=_NAME, body=body)
        else:
            body = (await call(get, name=_NAME))["body"]
            progress(0, len(body))
        progress(len(body), len(body))
        return await deferToThread(lambda: hashlib.sha256(body).digest())


_WAYS = [
    _Way("stream"),
    _Way("argument", (PutArgument, GetArgument), _MAX_WHOLE),
    # In version 1, as with a peer that is a stock amp.AMP: in "auto", the box would be
    # cut into fragments like that of an argument.
    _Way("bigstring", (PutBig, GetBig), _MAX_WHOLE, 1),
    _Way("oob"),
]


@frozen
class Row:
    """
    The measurements of one way.

    @ivar way: Its name.

    @ivar up: Bytes per second towards the service, until the file was safe there.

    @ivar down: Bytes per second back.

    @ivar idle: The durations of small calls with nothing else on the connection.

    @ivar during: Their durations while the file moved.

    @ivar matches: Whether the bytes that came back are those that were sent.
    """

    way: str
    up: float
    down: float
    idle: Latencies
    during: Latencies
    matches: bool


@frozen
class Skipped:
    """
    A way that was not tried.

    @ivar way: Its name.

    @ivar reason: Why it was not.
    """

    way: str
    reason: str


async def demonstrate(
    reactor: Any, file: str | None, size: int
) -> tuple[int, Sequence[Row | Skipped]]:
    """
    Move one file there and back in each way, and leave nothing behind.

    @param file: The path of the file to move, or L{None} to make one.

    @param size: The length of the file to make (bytes).

    @return: The length of the file (bytes), and the measurements of each way.

    @raise Exception: Anything failed, except that the file was damaged.
    """
    with TemporaryDirectory(prefix="amp-stream-demo-") as directory:
        if file is None:
            path = os.path.join(directory, _NAME)
            await _make(path, size)
        else:
            path, size = file, os.stat(file).st_size
        options = ["--max-file-size", str(size)]
        if whyNoOutOfBand() is None:
            options += ["--oob-listen", "tcp:0:interface=127.0.0.1"]
        child = ChildService(reactor, directory, options)
        try:
            address = await child.listening
            rows = [await _try(reactor, way, address, path, size) for way in _WAYS]
        finally:
            await child.stop()
    return size, rows


async def _make(path: str, size: int) -> None:
    """Make a file of random bytes, which do not compress."""
    with open(path, "xb") as file, progressBar("prepare") as progress:
        progress(0, size)
        while (done := file.tell()) < size:
            # A block at a time, so that this can be interrupted.
            block = await deferToThread(os.urandom, min(size - done, 4 * _BLOCK))
            await deferToThread(file.write, block)
            progress(file.tell(), size)


async def _try(
    reactor: Any, way: _Way, address: str, path: str, size: int
) -> Row | Skipped:
    reason = way.obstacle(size)
    if reason is not None:
        return Skipped(way.name, reason)
    config = evolve(_CONFIG, version=way.version)
    client = await connect(address, config=config, reactor=reactor)

    async def timed(up: bool) -> tuple[float, bytes]:
        with progressBar(f"{way.name} {'up' if up else 'down'}") as progress:
            started = reactor.seconds()
            sha256 = await way.move(client, path, up, progress)
            return size / max(reactor.seconds() - started, 1e-6), sha256

    async def both() -> tuple[float, float, bool]:
        try:
            up, sent = await timed(True)
            down, received = await timed(False)
        except DigestMismatch:
            return 0.0, 0.0, False
        return up, down, sent == received

    waiting: Deferred[None] = deferLater(reactor, _IDLE)
    _, idle = await smallCalls(reactor, client.ping, _INTERVAL, waiting)
    moved, during = await smallCalls(reactor, client.ping, _INTERVAL, both())
    await client.remove(_NAME)
    await client.close()
    up, down, matches = moved
    return Row(way.name, up, down, idle, during, matches)


def demoTable(size: int, rows: Sequence[Row | Skipped]) -> str:
    """Show the measurements of C{amp-stream demo} to a person."""
    interval = f"{_INTERVAL * 1000:.0f} ms"
    times = ["p50 ms", "p99 ms"]
    lines = [
        f"{_binary(size)} there and back, one small call every {interval}",
        "",
        f"{'':31}small call, idle   small call, during the transfer",
        _LINE.format("declared", "MB/s up", "MB/s down", *times, *times, "max ms"),
    ]
    for row in rows:
        if isinstance(row, Skipped):
            lines.append(f"{row.way:10} not tried: {row.reason}")
            continue
        rates = [f"{rate / 1e6:.1f}" for rate in (row.up, row.down)]
        calls = row.during
        times = _milliseconds(row.idle.p50, row.idle.p99, calls.p50, calls.p99)
        line = _LINE.format(row.way, *rates, *times, *_milliseconds(calls.longest))
        lines.append(line if row.matches else f"{line}  DAMAGED")
    return "\n".join(lines)


def _binary(size: int) -> str:
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >> power and not size % 2**power:
            return f"{size >> power} {unit}"
    return f"{size} bytes"

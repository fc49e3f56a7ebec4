# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
C{amp-stream demo}: small calls stay fast while a large file moves.

The file moves as a L{Stream}, out of band, as a L{BigString}, and as an ordinary
argument.  The service, in a child process, is the file service with Commands for the
last two.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from tempfile import TemporaryDirectory
from typing import Any

import click
from attrs import asdict, frozen
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater, react
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.protocols.amp import Command, String, Unicode
from twisted.python.failure import Failure
from twisted.python.usage import UsageError

import amp_stream
from amp_stream import BigString, Limits, StreamAMP, StreamConfig
from amp_stream.errors import DigestMismatch
from amp_stream.files._bench import Latencies, SmallCalls
from amp_stream.files._client import FileClient, FileClientProtocol, Progress, connect
from amp_stream.files._console import (
    FAILED,
    SIZE,
    CommandFailed,
    jsonOption,
    progressBar,
    reportErrors,
    run,
    show,
)
from amp_stream.files._server import FileServerProtocol, whyNoOutOfBand
from amp_stream.files._tap import Options, makeService
from amp_stream.files._threads import ThreadedSink, openSource

_INTERVAL = 0.01
_IDLE = 1.0
_BLOCK = 4 * 2**20
_NAME = "demonstration"
_PATIENCE = 5.0
_TAIL = 2000
_LINE = "{:11}{:>8}{:>11}{:>9}{:>9}{:>10}{:>9}"

_MAX_WHOLE = 2**30
_LIMITS = Limits(maxBoxSize=_MAX_WHOLE + 65_536, maxBoxKeys=2 * _MAX_WHOLE // 65_535)


# The Commands, and the service that has them.


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


class _DemoProtocol(FileServerProtocol):
    """The file service, with Commands whose values are held in memory."""

    streamConfig = StreamConfig(limits=_LIMITS)

    @PutBig.responder
    @PutArgument.responder
    async def putWhole(self, name: str, body: bytes) -> dict[str, Any]:
        """Store a value."""
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
        """Read a value."""
        file, _ = self.factory.store.open(name)
        with file:
            return {"body": await deferToThread(file.read)}


def serve() -> None:
    """
    Be the service: run it with the options of C{twistd amp-stream}, those in
    C{sys.argv}, until a signal ends it.
    """
    options = Options()
    try:
        options.parseOptions(sys.argv[1:])
    except UsageError as error:
        sys.exit(str(error))
    service: Any = makeService(options, _DemoProtocol)

    async def main(reactor: Any) -> None:
        globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)])
        service.startService()
        reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
        await Deferred()

    react(lambda reactor: ensureDeferred(main(reactor)))


# The child finds amp_stream where this process has found it, last of all places:
# also in a checkout, from any directory.
_SERVE = """
import sys
where = sys.argv.pop(1)
if where not in sys.path:
    sys.path.append(where)
from amp_stream.files._demo import serve
serve()
"""


class ServiceDied(Exception):
    """The child process ended before it listened."""


class ChildService(ProcessProtocol):
    """
    A file service in a child process.

    @cvar program: The Python program of the process: its first argument is the
        directory that holds amp_stream, the others are options of C{twistd
        amp-stream}.

    @ivar listening: Fires with the client endpoint string of the service.

    @ivar ended: Fires when the process has ended and been reaped.
    """

    program = _SERVE

    def __init__(
        self, reactor: Any, directory: str, options: Sequence[str] = ()
    ) -> None:
        """
        Start the process.

        @param directory: Where it keeps its files, below C{root}, and writes its
            address.

        @param options: More options.
        """
        self.listening: Deferred[str] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self._reactor = reactor
        self._alive = True
        self._output = b""
        self._addressFile = os.path.join(directory, "address")
        # An earlier process that was killed has left it, and does not listen there.
        with suppress(FileNotFoundError):
            os.unlink(self._addressFile)
        where = os.path.dirname(os.path.dirname(os.path.abspath(amp_stream.__file__)))
        command = [
            *(sys.executable, "-c", self.program, where),
            *("--listen", "tcp:0:interface=127.0.0.1"),
            *("--root", os.path.join(directory, "root")),
            *("--address-file", self._addressFile),
            *options,
        ]
        reactor.spawnProcess(self, command[0], command, env=None, path=directory)

    def outReceived(self, data: bytes) -> None:
        """The process has written to its log: perhaps it listens."""
        self._output = (self._output + data)[-_TAIL:]
        if not self.listening.called and os.path.exists(self._addressFile):
            with open(self._addressFile, encoding="utf-8") as file:
                self.listening.callback(file.readline().strip())

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        """The process has ended."""
        self._alive = False
        if not self.listening.called:
            said = self._output.decode("utf-8", "replace").strip()
            error = ServiceDied(f"the file service did not start: {said}")
            self.listening.errback(error)
        self.ended.callback(None)

    def stop(self) -> Deferred[None]:
        """
        Ask the process to end, and kill it if it has not after some seconds.

        @return: Fires when it has been reaped.
        """
        if self._alive:
            self._signal("TERM")
            patience = self._reactor.callLater(_PATIENCE, self._signal, "KILL")

            def reaped(outcome: None) -> None:
                if patience.active():
                    patience.cancel()

            self.ended.addCallback(reaped)
        return self.ended

    def _signal(self, name: str) -> None:
        transport: Any = self.transport
        with suppress(ProcessExitedAlready):
            transport.signalProcess(name)


# The ways for the file to travel.


class _DemoClientProtocol(FileClientProtocol):
    streamConfig = StreamConfig(limits=_LIMITS)


_Move = Callable[[FileClient, str, bool, Progress], Awaitable[bytes]]


async def _moveFile(
    outOfBand: bool, client: FileClient, path: str, up: bool, progress: Progress
) -> bytes:
    """
    Move the file with the Commands of the file service.

    @param up: Whether it goes to the service, or comes back.

    @return: The SHA-256 of the bytes that arrived.
    """
    options: Any = {"outOfBand": outOfBand, "progress": progress}
    if up:
        info = await client.put(_NAME, openSource(path), **options)
    else:
        # The file is hashed and not kept.
        info = await client.get(_NAME, ThreadedSink(lambda data: None), **options)
    return info.sha256 or b""


async def _moveWhole(
    put: type[Command],
    get: type[Command],
    client: FileClient,
    path: str,
    up: bool,
    progress: Progress,
) -> bytes:
    """Move the file with Commands whose values are held in memory; see L{_moveFile}."""
    body: bytes
    if up:
        body = await deferToThread(_readAll, path)
        progress(0, len(body))
        await _call(client.protocol, put, name=_NAME, body=body)
    else:
        body = (await _call(client.protocol, get, name=_NAME))["body"]
        progress(0, len(body))
    progress(len(body), len(body))
    sha256: bytes = await deferToThread(lambda: hashlib.sha256(body).digest())
    return sha256


async def _call(protocol: StreamAMP, command: type[Command], **arguments: Any) -> Any:
    return await protocol.callRemote(command, **arguments)


def _readAll(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


@frozen
class _Way:
    """
    A way for the file to travel.

    @ivar maxSize: The most bytes that it carries, or L{None}.

    @ivar version: The version of AMP to speak, as L{StreamConfig} takes it.
    """

    name: str
    move: _Move
    maxSize: int | None = None
    version: str | int = "auto"

    def obstacle(self, size: int) -> str | None:
        """Why a file of this size cannot travel this way, or L{None} if it can."""
        if self.maxSize is not None and size > self.maxSize:
            return f"carries no more than {_binary(self.maxSize)}"
        return whyNoOutOfBand() if self.name == "oob" else None


_WAYS = [
    _Way("stream", lambda *args: _moveFile(False, *args)),
    _Way(
        "argument",
        lambda *args: _moveWhole(PutArgument, GetArgument, *args),
        _MAX_WHOLE,
    ),
    # In version 1, as with a peer that is a stock amp.AMP: in "auto", the box would be
    # cut into fragments like that of an argument.
    _Way("bigstring", lambda *args: _moveWhole(PutBig, GetBig, *args), _MAX_WHOLE, 1),
    _Way("oob", lambda *args: _moveFile(True, *args)),
]


# The measurement.


@frozen
class Row:
    """
    The measurements of one way.

    @ivar way: Its name.

    @ivar up: Bytes per second towards the service, until the file was safe there.

    @ivar down: Bytes per second back.

    @ivar idle: How long small calls took with nothing else on the connection.

    @ivar during: How long they took while the file moved.

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

    @ivar reason: Why.
    """

    way: str
    reason: str


@frozen
class Outcome:
    """
    The result of the demonstration.

    @ivar size: The length of the file (bytes).

    @ivar rows: One for each way.
    """

    size: int
    rows: Sequence[Row | Skipped]

    @property
    def mismatches(self) -> list[str]:
        """The ways that damaged the file."""
        return [
            row.way for row in self.rows if isinstance(row, Row) and not row.matches
        ]

    def asDict(self) -> Mapping[str, object]:
        """Make it ready for JSON; times are in seconds, rates in bytes per second."""
        return asdict(self)


async def demonstrate(reactor: Any, file: str | None, size: int) -> Outcome:
    """
    Move one file there and back in each way, and leave nothing behind.

    @param file: The file to move, or L{None} to make one.

    @param size: How many bytes to make.

    @raise Exception: Something failed, other than that the file was damaged.
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
    return Outcome(size, rows)


async def _make(path: str, size: int) -> None:
    """Make a file of random bytes, which do not compress."""
    with open(path, "xb") as file, progressBar("prepare") as progress:
        progress(0, size)
        while (done := file.tell()) < size:
            # A block at a time, so that this can be interrupted.
            block = await deferToThread(os.urandom, min(size - done, _BLOCK))
            await deferToThread(file.write, block)
            progress(file.tell(), size)


async def _try(
    reactor: Any, way: _Way, address: str, path: str, size: int
) -> Row | Skipped:
    reason = way.obstacle(size)
    if reason is not None:
        return Skipped(way.name, reason)
    client = await connect(
        address,
        config=StreamConfig(limits=_LIMITS, version=way.version),
        protocol=_DemoClientProtocol,
        reactor=reactor,
    )

    async def timed(up: bool) -> tuple[float, bytes]:
        with progressBar(f"{way.name} {'up' if up else 'down'}") as progress:
            started = reactor.seconds()
            sha256 = await way.move(client, path, up, progress)
            return size / max(reactor.seconds() - started, 1e-6), sha256

    calls = SmallCalls(reactor, client.ping, _INTERVAL)
    calls.start()
    await deferLater(reactor, _IDLE)
    idle = Latencies.of(await calls.stop())

    calls = SmallCalls(reactor, client.ping, _INTERVAL)
    calls.start()
    matches = False
    up = down = 0.0
    with suppress(DigestMismatch):
        up, sent = await timed(True)
        down, received = await timed(False)
        matches = sent == received
    during = Latencies.of(await calls.stop())
    await client.remove(_NAME)
    await client.close()
    return Row(way.name, up, down, idle, during, matches)


def asTable(outcome: Outcome) -> str:
    """Show the measurements to a person."""
    interval = f"{_INTERVAL * 1000:.0f} ms"
    lines = [
        f"{_binary(outcome.size)} there and back, one small call every {interval}",
        "",
        f"{'':31}small call, idle   small call, during the transfer",
        _LINE.format("declared", "MB/s up", "MB/s down", *(["p50 ms", "p99 ms"] * 2))
        + f"{'max ms':>9}",
    ]
    for row in outcome.rows:
        if isinstance(row, Skipped):
            lines.append(f"{row.way:10} not tried: {row.reason}")
            continue
        times = (row.idle.p50, row.idle.p99, row.during.p50, row.during.p99)
        line = _LINE.format(
            row.way,
            f"{row.up / 1e6:.1f}",
            f"{row.down / 1e6:.1f}",
            *(f"{seconds * 1000:.2f}" for seconds in times),
        )
        damaged = "" if row.matches else "  DAMAGED"
        lines.append(f"{line}{row.during.longest * 1000:9.2f}{damaged}")
    return "\n".join(lines)


def _binary(size: int) -> str:
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >> power and not size % 2**power:
            return f"{size >> power} {unit}"
    return f"{size} bytes"


@click.command()
@click.argument("file", required=False)
@click.option(
    "--size",
    type=SIZE,
    default="256M",
    show_default=True,
    help="How much to make, in bytes, or with K, M, G or T, if there is no FILE.",
)
@jsonOption
def demo(file: str | None, size: int, asJson: bool) -> None:
    """
    Show small calls staying fast while FILE moves.

    Starts a file service of its own, moves FILE there and back with each
    declaration, with a small call every 10 ms on the same connection, and prints
    how long these took.
    """
    outcome = reportErrors(
        lambda: run(lambda reactor: demonstrate(reactor, file, size))
    )
    show(asJson, outcome.asDict(), asTable(outcome))
    if outcome.mismatches:
        raise CommandFailed(
            f"what came back is not what was sent: {', '.join(outcome.mismatches)}",
            FAILED,
        )

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The demonstration: small calls stay fast while a large file moves.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from tempfile import TemporaryDirectory
from typing import Any

from attrs import asdict, frozen
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from amp_stream.addresses import clientEndpoint
from amp_stream.bulk import whyNoHTTP
from amp_stream.childservice import ChildService
from amp_stream.client import FileClient, connect
from amp_stream.errors import DigestMismatch
from amp_stream.hashed import Progress
from amp_stream.localfiles import openSource
from amp_stream.measure import Latencies, SmallCalls
from amp_stream.progress import progressBar
from amp_stream.transports import TRANSPORTS, Transport

__all__ = ["Demonstration", "Outcome", "Row", "asTable"]

_INTERVAL = 0.01
_IDLE = 1.0
_PIECE = 4 * 2**20
_NAME = "demonstration"
_TIMEOUT = 30.0
_LINE = "{:11}{:>8}{:>11}{:>9}{:>9}{:>10}{:>9}"


@frozen
class Row:
    """
    What was measured over one transport.

    @ivar transport: Its name.

    @ivar up: Bytes per second towards the service, until the file was safe there.

    @ivar down: Bytes per second back.

    @ivar idle: How long small calls took with nothing else on the connection.

    @ivar during: How long they took while the file moved.

    @ivar matches: Whether what came back is what was sent.
    """

    transport: str
    up: float
    down: float
    idle: Latencies
    during: Latencies
    matches: bool


@frozen
class Skipped:
    """
    A transport that was not tried.

    @ivar transport: Its name.

    @ivar reason: Why.
    """

    transport: str
    reason: str


@frozen
class Outcome:
    """
    What the demonstration has shown.

    @ivar size: The length of the file in bytes.

    @ivar rows: One for each transport.
    """

    size: int
    rows: Sequence[Row | Skipped]

    @property
    def mismatches(self) -> list[str]:
        """
        The transports that damaged the file.
        """
        return [
            row.transport
            for row in self.rows
            if isinstance(row, Row) and not row.matches
        ]

    def asDict(self) -> Mapping[str, object]:
        """
        Make it ready for JSON; times are in seconds, rates in bytes per second.
        """
        return asdict(self)


class Demonstration:
    """
    Moves one file there and back over each transport.
    """

    def __init__(self, file: str | None, size: int) -> None:
        """
        @param file: The file to move, or L{None} to make one.

        @param size: How many to make (bytes).
        """
        self._file = file
        self._size = size

    async def main(self, reactor: Any) -> Outcome:
        """
        Do it, and leave nothing behind.

        @raise Exception: Something failed, other than that the file was damaged.
        """
        with TemporaryDirectory(prefix="amp-stream-demo-") as directory:
            path, sha256 = await self._prepare(directory)
            options = ["--max-size", str(self._size)]
            if whyNoHTTP() is None:
                options += ["--bulk", "tcp:0:interface=127.0.0.1"]
            child = ChildService(reactor, directory, options)
            try:
                address = await child.listening
                rows: list[Row | Skipped] = []
                for transport in TRANSPORTS.values():
                    reason = self._obstacle(transport)
                    if reason is not None:
                        rows.append(Skipped(transport.name, reason))
                        continue
                    endpoint = clientEndpoint(reactor, address, _TIMEOUT)
                    client = await connect(
                        reactor, endpoint, _TIMEOUT, transport.version
                    )
                    trial = _Trial(reactor, client, transport, path, self._size, sha256)
                    rows.append(await trial.run())
                    await client.disconnect()
            finally:
                await child.stop()
        return Outcome(self._size, rows)

    def _obstacle(self, transport: Transport) -> str | None:
        if transport.maxSize is not None and self._size > transport.maxSize:
            return f"carries no more than {_binary(transport.maxSize)}"
        return transport.obstacle

    async def _prepare(self, directory: str) -> tuple[str, bytes]:
        """
        Make the file, or read the one that was given.

        @return: Its path and its SHA-256.
        """
        if self._file is None:
            path = os.path.join(directory, _NAME)
            material: _Given = _Made(path, self._size)
        else:
            path = self._file
            material = _Given(path)
        self._size = left = material.size
        with material, progressBar("prepare") as progress:
            if progress is not None:
                progress.start(left)
            while left:
                # A piece at a time, so that this can be interrupted.
                count = await deferToThread(material.advance, min(left, _PIECE))
                left -= count
                if progress is not None:
                    progress.advance(count)
        return path, material.digest.digest()


class _Given:
    """
    The file to move, hashed piece by piece.
    """

    mode = "rb"

    def __init__(self, path: str) -> None:
        self.digest = hashlib.sha256()
        self._file: Any = open(path, self.mode)  # noqa: SIM115 - it is in __exit__
        self.size = os.fstat(self._file.fileno()).st_size

    def __enter__(self) -> None:
        pass

    def __exit__(self, *ignored: object) -> None:
        self._file.close()

    def advance(self, size: int) -> int:
        """
        Hash the next piece.

        @return: How long it is (bytes).
        """
        data = self._next(size)
        if not data:
            raise OSError("the file became shorter while it was read")
        self.digest.update(data)
        return len(data)

    def _next(self, size: int) -> bytes:
        data: bytes = self._file.read(size)
        return data


class _Made(_Given):
    """
    A file of bytes that nothing can compress.
    """

    mode = "xb"

    def __init__(self, path: str, size: int) -> None:
        super().__init__(path)
        self.size = size

    def _next(self, size: int) -> bytes:
        data = os.urandom(size)
        self._file.write(data)
        return data


class _Trial:
    """
    The file there and back over one transport.
    """

    def __init__(
        self,
        reactor: Any,
        client: FileClient,
        transport: Transport,
        path: str,
        size: int,
        sha256: bytes,
    ) -> None:
        self._reactor = reactor
        self._client = client
        self._transport = transport
        self._path = path
        self._size = size
        self._sha256 = sha256

    async def run(self) -> Row:
        """
        Measure.
        """
        calls = SmallCalls(self._reactor, self._client.ping, _INTERVAL)
        calls.start()
        await deferLater(self._reactor, _IDLE)
        idle = Latencies.of(await calls.stop())

        calls = SmallCalls(self._reactor, self._client.ping, _INTERVAL)
        calls.start()
        matches = True
        up = down = 0.0
        try:
            up = await self._timed(self._up)
            down = await self._timed(self._down)
        except DigestMismatch:
            matches = False
        during = Latencies.of(await calls.stop())
        await self._client.remove(_NAME)
        return Row(self._transport.name, up, down, idle, during, matches)

    async def _timed(self, move: Callable[[Progress | None], Any]) -> float:
        with self._bar(move.__name__.strip("_")) as progress:
            started = self._reactor.seconds()
            moved = await move(progress)
            seconds = self._reactor.seconds() - started
        if moved.sha256 != self._sha256:
            raise DigestMismatch
        rate: float = self._size / max(seconds, 1e-6)
        return rate

    async def _up(self, progress: Progress | None) -> Any:
        with openSource(self._path, self._reactor) as source:
            return await self._client.put(
                _NAME,
                source.read,
                size=source.size,
                via=self._transport.name,
                progress=progress,
            )

    async def _down(self, progress: Progress | None) -> Any:
        # What comes back is hashed and not kept.
        return await self._client.get(
            _NAME,
            lambda data: None,
            via=self._transport.name,
            progress=progress,
        )

    def _bar(self, direction: str) -> AbstractContextManager[Progress | None]:
        return progressBar(f"{self._transport.name} {direction}")


def asTable(outcome: Outcome) -> str:
    """
    Show what was measured to a person.
    """
    interval = f"{_INTERVAL * 1000:.0f} ms"
    lines = [
        f"{_binary(outcome.size)} there and back, one small call every {interval}",
        "",
        f"{'':31}small call, idle   small call, during the transfer",
        _LINE.format("transport", "MB/s up", "MB/s down", *(["p50 ms", "p99 ms"] * 2))
        + f"{'max ms':>9}",
    ]
    for row in outcome.rows:
        if isinstance(row, Skipped):
            lines.append(f"{row.transport:10} not tried: {row.reason}")
            continue
        times = (row.idle.p50, row.idle.p99, row.during.p50, row.during.p99)
        line = _LINE.format(
            row.transport,
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

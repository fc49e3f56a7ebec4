# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""C{amp-stream bench}: how long small calls take while a file moves."""

from __future__ import annotations

import os
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import click
from attrs import asdict, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.python.failure import Failure

from amp_stream.files._client import FileClient
from amp_stream.files._console import (
    SIZE,
    Service,
    TransferOptions,
    serviceOptions,
    show,
    transferOptions,
    withClient,
)
from amp_stream.files._threads import ThreadedSink, ThreadedSource

_INTERVAL = 0.02
_BLOCK = 2**20
_LINE = "{:10}{:>10}{:>10}{:>10}{:>10}{:>8}"


@frozen
class Latencies:
    """
    How long some calls took, in seconds.

    @ivar count: How many calls there were.

    @ivar p50: Half of them took no longer.

    @ivar p99: 99 of 100 took no longer.

    @ivar longest: None took longer.
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


class SmallCalls:
    """
    Makes a call every now and then, on schedule, however long the answers take.

    A call that is made late, because this process was busy, counts from when it
    was due: to wait for one's turn is to wait.
    """

    def __init__(
        self, clock: IReactorTime, call: Callable[[], Deferred[None]], interval: float
    ) -> None:
        """
        @param clock: Tells the time.

        @param call: Makes one call.

        @param interval: From one call to the next (seconds).
        """
        self._clock = clock
        self._call = call
        self._interval = interval
        self._loop = LoopingCall.withCount(self._makeCalls)
        self._loop.clock = clock
        self._due = 0.0
        self._unanswered = 0
        self._seconds: list[float] = []
        self._done: Deferred[list[float]] = Deferred()

    def start(self) -> None:
        """Make the first call, and the others in their time."""
        self._due = self._clock.seconds()
        self._loop.start(self._interval)

    def stop(self) -> Deferred[list[float]]:
        """
        Make no more calls.

        @return: Fires with how long each of them took (seconds), when the last
            of them is answered; fails if any of them failed.
        """
        if self._loop.running:
            self._loop.stop()
        self._finish()
        return self._done

    def _makeCalls(self, count: int) -> None:
        # More than one if this process was too busy to make them in time.
        for _ in range(count):
            self._unanswered += 1
            self._call().addCallbacks(self._answered, self._failed, (self._due,))
            self._due += self._interval

    def _answered(self, ignored: None, due: float) -> None:
        self._unanswered -= 1
        self._seconds.append(self._clock.seconds() - due)
        self._finish()

    def _failed(self, failure: Failure) -> None:
        if self._loop.running:
            self._loop.stop()
        if not self._done.called:
            self._done.errback(failure)

    def _finish(self) -> None:
        if not (self._loop.running or self._unanswered or self._done.called):
            self._done.callback(self._seconds)


@frozen
class _Measured:
    """
    How long small calls took while something else went on.

    @ivar what: What went on.

    @ivar calls: How long they took.

    @ivar size: How many bytes moved meanwhile (bytes).

    @ivar seconds: How long that took.
    """

    what: str
    calls: Latencies
    size: int
    seconds: float

    @property
    def rate(self) -> float:
        """Bytes per second."""
        return self.size / max(self.seconds, 1e-6)


class _Noise:
    """Bytes that do not compress, for a while."""

    def __init__(self, clock: Any, seconds: float, most: int) -> None:
        self._clock = clock
        self._seconds = seconds
        self._left = most
        self._block = os.urandom(_BLOCK)
        self._until: float | None = None

    def read(self, size: int) -> bytes:
        """Read some, none when the time is up; called in a thread."""
        now = self._clock.seconds()
        if self._until is None:
            self._until = now + self._seconds
        if now >= self._until:
            return b""
        data = self._block[: min(size, self._left)]
        self._left -= len(data)
        return data


@click.command()
@serviceOptions()
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1, max=3600),
    default=5.0,
    show_default=True,
    help="For how long to send.",
)
@click.option(
    "--size",
    type=SIZE,
    default="1G",
    show_default=True,
    help="How much to send at the most, in bytes, or with K, M, G or T.",
)
@transferOptions
def bench(
    service: Service,
    seconds: float,
    size: int,
    transfer: TransferOptions,
    asJson: bool,
) -> None:
    """
    Measure how long small calls take while a file moves.

    Makes a small call every 20 ms: first with nothing else on the connection, then
    while it sends random bytes for some seconds, then while it gets them back.  The
    service keeps them under a name of their own, and removes them afterwards.
    """
    outOfBand = transfer.outOfBand

    async def work(reactor: Any, client: FileClient) -> list[_Measured]:
        return await _measure(reactor, client, outOfBand, seconds, size)

    rows = withClient(service, work, transfer)
    described = [{**asdict(row), "rate": row.rate} for row in rows]
    show(asJson, {"outOfBand": outOfBand, "rows": described}, _table(outOfBand, rows))


async def _measure(
    reactor: Any, client: FileClient, outOfBand: bool, seconds: float, most: int
) -> list[_Measured]:
    name = f"amp-stream-bench-{secrets.token_hex(8)}"
    noise = _Noise(reactor, seconds, most)

    async def idle() -> int:
        await deferLater(reactor, min(seconds, 2.0))
        return 0

    async def up() -> int:
        source = ThreadedSource(noise.read)
        return (await client.put(name, source, outOfBand=outOfBand)).size

    async def down() -> int:
        sink = ThreadedSink(lambda data: None)
        return (await client.get(name, sink, outOfBand=outOfBand)).size

    rows = []
    try:
        for what, move in (("idle", idle), ("upload", up), ("download", down)):
            rows.append(await _during(reactor, client, what, move))
    finally:
        # It may not be there; and if the connection is not, that is known already.
        with suppress(Exception):
            await client.remove(name)
    return rows


async def _during(
    reactor: Any, client: FileClient, what: str, move: Callable[[], Awaitable[int]]
) -> _Measured:
    calls = SmallCalls(reactor, client.ping, _INTERVAL)
    started = reactor.seconds()
    calls.start()
    try:
        size = await move()
    except Exception:
        calls.stop().addErrback(lambda failure: [])
        raise
    seconds = reactor.seconds() - started
    return _Measured(what, Latencies.of(await calls.stop()), size, seconds)


def _table(outOfBand: bool, rows: list[_Measured]) -> str:
    way = "out of band" if outOfBand else "stream"
    lines = [
        f"a small call every {_INTERVAL * 1000:.0f} ms, {way}",
        "",
        _LINE.format("", "MB/s", "p50 ms", "p99 ms", "max ms", "calls"),
    ]
    for row in rows:
        times = (row.calls.p50, row.calls.p99, row.calls.longest)
        lines.append(
            _LINE.format(
                row.what,
                f"{row.rate / 1e6:.1f}" if row.size else "-",
                *(f"{taken * 1000:.2f}" for taken in times),
                row.calls.count,
            )
        )
    return "\n".join(lines)

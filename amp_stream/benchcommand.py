# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
C{amp-stream bench}: what a transfer does to small calls, at a service of one's own.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import click
from attrs import asdict, frozen
from twisted.internet.task import deferLater

from amp_stream.client import FileClient
from amp_stream.console import (
    Route,
    converse,
    endpointArgument,
    jsonOption,
    routeOptions,
    show,
    timeoutOption,
)
from amp_stream.measure import Latencies, SmallCalls
from amp_stream.sizes import parseSize

__all__ = ["Measured", "bench"]

_INTERVAL = 0.02
_BLOCK = 2**20
_LINE = "{:10}{:>10}{:>10}{:>10}{:>10}{:>8}"


@frozen
class Measured:
    """
    How long small calls took while something went on.

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
        """
        Bytes per second.
        """
        return self.size / max(self.seconds, 1e-6)


class _Noise:
    """
    A value that nothing can compress, for a while.
    """

    def __init__(self, clock: Any, seconds: float, most: int) -> None:
        self._clock = clock
        self._seconds = seconds
        self._left = most
        self._block = os.urandom(_BLOCK)
        self._until: float | None = None

    def read(self, size: int) -> bytes:
        """
        Read some, none when the time is up; called in a thread.
        """
        now = self._clock.seconds()
        if self._until is None:
            self._until = now + self._seconds
        if now >= self._until:
            return b""
        data = self._block[: min(size, self._left)]
        self._left -= len(data)
        return data


@click.command()
@endpointArgument
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1, max=3600),
    default=5.0,
    show_default=True,
    help="For how long to send.",
)
@click.option(
    "--size",
    default="1G",
    show_default=True,
    help="How much to send at the most, in bytes, or with K, M, G or T.",
)
@routeOptions
@timeoutOption
@jsonOption
def bench(
    endpoint: str,
    seconds: float,
    size: str,
    route: Route,
    timeout: float,
    asJson: bool,
) -> None:
    """
    Measure how long small calls take while a file moves.

    Makes a small call every 20 ms: first with nothing else on the connection, then
    while it sends random bytes for some seconds, then while it gets them back.  The
    service keeps them under a name of their own, and removes them afterwards.
    """
    try:
        most = parseSize(size)
    except ValueError as error:
        raise click.UsageError(f"--size: {error}") from error

    async def work(reactor: Any, client: FileClient) -> list[Measured]:
        return await _measure(reactor, client, route, seconds, most)

    rows = converse(endpoint, timeout, work, route)
    described = [{**asdict(row), "rate": row.rate} for row in rows]
    show(asJson, {"via": route.transport.name, "rows": described}, _table(route, rows))


async def _measure(
    reactor: Any, client: FileClient, route: Route, seconds: float, most: int
) -> list[Measured]:
    name = f"amp-stream-bench-{secrets.token_hex(8)}"
    via = route.transport.name
    noise = _Noise(reactor, seconds, most)

    async def idle() -> int:
        await deferLater(reactor, min(seconds, 2.0))
        return 0

    async def up() -> int:
        stored = await client.put(name, noise.read, via=via)
        return stored.size

    async def down() -> int:
        fetched = await client.get(name, lambda data: None, via=via)
        return fetched.size

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
) -> Measured:
    calls = SmallCalls(reactor, client.ping, _INTERVAL)
    started = reactor.seconds()
    calls.start()
    try:
        size = await move()
    except Exception:
        calls.stop().addErrback(lambda failure: [])
        raise
    seconds = reactor.seconds() - started
    return Measured(what, Latencies.of(await calls.stop()), size, seconds)


def _table(route: Route, rows: list[Measured]) -> str:
    lines = [
        f"a small call every {_INTERVAL * 1000:.0f} ms, {route.transport.name}",
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

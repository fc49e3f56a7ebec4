# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Foolscap, whose connections are always TLS."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from foolscap.api import Referenceable, Tub
from twisted.internet.defer import Deferred

from benchmarks.material import blocks
from benchmarks.measuring import Count, Meter
from benchmarks.peers.base import Peer, Session

__all__ = ["Foolscap"]

PIECE = 65536
WINDOW = 16


class _Taker(Referenceable):
    """Counts."""

    def __init__(self, count: Count) -> None:
        self._count = count

    def remote_part(self, data: bytes) -> None:
        """Count."""
        self._count.add(len(data))


class _Root(Referenceable):
    """The server."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def remote_take(self) -> _Taker:
        """Make something that takes bytes."""
        return _Taker(self._meter.count())

    def remote_give(self, taker: Any, size: int) -> Deferred[None]:
        """Send."""
        return _send(taker, size)

    def remote_ping(self) -> None:
        """Answer."""


def _send(taker: Any, size: int) -> Deferred[None]:
    """Keep some calls on their way."""
    done: Deferred[None] = Deferred()
    pieces = blocks(size, PIECE)
    unanswered = 0

    def fill() -> None:
        nonlocal unanswered
        while unanswered < WINDOW:
            piece = next(pieces, None)
            if piece is None:
                break
            unanswered += 1
            taker.callRemote("part", piece).addCallbacks(answered, failed)
        if not unanswered and not done.called:
            done.callback(None)

    def answered(ignored: object) -> None:
        nonlocal unanswered
        unanswered -= 1
        fill()

    def failed(failure: Any) -> None:
        if not done.called:
            done.errback(failure)

    fill()
    return done


class _Session(Session):
    """Calls of one connection."""

    def __init__(self, root: Any, meter: Meter) -> None:
        self._root = root
        self._meter = meter

    async def upload(self, size: int) -> None:
        await _send(await self._root.callRemote("take"), size)

    async def download(self, size: int) -> None:
        taker = _Taker(self._meter.count())
        await self._root.callRemote("give", taker, size)

    def call(self, answered: Callable[[], None]) -> None:
        self._root.callRemote("ping").addCallback(lambda ignored: answered())


class Foolscap(Peer):
    """Calls with 64 KiB each, 16 of them in flight: it has no way to stream."""

    async def serve(self) -> int:
        with socket.create_server((self.job.host, 0)) as free:
            port = free.getsockname()[1]
        tub = Tub(certFile=self.job.certificate)
        tub.listenOn(f"tcp:{port}:interface={self.job.host}")
        tub.setLocation(f"tcp:{self.job.host}:{port}")
        tub.startService()
        tub.registerReference(_Root(self.meter), "root")
        return port

    async def connect(self) -> Session:
        name = Tub(certFile=self.job.certificate).tubID
        tub = Tub()
        tub.startService()
        where = f"pb://{name}@tcp:{self.job.host}:{self.job.port}/root"
        return _Session(await tub.getReference(where), self.meter)

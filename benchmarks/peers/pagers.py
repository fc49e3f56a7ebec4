# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Perspective Broker's pagers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.spread import pb
from twisted.spread.util import FilePager, Pager, StringPager

from benchmarks.job import ENDLESS
from benchmarks.material import BLOCK, Made, blocks
from benchmarks.measuring import Meter
from benchmarks.peers.base import Peer, Session

__all__ = ["FilePages", "StringPages"]

PIECE = 65535


class _Collector(pb.Referenceable):
    """Counts pages."""

    def __init__(self, meter: Meter) -> None:
        self._count = meter.count()
        self.done: Deferred[None] = Deferred()

    def remote_gotPage(self, page: bytes) -> None:
        """Count."""
        self._count.add(len(page))

    def remote_ping(self) -> None:
        """Answer."""

    def remote_endedPaging(self) -> None:
        """That was the last."""
        self.done.callback(None)


class _Root(pb.Root):
    """The server."""

    def __init__(self, meter: Meter, page: Callable[[Any, int], Deferred[None]]):
        self._meter = meter
        self._page = page

    def remote_take(self) -> _Collector:
        """Have pages sent to the server."""
        self._collector = _Collector(self._meter)
        return self._collector

    def remote_taken(self) -> Deferred[None]:
        """Wait for the last of them."""
        return self._collector.done

    def remote_give(self, collector: Any, size: int) -> None:
        """Have pages sent to the client."""
        self._page(collector, size)

    def remote_ping(self) -> None:
        """Answer."""


class _Session(Session):
    """Pages and calls of one connection."""

    def __init__(
        self, root: Any, meter: Meter, page: Callable[[Any, int], Deferred[None]]
    ) -> None:
        self._root = root
        self._meter = meter
        self._page = page

    async def upload(self, size: int) -> None:
        collector = await self._root.callRemote("take")
        await self._page(collector, size)
        await self._root.callRemote("taken")

    async def download(self, size: int) -> None:
        collector = _Collector(self._meter)
        await self._root.callRemote("give", collector, str(size))
        await collector.done

    def call(self, answered: Callable[[], None]) -> None:
        self._root.callRemote("ping").addCallback(lambda ignored: answered())


class _Pages(Peer):
    """Either pager."""

    def page(self, collector: Any, size: int) -> Deferred[None]:
        """Send pages."""
        raise NotImplementedError

    async def serve(self) -> int:
        return await self.listen(pb.PBServerFactory(_Root(self.meter, self._given)))

    async def connect(self) -> Session:
        factory = pb.PBClientFactory()
        self.reactor.connectTCP(self.job.host, self.job.port, factory)
        root = await factory.getRootObject()
        return _Session(root, self.meter, self.page)

    def _given(self, collector: Any, size: str) -> Deferred[None]:
        return self.page(collector, int(size))


class FilePages(_Pages):
    """C{FilePager}, with the pages of C{FileSender}: 16 KiB."""

    def page(self, collector: Any, size: int) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        FilePager(collector, Made(size), lambda: done.callback(None))
        # It stalls if the transport asks it before it has read its first page, and
        # is then only asked again when something else has been sent.
        collector.callRemote("ping")
        return done


class StringPages(_Pages):
    """C{StringPager} with pages of 65,535 bytes."""

    def page(self, collector: Any, size: int) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        if size == ENDLESS:
            _Endless(collector)
            return done
        text = b"".join(blocks(size))
        StringPager(collector, text, PIECE, lambda: done.callback(None))
        return done


class _Endless(Pager):
    """A C{StringPager} whose string has no end."""

    def nextPage(self) -> bytes:
        """The same again."""
        return BLOCK[:PIECE]

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Twisted's transport with nothing on it: what all others are compared to."""

from __future__ import annotations

import struct
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from benchmarks.material import blocks
from benchmarks.measuring import Meter
from benchmarks.peers.base import Peer, Session

__all__ = ["Raw"]

_HEADER = struct.Struct("!cQ")
_UP, _DOWN = b"U", b"D"


@implementer(IPushProducer)
class _Push:
    """Writes until the transport says stop, as push producers do."""

    def __init__(self, transport: Any, size: int, length: int) -> None:
        self._transport = transport
        self._blocks = blocks(size, length)
        self._paused = False
        transport.registerProducer(self, True)
        self._write()

    def _write(self) -> None:
        while not self._paused:
            block = next(self._blocks, None)
            if block is None:
                self._transport.unregisterProducer()
                return
            self._transport.write(block)

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self._write()

    def stopProducing(self) -> None:
        self._paused = True


class _Counting(Protocol):
    """Counts so many bytes."""

    def __init__(self, meter: Meter, length: int) -> None:
        self.meter = meter
        self.length = length
        self.left = 0

    def connectionMade(self) -> None:
        if self.length > 65536:
            self.transport.bufferSize = self.length

    def expect(self, size: int) -> None:
        """Count from here."""
        self.left = size
        self.count = self.meter.count()

    def counted(self, data: bytes) -> None:
        """Some have come."""
        self.count.add(len(data))
        self.left -= len(data)
        if not self.left:
            self.complete()

    def complete(self) -> None:
        """All of them have come."""


class _Server(_Counting):
    """Does what the header says."""

    def dataReceived(self, data: bytes) -> None:
        if not self.left:
            kind, size = _HEADER.unpack(data[: _HEADER.size])
            if kind == _DOWN:
                _Push(self.transport, size, self.length)
                return
            self.expect(size)
            data = data[_HEADER.size :]
        if data:
            self.counted(data)

    def complete(self) -> None:
        self.transport.write(b"K")


class _Client(_Counting, Session):
    """Says what it wants in a header."""

    async def upload(self, size: int) -> None:
        self.done: Deferred[None] = Deferred()
        self.transport.write(_HEADER.pack(_UP, size))
        _Push(self.transport, size, self.length)
        await self.done

    async def download(self, size: int) -> None:
        self.done = Deferred()
        self.expect(size)
        self.transport.write(_HEADER.pack(_DOWN, size))
        await self.done

    def dataReceived(self, data: bytes) -> None:
        if self.left:
            self.counted(data)
        else:
            self.complete()

    def complete(self) -> None:
        self.done.callback(None)


class Raw(Peer):
    """A push producer on one side, C{dataReceived} on the other."""

    def _length(self) -> int:
        return self.job.options.get("block", 65536)

    async def serve(self) -> int:
        make = Factory.forProtocol(lambda: _Server(self.meter, self._length()))
        return await self.listen(make)

    async def connect(self) -> Session:
        return await self.reach(_Client(self.meter, self._length()))

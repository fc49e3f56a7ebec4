# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Calls with one value each: stock AMP, and amp_stream with a string or a stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.protocols import amp

from amp_stream import Stream, StreamAMP
from benchmarks.material import BLOCK
from benchmarks.peers.base import Peer, Session

__all__ = ["Values"]


class Ordinary(amp.Command):
    """A value in an ordinary argument."""

    arguments = [(b"value", amp.String())]
    response = [(b"size", amp.Integer())]


class Streamed(amp.Command):
    """A value in a stream."""

    arguments = [(b"value", Stream())]
    response = [(b"size", amp.Integer())]


class _Stock(amp.AMP):
    @Ordinary.responder
    def ordinary(self, value: bytes) -> dict[str, object]:
        """Answer with the size."""
        return {"size": len(value)}


class _Streaming(StreamAMP):
    @Ordinary.responder
    def ordinary(self, value: bytes) -> dict[str, object]:
        """Answer with the size."""
        return {"size": len(value)}

    @Streamed.responder
    def streamed(self, value: Any) -> Deferred[dict[str, object]]:
        """Collect the value, and answer with the size."""
        collected: Deferred[Any] = value.collect()
        return collected.addCallback(lambda data: {"size": len(data)})


class _Session(Session):
    """Calls with one value each."""

    def __init__(
        self, protocol: amp.AMP, command: type[amp.Command], size: int
    ) -> None:
        self._protocol = protocol
        self._command = command
        self._value = BLOCK[:size]

    async def upload(self, size: int) -> None:
        """Make calls, one after the other, until so many bytes have been sent."""
        for _ in range(0, size, len(self._value)):
            await self._protocol.callRemote(self._command, value=self._value)

    async def download(self, size: int) -> None:
        raise NotImplementedError

    def call(self, answered: Callable[[], None]) -> None:
        calling = self._protocol.callRemote(self._command, value=self._value)
        calling.addCallback(lambda ignored: answered())


class Values(Peer):
    """
    The options C{protocol}, C{stock} or C{stream}; C{command}, C{ordinary} or
    C{streamed}; and C{value}: how many bytes each value has, 65,536 at most.
    """

    _protocols = {"stock": _Stock, "stream": _Streaming}
    _commands = {"ordinary": Ordinary, "streamed": Streamed}

    def _protocol(self) -> amp.AMP:
        return self._protocols[self.job.options["protocol"]]()

    async def serve(self) -> int:
        return await self.listen(Factory.forProtocol(self._protocol))

    async def connect(self) -> Session:
        options = self.job.options
        protocol = await self.reach(self._protocol())
        command = self._commands[options["command"]]
        return _Session(protocol, command, options["value"])

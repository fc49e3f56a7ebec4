# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Values that travel whole, in one box, whichever argument type cuts them up: a naive one
on stock AMP, and amp_stream's C{BigString}.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.protocol import Factory
from twisted.protocols import amp

from amp_stream import BigString, StreamAMP
from benchmarks.material import BLOCK
from benchmarks.measuring import Meter
from benchmarks.peers.base import Peer, Session
from benchmarks.peers.configured import configured
from benchmarks.peers.stock import AmpSession, Ping

__all__ = ["Big", "Naive"]

PIECE = 65535
_MOST = 2**27


def _commands(argument: amp.Argument) -> tuple[type[amp.Command], type[amp.Command]]:
    """Declare a command that takes a value and one that gives it."""

    class TakeValue(amp.Command):
        arguments = [(b"value", argument)]

    class GiveValue(amp.Command):
        arguments = [(b"size", amp.Integer())]
        response = [(b"value", argument)]

    return TakeValue, GiveValue


def _value(size: int) -> bytes:
    return (BLOCK * -(-size // len(BLOCK)))[:size]


class _Server(amp.CommandLocator):
    """Takes and gives values."""

    def __init__(
        self, meter: Meter, take: type[amp.Command], give: type[amp.Command]
    ) -> None:
        self._meter = meter
        self._responders = {take.commandName: (take, self.take)}
        self._responders[give.commandName] = (give, self.give)
        self._responders[Ping.commandName] = (Ping, self.ping)
        self._values: dict[int, bytes] = {}

    def lookupFunction(self, name: bytes) -> Any:
        """Find a responder."""
        if name not in self._responders:
            return None
        command, function = self._responders[name]
        return self._wrapWithSerialization(function, command)

    def take(self, value: bytes) -> dict[str, object]:
        """Count."""
        self._meter.count().add(len(value))
        return {}

    def give(self, size: int) -> dict[str, object]:
        """Give, what was made the first time."""
        if size not in self._values:
            self._values[size] = _value(size)
        return {"value": self._values[size]}

    def ping(self) -> dict[str, object]:
        """Answer."""
        return {}


class _Session(AmpSession):
    """Moves values one after the other."""

    def __init__(
        self,
        protocol: amp.AMP,
        meter: Meter,
        pair: tuple[type[amp.Command], type[amp.Command]],
        size: int,
    ) -> None:
        super().__init__(protocol)
        self._meter = meter
        self._take, self._give = pair
        self._size = size
        self._value = _value(size)

    async def upload(self, size: int) -> None:
        for start in range(0, size, self._size):
            value = self._value
            if size - start < self._size:
                value = value[: size - start]
            await self.protocol.callRemote(self._take, value=value)

    async def download(self, size: int) -> None:
        for start in range(0, size, self._size):
            some = min(self._size, size - start)
            answer = await self.protocol.callRemote(self._give, size=some)
            self._meter.count().add(len(answer["value"]))


class BigValues(Peer):
    """The option C{value}: how many bytes each value has."""

    argument: amp.Argument
    protocol: Callable[..., amp.AMP]

    def _pair(self) -> tuple[type[amp.Command], type[amp.Command]]:
        return _commands(self.argument)

    async def serve(self) -> int:
        take, give = self._pair()
        make = Factory.forProtocol(
            lambda: self.protocol(locator=_Server(self.meter, take, give))
        )
        return await self.listen(make)

    async def connect(self) -> Session:
        protocol = await self.reach(self.protocol())
        return _Session(protocol, self.meter, self._pair(), self.job.options["value"])


class NaiveBigString(amp.Argument):
    """What one writes when AMP says C{TooLong}."""

    def toBox(
        self, name: bytes, strings: amp.Box, objects: dict[str, Any], proto: Any
    ) -> None:
        value = objects[name.decode()]
        for number, start in enumerate(range(0, len(value), PIECE), 1):
            key = name if number == 1 else b"%s.%d" % (name, number)
            strings[key] = value[start : start + PIECE]

    def fromBox(
        self, name: bytes, strings: amp.Box, objects: dict[str, Any], proto: Any
    ) -> None:
        pieces = [strings[name]]
        while b"%s.%d" % (name, len(pieces) + 1) in strings:
            pieces.append(strings[b"%s.%d" % (name, len(pieces) + 1)])
        objects[name.decode()] = b"".join(pieces)


class Naive(BigValues):
    """Values cut over the keys C{name}, C{name.2}, C{name.3}... of a stock AMP box."""

    argument = NaiveBigString()
    protocol = amp.AMP


class Big(BigValues):
    """amp_stream's C{BigString}, with room for values of 128 MiB."""

    argument = BigString(maxSize=_MOST)
    protocol = partial(StreamAMP, **configured({"maxBoxSize": _MOST + 65536}))

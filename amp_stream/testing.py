# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Two connected protocols in memory, for tests of programs that use this package.

No socket, no reactor, no waiting: the test says when bytes move and when time
passes::

    pair = connectInMemory(StreamAMP(), Server())
    result = pair.client.callRemote(Store, name="x", body=b"a value")
    pair.flush()
    self.successResultOf(result)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from attrs import evolve
from twisted.internet.interfaces import IProtocol
from twisted.internet.task import Clock
from twisted.protocols import amp
from twisted.test.iosim import FakeTransport, IOPump, connect

from amp_stream._config import StreamConfig

__all__ = ["ConnectedPair", "connectInMemory"]

_C = TypeVar("_C", bound=IProtocol)
_S = TypeVar("_S", bound=IProtocol)


class ConnectedPair(Generic[_C, _S]):
    """
    Two protocols and what is between them.

    @ivar client: The one that connected.

    @ivar server: The one that was connected to.

    @ivar clock: The time of both.
    """

    def __init__(self, client: _C, server: _S, clock: Clock) -> None:
        self.client = client
        self.server = server
        self.clock = clock
        self._pump: IOPump = connect(
            server,
            FakeTransport(server, isServer=True),
            client,
            FakeTransport(client, isServer=False),
            clock=clock,
            greet=False,
        )

    def step(self) -> bool:
        """
        Move what has been written, and let each side's streams write one chunk.

        @return: Whether any byte moved.
        """
        # A stream that writes in a turn in which nothing else moved is seen in the
        # next one.
        return bool(self._pump.pump() or self._pump.pump())

    def flush(self, until: Callable[[], object] | None = None) -> None:
        """
        Move bytes until none are left to move.

        @param until: Where it is not L{None}: stop as soon as it returns something
            true.

        @raise AssertionError: If it has not done that when no bytes are left.
        """
        while until is None or not until():
            if not self.step():
                if until is None:
                    return
                raise AssertionError("nothing moves any more, and it has not happened")

    def lose(self) -> None:
        """Close the connection, from the client's end."""
        self._pump.clientIO.loseConnection()
        self.flush()

    def sent(self, protocol: IProtocol) -> list[amp.AmpBox]:
        """
        @return: The boxes that a protocol has written and that have not moved
            yet.
        """
        io = self._pump.clientIO if protocol is self.client else self._pump.serverIO
        boxes: list[Any] = amp.parseString(b"".join(io.stream))
        return boxes


def connectInMemory(
    client: _C, server: _S, clock: Clock | None = None
) -> ConnectedPair[_C, _S]:
    """
    Connect two protocols.

    @param client: A protocol; if it has a L{StreamConfig} without a reactor, it gets
        the clock.

    @param server: Another one.

    @param clock: Their time; a new one if it is L{None}.

    @return: Both, connected.
    """
    if clock is None:
        clock = Clock()
    ends: tuple[object, ...] = (client, server)
    for protocol in ends:
        config = getattr(protocol, "streamConfig", None)
        if isinstance(config, StreamConfig) and config.reactor is None:
            protocol.streamConfig = evolve(config, reactor=clock)  # type: ignore[attr-defined]
    return ConnectedPair(client, server, clock)

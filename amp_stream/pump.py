# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Bulk goes to the transport when the transport has nothing else to do.

The pump is a pull producer, so the transport asks it for bytes whenever it has
handed all that it had to the kernel.  One chunk is written then: whatever is
sent next, a small call or an answer, has at most that one chunk before it.

It is registered only while there is something to send.  A transport with a
producer does not close, and AMP must be able to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPullProducer, IReactorTime
from zope.interface import implementer

__all__ = ["Pump"]


@implementer(IPullProducer)
class Pump:
    """
    Writes when the transport has drained.

    It is an object of its own, and not the protocol: the protocol has methods of
    the same names already, with which it pauses its parser.
    """

    def __init__(self, writeNext: Callable[[], bool], clock: IReactorTime) -> None:
        """
        @param writeNext: What writes one chunk and returns whether there was one.

        @param clock: The reactor; for transports that cannot say when
            they have drained, one chunk is written in each of its turns.
        """
        self._writeNext = writeNext
        self._clock = clock
        self._transport: Any = None
        self._running = False
        self._writing = False
        self._turn: IDelayedCall | None = None

    def start(self, transport: Any) -> None:
        """
        @param transport: What to write to.
        """
        self._transport = transport

    def kick(self) -> None:
        """
        There may be something to send.
        """
        if self._running or self._transport is None:
            return
        self._running = True
        try:
            register = self._transport.registerProducer
        except AttributeError:
            self._nextTurn()
            return
        try:
            register(self, False)
        except RuntimeError:
            # Somebody else's producer is there.
            self._nextTurn()

    def resumeProducing(self) -> None:
        """
        The transport has drained.
        """
        if self._writing or not self._running:
            return
        self._writing = True
        try:
            wrote = self._writeNext()
        finally:
            self._writing = False
        if not wrote:
            self._pause()

    def stopProducing(self) -> None:
        """
        The transport is gone.
        """
        self._running = False
        self._transport = None
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.cancel()

    def _pause(self) -> None:
        if self._running:
            self._running = False
            if self._turn is None:
                self._transport.unregisterProducer()

    def _nextTurn(self) -> None:
        self._turn = self._clock.callLater(0, self._takeTurn)

    def _takeTurn(self) -> None:
        if self._running:
            self.resumeProducing()
        if self._running:
            self._nextTurn()
        else:
            self._turn = None

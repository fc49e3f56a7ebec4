# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Bulk goes to the transport when the transport has nothing else to do.

The pump is a pull producer, so the transport asks it for bytes whenever it has
handed all that it had to the kernel.  One turn is written then: whatever is
sent next, a small call or an answer, has at most that before it.  Where there is TLS,
it is the transport below that asks.  How long a turn is: L{amp_stream._sansio.pace}.

It is registered only while there is something to send.  A transport with a
producer does not close, and AMP must be able to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPullProducer, IReactorTime
from zope.interface import implementer

from amp_stream.tcp import drainingTransport

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
        @param writeNext: What writes one turn and returns whether there was one.

        @param clock: The reactor; for transports that cannot say when
            they have drained, one chunk is written in each of its turns.
        """
        self._writeNext = writeNext
        self._clock = clock
        self._transport: Any = None
        self._running = False
        # What it is registered with, if it is.
        self._registered: Any = None
        self._busy = False
        self._asked = False
        self._turn: IDelayedCall | None = None
        self._wait = 0.0

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
        if not self._register():
            self._nextTurn()
        elif self._asked:
            self.resumeProducing()

    def resumeProducing(self) -> None:
        """
        The transport has drained.  If it says so while it is being written to, the
        next chunk waits until that is done.
        """
        self._asked = True
        if self._busy:
            return
        if getattr(self._registered, "disconnecting", False):
            # TLS may have found an error: then it drops what is written, what is below
            # waits for the last of its producer, and nobody says so above.
            self._pause()
            return
        self._busy = True
        try:
            while self._asked and self._running:
                self._asked = False
                if not self._writeNext():
                    self._pause()
        finally:
            self._busy = False

    def hold(self, wait: float) -> None:
        """
        Write nothing now, and try again later, or when the transport asks before that.
        To be called by what writes a turn.

        @param wait: How long to wait (seconds).
        """
        self._asked = False
        if self._registered is None:
            self._wait = wait
        elif self._turn is None:
            self._turn = self._clock.callLater(wait, self._resume)

    def stopProducing(self) -> None:
        """
        The transport is gone, or belongs to somebody else from now on.
        """
        self._pause()
        self._transport = None

    def _register(self) -> bool:
        """
        @return: Whether the transport will say when it has drained.
        """
        transport = drainingTransport(self._transport)
        self._asked = False
        self._busy = True
        try:
            transport.registerProducer(self, False)
        except (AttributeError, RuntimeError):
            # It cannot, or does so for somebody else.
            return False
        finally:
            self._busy = False
        if self._running:
            self._registered = transport
        return True

    def _pause(self) -> None:
        self._running = False
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.cancel()
        registered, self._registered = self._registered, None
        if registered is not None:
            registered.unregisterProducer()

    def _resume(self) -> None:
        self._turn = None
        self.resumeProducing()

    def _nextTurn(self) -> None:
        wait, self._wait = self._wait, 0.0
        self._turn = self._clock.callLater(wait, self._takeTurn)

    def _takeTurn(self) -> None:
        self._turn = None
        self.resumeProducing()
        if self._running:
            self._nextTurn()

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
One piece of work, from the start of the reactor to an exit status.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import FrameType
from typing import Any, Generic, TypeVar, cast

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.task import react
from twisted.python.failure import Failure

__all__ = ["Interrupted", "run"]

_T = TypeVar("_T")

_SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)
]


class Interrupted(Exception):
    """
    A signal ended the work before its time.

    @ivar status: The exit status that says so: 128 and the number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.status = 128 + number


def run(work: Callable[[Any], Awaitable[_T]]) -> _T:
    """
    Run the reactor until some work is done.

    A signal (SIGINT, SIGTERM, SIGHUP) cancels the work, and the reactor runs
    until it has cleaned up.  A second one ends the process at once.

    @param work: Called with the reactor.

    @return: Its result.

    @raise Interrupted: There was a signal.

    @raise Exception: What it raised.
    """
    task = _Task(work)
    try:
        react(task.main)
    except SystemExit:
        return task.result()


class _Task(Generic[_T]):
    """
    The work, and what became of it.
    """

    def __init__(self, work: Callable[[Any], Awaitable[_T]]) -> None:
        self._work = work
        self._outcome: Any = None
        self._signal: int | None = None

    async def main(self, reactor: Any) -> None:
        """
        Do the work, and keep its outcome from C{react}, which would log it.
        """
        self._reactor = reactor
        # What is ignored, as nohup does it, stays so.
        signals = [
            number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN
        ]
        self._handle(signals)
        # The reactor sets some handlers of its own as it starts.
        reactor.callWhenRunning(self._handle, signals)
        self._doing: Deferred[_T] = ensureDeferred(
            cast("Deferred[_T]", self._work(reactor))
        )
        self._done: Deferred[None] = Deferred()
        self._doing.addBoth(self._finish)
        reactor.addSystemEventTrigger("before", "shutdown", self._shutdown)
        await self._done

    def result(self) -> _T:
        """
        What the work returned or raised.
        """
        if isinstance(self._outcome, Failure):
            if self._signal is not None:
                raise Interrupted(self._signal)
            self._outcome.raiseException()
        return cast(_T, self._outcome)

    def _finish(self, outcome: Any) -> None:
        self._outcome = outcome
        self._done.callback(None)

    def _shutdown(self) -> Deferred[None]:
        if self._signal is None and not self._done.called:
            # The reactor's own handler was there, for a moment.
            self._signal = signal.SIGTERM
        self._doing.cancel()
        return self._done

    def _handle(self, signals: list[signal.Signals]) -> None:
        for number in signals:
            signal.signal(number, self._interrupt)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        self._signal = number
        self._reactor.callFromThread(self._stop)

    def _stop(self) -> None:
        with suppress(ReactorNotRunning):
            self._reactor.stop()

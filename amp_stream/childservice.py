# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
A file service in a child process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

import amp_stream

__all__ = ["ChildService", "ServiceDied"]

_PATIENCE = 5.0
_TAIL = 2000

# The child finds amp_stream where this process has found it, last of all places,
# and the plugin beside it: also in a checkout, from any directory.
_TWISTD = """
import sys
where = sys.argv.pop(1)
if where not in sys.path:
    sys.path.append(where)
from twisted.scripts.twistd import run
run()
"""


class ServiceDied(Exception):
    """
    The child process ended before it listened.
    """


class ChildService(ProcessProtocol):
    """
    C{twistd -n amp-stream} in a child process.

    @cvar program: What the process runs: its first argument is the directory that
        holds amp_stream, and the others are those of C{twistd}.

    @ivar listening: Fires with the client endpoint string of the service.

    @ivar ended: Fires when the process has ended and been reaped.
    """

    program = _TWISTD

    def __init__(
        self, reactor: Any, directory: str, options: Sequence[str] = ()
    ) -> None:
        """
        Start the process.

        @param directory: Where it keeps its files, below C{root}, and writes its
            address.

        @param options: More options for C{amp-stream}.
        """
        self.listening: Deferred[str] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self._reactor = reactor
        self._alive = True
        self._output = b""
        self._addressFile = os.path.join(directory, "address")
        # A process that was killed has left it, and nobody listens there.
        with suppress(FileNotFoundError):
            os.unlink(self._addressFile)
        where = os.path.dirname(os.path.dirname(os.path.abspath(amp_stream.__file__)))
        command = [
            *(sys.executable, "-c", self.program, where),
            *("-n", "--pidfile=", "amp-stream"),
            *("--listen", "tcp:0:interface=127.0.0.1"),
            *("--root", os.path.join(directory, "root")),
            *("--address-file", self._addressFile),
            *options,
        ]
        reactor.spawnProcess(self, command[0], command, env=None, path=directory)

    def outReceived(self, data: bytes) -> None:
        """
        It has written to its log: perhaps it listens.
        """
        self._output = (self._output + data)[-_TAIL:]
        if not self.listening.called and os.path.exists(self._addressFile):
            with open(self._addressFile, encoding="utf-8") as file:
                self.listening.callback(file.readline().strip())

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        """
        It is gone.
        """
        self._alive = False
        if not self.listening.called:
            said = self._output.decode("utf-8", "replace").strip()
            error = ServiceDied(f"the file service did not start: {said}")
            self.listening.errback(error)
        self.ended.callback(None)

    def stop(self) -> Deferred[None]:
        """
        End the process: it is asked to, and after some seconds it is killed.

        @return: Fires when it has been reaped.
        """
        if self._alive:
            self._signal("TERM")
            patience = self._reactor.callLater(_PATIENCE, self._signal, "KILL")

            def reaped(outcome: None) -> None:
                if patience.active():
                    patience.cancel()

            self.ended.addCallback(reaped)
        return self.ended

    def _signal(self, name: str) -> None:
        transport: Any = self.transport
        with suppress(ProcessExitedAlready):
            transport.signalProcess(name)

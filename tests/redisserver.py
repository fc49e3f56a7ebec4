# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
A real Redis server as a child process.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
from importlib.util import find_spec

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ProcessTerminated
from twisted.trial.unittest import TestCase

from tests.processes import Child

__all__ = ["MISSING", "NO_LIBRARY", "RedisServer", "RedisTestCase"]

SERVER = shutil.which("redis-server")

NO_LIBRARY = None if find_spec("txredisapi") else "txredisapi is not installed"
"""
Why tests of what needs C{txredisapi} are skipped, or L{None} if they are not.
"""

MISSING = NO_LIBRARY if SERVER else "there is no redis-server"
"""
Why tests with Redis are skipped, or L{None} if they are not.
"""


class RedisServer:
    """
    A Redis server that keeps nothing when it stops.

    @ivar path: Its UNIX socket.

    @ivar port: Its TCP port on 127.0.0.1, or 0 for none.

    @ivar child: Its process, while there is one.
    """

    def __init__(self, *options: str, tcp: bool = False) -> None:
        """
        @param options: More of its options, as on its command line.

        @param tcp: Whether it has a TCP port, too.
        """
        self._options = options
        self._tcp = tcp
        self._directory = tempfile.mkdtemp(prefix="redis-")
        # Not from mktemp of the test: the path of a socket must be short.
        self.path = os.path.join(self._directory, "socket")
        self.port = 0
        self.child = None

    async def start(self) -> None:
        """
        Start it, again at the same places if it was stopped, and wait until it
        accepts connections.
        """
        if not self._tcp or self.port:
            await self._start()
            return
        while True:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
            try:
                await self._start()
            except AssertionError as error:
                # Somebody else was given that port in the meantime.
                if "in use" not in str(error):
                    raise
            else:
                return

    async def _start(self) -> None:
        settings = {
            "dir": self._directory,
            "unixsocket": self.path,
            "bind": "127.0.0.1",
            "port": str(self.port),
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
        }
        arguments = [
            part for name, value in settings.items() for part in ("--" + name, value)
        ]
        child = self.child = Child()
        child.ended.addErrback(lambda failure: failure.trap(ProcessTerminated))
        child.process = reactor.spawnProcess(
            child, SERVER, [SERVER, *arguments, *self._options], env=os.environ
        )
        await child.expect(rb"(?i)ready to accept connections")

    def signal(self, name: str) -> None:
        """
        Send it a signal.

        @param name: For instance C{"STOP"}.
        """
        self.child.process.signalProcess(getattr(signal, "SIG" + name))

    async def stop(self) -> None:
        """
        Stop it, and wait until it is gone.
        """
        child, self.child = self.child, None
        if child is not None and child.process.pid:
            child.process.signalProcess("KILL")
            await child.ended

    def remove(self) -> Deferred[None]:
        """
        Stop it for good.

        @return: Fires once it is gone.  Not a coroutine: trial only waits for what
            cleans up if it is a Deferred.
        """

        def stopped(ignored: object) -> None:
            shutil.rmtree(self._directory)

        return ensureDeferred(self.stop()).addCallback(stopped)


class RedisTestCase(TestCase):
    """
    Tests with a Redis server.

    @cvar options: More options of it.

    @ivar server: The server: a L{RedisServer}, which runs.
    """

    timeout = 60
    options = ()
    skip = MISSING

    async def setUp(self) -> None:
        """
        Start it.
        """
        self.server = RedisServer(*self.options)
        self.addCleanup(self.server.remove)
        await self.server.start()

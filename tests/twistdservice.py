# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
C{twistd amp-stream} as a process, or its service in the process of the tests, with the
C{amp-stream} command beside it.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.logger import LogEvent, eventAsText, globalLogPublisher

from amp_stream.files._measure import ChildService
from amp_stream.files._tap import Options, makeService
from tests.commandline import ServedTestCase, spawn
from tests.processes import Child

__all__ = ["LOCAL", "NO_HTTP", "TWISTD", "TwistdChild", "TwistdTestCase"]


class TwistdChild(ChildService):
    """C{twistd amp-stream} in a child process."""

    program = """
import sys
where = sys.argv.pop(1)
if where not in sys.path:
    sys.path.append(where)
sys.argv[1:1] = ["-n", "--pidfile=", "amp-stream"]
from twisted.scripts.twistd import run
run()
"""


TWISTD = "from twisted.scripts.twistd import run; run()"

LOCAL = "tcp:0:interface=127.0.0.1"

NO_HTTP = None
"""
Why tests of out-of-band transfers are skipped, or L{None} if they are not.
"""
if not all(map(find_spec, ("OpenSSL", "cryptography", "h11"))):
    NO_HTTP = "the extra http is not installed"


class TwistdTestCase(ServedTestCase):
    """
    Tests with the file service that options of C{twistd amp-stream} describe.

    @ivar service: The process, or what stands for it: its output is the log.

    @ivar root: Where its files are.

    @ivar tokens: Those of all tickets that the test has seen, which the log of the
        service must not have.
    """

    skip = NO_HTTP

    def setUp(self) -> None:
        """Make the directory."""
        super().setUp()
        self.tokens: list[str] = []

    async def twistd(self, *options: str) -> str:
        """
        Start a service, in a process of its own.

        @return: Its endpoint string.
        """
        self.root = self.makeDirectory()
        child = self.service = spawn(
            *("-c", TWISTD, "-n", "--pidfile=", "amp-stream", "--root", self.root),
            *("--listen", LOCAL, *options),
            where=self.here,
        )
        self.addCleanup(self.endService, child)
        return await self.address(child)

    async def hosted(self, *options: str) -> str:
        """
        Start the same service in the process of the tests, which is quicker.

        @return: Its endpoint string.
        """
        self.root = self.makeDirectory()
        said = self.service = Child()

        def observe(event: LogEvent) -> None:
            said.outReceived(f"{eventAsText(event)}\n".encode())

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        config = Options()
        config.parseOptions(["--root", self.root, "--listen", LOCAL, *options])
        service = makeService(config)
        self.addCleanup(self.look, said)
        self.addCleanup(service.stopService)
        service.startService()
        return await self.address(said)

    async def address(self, service: Child) -> str:
        """
        Wait until a service says where it listens.

        @return: Its endpoint string.
        """
        found: Any = await service.expect(rb"serving \S+ at (\S+)")
        endpoint: str = found[1].decode()
        return endpoint

    def endService(self, child: Child) -> Deferred[None]:
        """End it, and look at what it has said: there was no error, and no token."""

        def ended(failure: Any) -> None:
            failure.trap(ProcessTerminated)
            self.assertIn(b"Server Shut Down", child.output)
            self.look(child)
            self.assertNotIn(b"Error", child.output + child.errors)

        try:
            child.process.signalProcess("TERM")  # type: ignore[attr-defined]
        except ProcessExitedAlready:
            self.fail(f"the service has ended: {child.output!r} {child.errors!r}")
        ending: Deferred[None] = child.ended.addErrback(ended)
        return ending

    def look(self, child: Child) -> None:
        """Look at what a service has said: there was no error, and no token."""
        said = (child.output + child.errors).decode("utf-8")
        for word in ("Traceback", "Unhandled", *self.tokens):
            self.assertNotIn(word, said)

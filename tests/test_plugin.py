# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
C{twistd amp-stream}, as a real process.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ProcessTerminated

from amp_stream import childservice
from amp_stream.childservice import ChildService, ServiceDied
from tests.commandline import ServedTestCase, reactor, spawn
from tests.processes import Child

TWISTD = "from twisted.scripts.twistd import run; run()"


STUBBORN = """
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open(sys.argv[sys.argv.index("--address-file") + 1], "w") as file:
    file.write("nowhere")
print("I am here to stay", flush=True)
sys.stdin.read()
"""


class PluginTests(ServedTestCase):
    """
    The plugin, and the process that it makes.
    """

    def setUp(self) -> None:
        """
        Make a directory to run in.
        """
        self.here = self.makeDirectory()

    def twistd(self, *arguments: str) -> Child:
        """
        Run C{twistd}.
        """
        return spawn("-c", TWISTD, *arguments, where=self.here)

    def test_help(self) -> Deferred[None]:
        """
        C{twistd --help} lists it, and C{twistd amp-stream --help} explains it.
        """

        async def test() -> None:
            status, output, _ = await self.result(self.twistd("--help"))
            self.assertEqual(status, 0)
            self.assertRegex(output, rb"\n +amp-stream +A file service over AMP")
            status, output, _ = await self.result(self.twistd("amp-stream", "--help"))
            self.assertEqual(status, 0)
            for option in (
                b"--listen=",
                b"--root=",
                b"--max-size=",
                b"16G",
                b"--bulk=",
            ):
                self.assertIn(option, output)

        return ensureDeferred(test())

    def test_wrongOptions(self) -> Deferred[None]:
        """
        Wrong options end it with a message and without a traceback.
        """

        async def test() -> None:
            child = self.twistd("-n", "amp-stream", "--root", "r", "--max-size", "x")
            # The status is twistd's own: 0 in old releases of Twisted.
            _, output, errors = await self.result(child)
            self.assertIn(b"'x' is not a size", output + errors)
            self.assertNotIn(b"Traceback", output + errors)

        return ensureDeferred(test())

    def test_portTaken(self) -> Deferred[None]:
        """
        If it cannot listen, it says so and ends, with a status that is not 0.
        """

        async def test() -> None:
            taken = (await self.serve()).rpartition("=")[2]
            child = self.twistd(
                *("-n", "--pidfile=", "amp-stream", "--root", "r"),
                *("--listen", f"tcp:{taken}:interface=127.0.0.1"),
            )
            status, output, errors = await self.result(child)
            self.assertEqual(status, 1)
            self.assertIn(b"the file service cannot start", output)
            self.assertIn(b"ddress already in use", output + errors)

        return ensureDeferred(test())

    def test_serves(self) -> Deferred[None]:
        """
        It serves at the address that it has written down, logs where, and ends
        when it is told to, in good order.
        """

        async def test() -> None:
            child = self.twistd(
                *("-n", "--pidfile=", "amp-stream", "--root", "r"),
                *("--listen", "tcp:0:interface=127.0.0.1", "--address-file", "a"),
            )
            found: Any = await child.expect(rb"serving \S+/r at (\S+)")
            endpoint = found[1].decode()
            with open(os.path.join(self.here, "a"), encoding="utf-8") as file:
                self.assertEqual(file.read(), endpoint + "\n")
            source = os.path.join(self.here, "file")
            with open(source, "wb") as file2:
                file2.write(bytes(100_000))
            await self.succeed("put", endpoint, source)
            self.assertEqual(os.listdir(os.path.join(self.here, "r")), ["file"])
            child.process.signalProcess("TERM")  # type: ignore[attr-defined]
            await self.assertFailure(child.ended, ProcessTerminated)
            self.assertIn(b"Server Shut Down", child.output)
            self.assertNotIn(b"Traceback", child.output + child.errors)
            self.assertNotIn("a", os.listdir(self.here))

        return ensureDeferred(test())


class ChildServiceTests(ServedTestCase):
    """
    L{ChildService}
    """

    def test_died(self) -> Deferred[None]:
        """
        If the process ends before it listens, the reason is what it said.
        """

        async def test() -> None:
            child = ChildService(reactor, self.makeDirectory(), ["--max-size", "x"])
            error = await self.assertFailure(child.listening, ServiceDied)
            self.assertIn("'x' is not a size", str(error))
            await child.stop()

        return ensureDeferred(test())

    def test_staleAddress(self) -> Deferred[None]:
        """
        The address of a process that was killed is not taken for that of the
        next one.
        """

        async def test() -> None:
            directory = self.makeDirectory()
            first = ChildService(reactor, directory)
            address = await first.listening
            transport: Any = first.transport
            transport.signalProcess("KILL")
            await first.ended
            await first.stop()
            second = ChildService(reactor, directory)
            self.assertNotEqual(await second.listening, address)
            await second.stop()

        return ensureDeferred(test())

    def test_stubborn(self) -> Deferred[None]:
        """
        A process that does not end when it is asked to is killed after some time.
        """

        class Stubborn(ChildService):
            program = STUBBORN

        async def test() -> None:
            self.patch(childservice, "_PATIENCE", 0.05)
            child = Stubborn(reactor, self.makeDirectory())
            self.assertEqual(await child.listening, "nowhere")
            await child.stop()

        return ensureDeferred(test())

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Tests for L{amp_stream.files._tap}: the options of C{twistd amp-stream}, and the real
process.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ProcessTerminated
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from amp_stream.files._server import FileService
from amp_stream.files._tap import Options, makeService
from amp_stream.outofband import OutOfBandServer
from tests.commandline import ServedTestCase, spawn
from tests.processes import Child
from tests.twistdservice import LOCAL, NO_HTTP, TWISTD


class OptionsTests(SynchronousTestCase):
    """L{Options}"""

    def setUp(self) -> None:
        """Name a root."""
        self.root = os.path.abspath(self.mktemp())

    def parse(self, *arguments: str) -> Options:
        """Parse options."""
        options = Options()
        options.parseOptions(["--root", self.root, *arguments])
        return options

    def test_defaults(self) -> None:
        """Only --root must be given; the directory is made."""
        options = self.parse()
        self.assertTrue(os.path.isdir(self.root))
        self.assertEqual(options["root"], self.root)
        self.assertEqual(options["max-file-size"], 16 * 2**30)
        self.assertEqual(options["max-connections"], 1000)
        self.assertIsNone(options["address-file"])
        self.assertEqual(options["listen"], ["tcp:4321:interface=127.0.0.1"])
        self.assertEqual(len(options["endpoints"]), 1)

    def test_given(self) -> None:
        """
        Options replace the defaults; paths become absolute, as the process may change
        its directory.
        """
        options = self.parse(
            *("--listen", "tcp:1", "-l", "unix:a"),
            *("--max-file-size", "1M", "--max-connections", "7", "--address-file", "a"),
        )
        self.assertEqual(options["listen"], ["tcp:1", "unix:a"])
        self.assertEqual(len(options["endpoints"]), 2)
        self.assertEqual(
            (options["max-file-size"], options["max-connections"]), (2**20, 7)
        )
        self.assertEqual(options["address-file"], os.path.abspath("a"))

    def test_wrong(self) -> None:
        """An option with a wrong value is a usage error that names the option."""
        for arguments, reason in [
            (["--max-file-size", "much"], "'much' is not a size"),
            (["--max-connections", "0"], "--max-connections"),
            (["--max-connections", "many"], "--max-connections"),
            (["--listen", "nonsense"], "--listen: 'nonsense' is not a valid"),
            (["--listen", "tcp:"], "--listen: 'tcp:' is"),
            (["--listen", "ssl:1:privateKey=nosuch"], "--listen: 'ssl:"),
            (["--root", os.devnull], "--root"),
        ]:
            error = self.assertRaises(UsageError, self.parse, *arguments)
            self.assertIn(reason, str(error))

    def test_outOfBand(self) -> None:
        """
        The server of --oob-listen is handed to each connection; without the option
        there is none.
        """
        self.assertIsNone(self.parse()["oob-server"])
        for options in (
            ["--oob-listen", LOCAL],
            ["--oob-listen", LOCAL, "--oob-plain-http"],
            ["--oob-listen", LOCAL, "--oob-url", "https://example.com/oob"],
        ):
            parsed = self.parse(*options)
            self.assertIsInstance(parsed["oob-server"], OutOfBandServer)
            service: Any = makeService(parsed)
            protocol = service._factory.buildProtocol(None)
            config = protocol.streams.config
            self.assertIs(config.outOfBandServer, parsed["oob-server"])

    test_outOfBand.skip = NO_HTTP  # type: ignore[attr-defined]

    def test_wrongOutOfBand(self) -> None:
        """
        Options for out-of-band transfers that are wrong, or do not go together,
        are usage errors of one line that name the options.
        """
        empty = self.mktemp()
        with open(empty, "wb"):
            pass
        listen = ["--oob-listen", LOCAL]
        plain, certificate = "--oob-plain-http", "--oob-certificate"
        for arguments, reason in [
            ([plain], "--oob-plain-http needs --oob-listen"),
            ([certificate, "c"], "--oob-certificate needs --oob-listen"),
            (["--oob-url", "https://a/"], "--oob-url needs --oob-listen"),
            ([*listen, plain, certificate, "c"], "--oob-plain-http does not go"),
            (["--oob-listen", "ssl:1:privateKey=k", plain], "--oob-plain-http does"),
            (["--oob-listen", "ssl:1", certificate, "c"], "--oob-certificate does"),
            (["--oob-listen", "nonsense"], "--oob-listen: 'nonsense' is not a valid"),
            (["--oob-listen", "ssl:1:privateKey=nosuch"], "--oob-listen: 'ssl:"),
            ([*listen, certificate, "nosuch"], "No such file"),
            ([*listen, certificate, empty], "there is no certificate in it"),
            ([*listen, "--oob-url", "ftp://a/"], "publicURL must be like"),
            ([*listen, "--oob-url", "https://\u00e9/"], "--oob-url"),
        ]:
            error = self.assertRaises(UsageError, self.parse, *arguments)
            self.assertIn(reason, str(error))
            self.assertNotIn("\n", str(error))

    test_wrongOutOfBand.skip = NO_HTTP  # type: ignore[attr-defined]

    def test_noRoot(self) -> None:
        """Options without --root are a usage error."""
        error = self.assertRaises(UsageError, Options().parseOptions, [])
        self.assertIn("--root is missing", str(error))

    def test_makeService(self) -> None:
        """makeService makes a FileService of the options."""
        service = makeService(self.parse())
        self.assertIsInstance(service, FileService)
        self.assertTrue(verifyObject(IService, service))


class PluginTests(ServedTestCase):
    """The plugin, and the process that it makes."""

    def twistd(self, *arguments: str) -> Child:
        """Run C{twistd}."""
        return spawn("-c", TWISTD, *arguments, where=self.here)

    def test_help(self) -> Deferred[None]:
        """
        C{twistd --help} lists amp-stream, and C{twistd amp-stream --help} its
        options.
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
                b"--max-file-size=",
                b"16G",
                b"--oob-listen=",
            ):
                self.assertIn(option, output)

        return ensureDeferred(test())

    def test_wrongOptions(self) -> Deferred[None]:
        """Wrong options end twistd with a message and without a traceback."""

        async def test() -> None:
            child = self.twistd(
                "-n", "amp-stream", "--root", "r", "--max-file-size", "x"
            )
            # The status is twistd's own: 0 in old releases of Twisted.
            _, output, errors = await self.result(child)
            self.assertIn(b"'x' is not a size", output + errors)
            self.assertNotIn(b"Traceback", output + errors)

        return ensureDeferred(test())

    def test_portTaken(self) -> Deferred[None]:
        """If the port is taken, twistd says so and ends with status 1."""

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
        The process serves at the address in its address file and its log, and ends in
        good order on SIGTERM.
        """

        async def test() -> None:
            child = self.twistd(
                *("-n", "--pidfile=", "amp-stream", "--root", "r"),
                *("--listen", "tcp:0:interface=127.0.0.1", "--address-file", "a"),
            )
            found: Any = await child.expect(rb"serving \S+/r at (\S+)")
            endpoint = found[1].decode()
            self.assertEqual(self.read("a").decode(), endpoint + "\n")
            source = self.write("file", bytes(100_000))
            await self.succeed("put", endpoint, source)
            self.assertEqual(os.listdir(os.path.join(self.here, "r")), ["file"])
            child.process.signalProcess("TERM")  # type: ignore[attr-defined]
            await self.assertFailure(child.ended, ProcessTerminated)
            self.assertIn(b"Server Shut Down", child.output)
            self.assertNotIn(b"Traceback", child.output + child.errors)
            self.assertNotIn("a", os.listdir(self.here))

        return ensureDeferred(test())

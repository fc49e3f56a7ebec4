# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Tests for C{amp-stream put} and C{get} with C{--oob}, against the service of C{twistd
amp-stream}; the first with real processes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import ProcessTerminated
from twisted.internet.protocol import Factory, Protocol

from amp_stream import StreamConfig
from amp_stream.files._server import startOutOfBand
from amp_stream.outofband import OutOfBandServer
from tests.commandline import reactor, spawn
from tests.processes import Child
from tests.twistdservice import LOCAL, TWISTD, TwistdTestCase

BODY = os.urandom(1_500_000)
SHA256 = hashlib.sha256(BODY).hexdigest()

WITHOUT = """
import sys
sys.modules["cryptography"] = None
from amp_stream.files._cli import main
main()
"""


class TransferTests(TwistdTestCase):
    """Files there and back."""

    async def roundTrip(
        self, endpoint: str, *options: str, alone: bool = False
    ) -> None:
        """Put a file, and get it."""
        source = self.write("a", BODY)
        described = f"a: 1500000 bytes, SHA-256 {SHA256}\n"
        via = ("--oob", *options)
        output = await self.succeed("put", endpoint, source, *via, alone=alone)
        self.assertEqual(output.decode(), described)
        self.assertEqual(self.content("a"), BODY)
        os.unlink(source)
        get = ("get", endpoint, "a", *via)
        output = await self.succeed(*get, where=self.here, alone=alone)
        self.assertEqual(output.decode(), described)
        self.assertEqual(self.read("a"), BODY)
        self.assertEqual(os.listdir(self.here), ["a"])

    def test_service(self) -> Deferred[None]:
        """
        With --oob-listen at the service and --oob at the command, the bytes travel over
        HTTPS, and the log of the service says where.
        """

        async def test() -> None:
            endpoint = await self.twistd("--oob-listen", LOCAL)
            self.assertRegex(
                self.service.output.decode(),
                r"out-of-band transfers at https://127\.0\.0\.1:\d+/",
            )
            await self.roundTrip(endpoint, alone=True)

        return ensureDeferred(test())

    def test_pipes(self) -> Deferred[None]:
        """
        Standard input of unknown size, and standard output, travel over HTTPS,
        too.
        """

        async def test() -> None:
            endpoint = await self.hosted("--oob-listen", LOCAL)
            via = ("--oob",)
            await self.succeed("put", endpoint, "-", "--as", "b", *via, input=BODY)
            self.assertEqual(self.content("b"), BODY)
            output = await self.succeed(
                *("get", endpoint, "b", "-o", "-", *via), alone=True
            )
            self.assertEqual(output, BODY)

        return ensureDeferred(test())

    def test_client(self) -> Deferred[None]:
        """
        With --oob-listen at the command, the bytes travel over HTTPS both ways, whether
        or not the service listens too.
        """

        async def test() -> None:
            endpoint = await self.hosted()
            await self.roundTrip(endpoint, "--oob-listen", LOCAL)
            endpoint = await self.hosted("--oob-listen", LOCAL)
            await self.roundTrip(endpoint, "--oob-listen", LOCAL)

        return ensureDeferred(test())

    def test_plain(self) -> Deferred[None]:
        """
        Plain HTTP takes --oob-plain-http at the service and --oob-allow-plain-http at
        the command, which otherwise says which option is missing.
        """

        async def test() -> None:
            endpoint = await self.hosted("--oob-listen", LOCAL, "--oob-plain-http")
            self.assertIn(b"out-of-band transfers at http://", self.service.output)
            source = self.write("a", BODY)
            line = await self.complain(1, "put", endpoint, source, "--oob")
            self.assertIn("--oob-allow-plain-http", line)
            self.assertEqual(os.listdir(self.root), [])
            await self.roundTrip(endpoint, "--oob-allow-plain-http")

        return ensureDeferred(test())

    def test_otherHost(self) -> Deferred[None]:
        """
        The command connects to an HTTPS server on another host than the service only
        with --oob-allow-host.
        """

        async def test() -> None:
            # Whether that is reached is not the question here.
            url = "https://localhost:1/"
            endpoint = await self.hosted("--oob-listen", LOCAL, "--oob-url", url)
            source = self.write("a", BODY)
            put = ("put", endpoint, source, "--oob")
            line = await self.complain(1, *put)
            self.assertIn("--oob-allow-host localhost", line)
            for host in ("localhost", "*"):
                line = await self.complain(1, *put, "--oob-allow-host", host)
                self.assertRegex(line, "the HTTP server .*does not answer")

        return ensureDeferred(test())

    def test_noServer(self) -> Deferred[None]:
        """If neither side has --oob-listen, the error names the option."""

        async def test() -> None:
            endpoint = await self.hosted()
            with open(os.path.join(self.root, "a"), "wb") as file:
                file.write(b"x")
            source = self.write("b", BODY)
            for arguments in (
                ["put", endpoint, source],
                ["get", endpoint, "a", "-o", self.path("c")],
            ):
                line = await self.complain(1, *arguments, "--oob")
                self.assertIn("neither side listens", line)
                self.assertIn("--oob-listen", line)
            self.assertEqual(os.listdir(self.here), ["b"])
            self.assertEqual(os.listdir(self.root), ["a"])

        return ensureDeferred(test())


class FailureTests(TwistdTestCase):
    """Failures of transfers with C{--oob}."""

    def test_refused(self) -> Deferred[None]:
        """
        With --oob, a file that is too large fails with status 1, one that is not there
        with status 4, as without it.
        """

        async def test() -> None:
            endpoint = await self.hosted(
                "--oob-listen", LOCAL, "--max-file-size", "1000"
            )
            source = self.write("a", BODY)
            via = ("--oob",)
            for arguments in (
                ["put", endpoint, source],
                ["put", endpoint, "/dev/zero", "--as", "a"],
            ):
                line = await self.complain(1, *arguments, *via)
                self.assertIn("more than the 1000 bytes", line)
            line = await self.complain(4, "get", endpoint, "b", *via, where=self.here)
            self.assertIn("there is no file named 'b'", line)
            self.assertEqual(os.listdir(self.root), [])
            self.assertEqual(os.listdir(self.here), ["a"])

        return ensureDeferred(test())

    def test_usage(self) -> None:
        """The options of out-of-band transfers are wrong usage without --oob."""
        for options in (
            ["--oob-listen", LOCAL],
            ["--oob-allow-plain-http"],
            ["--oob-allow-host", "*"],
        ):
            for arguments in (["put", "127.0.0.1:1", "a"], ["get", "127.0.0.1:1", "a"]):
                line = self.refused(*arguments, *options)
                self.assertIn(f"{options[0]} needs --oob", line)

    def test_cannotListen(self) -> Deferred[None]:
        """
        If the command cannot listen, it ends: with status 2 for a text that is not an
        endpoint, and with status 1 for a port that is taken.
        """

        async def test() -> None:
            factory = Factory.forProtocol(Protocol)
            port = await serverFromString(reactor, LOCAL).listen(factory)
            self.addCleanup(port.stopListening)
            get = ("get", "unix:nobody", "a", "--oob", "--oob-listen")
            taken = f"tcp:{port.getHost().port}:interface=127.0.0.1"
            line = await self.complain(1, *get, taken)
            self.assertIn(f"--oob-listen {taken}: ", line)
            self.assertIn("ddress already in use", line)
            line = await self.complain(2, *get, "nonsense")
            self.assertIn("'nonsense' is not a valid server endpoint", line)

        return ensureDeferred(test())

    def test_missing(self) -> Deferred[None]:
        """
        Where a package for out-of-band transfers is missing, --oob says in one line how
        to install it, and a put without --oob works.
        """

        async def test() -> None:
            endpoint = await self.hosted()
            source = self.write("a", BODY)
            put = ("-c", WITHOUT, "put", endpoint, source)
            status, output, errors = await self.result(spawn(*put, "--oob"))
            self.assertEqual((status, output), (1, b""))
            self.assertEqual(
                errors.decode(),
                "amp-stream: out-of-band transfers need cryptography: "
                "pip install 'amp_stream[http]'\n",
            )
            status, output, errors = await self.result(spawn(*put))
            self.assertEqual((status, errors), (0, b""))

        return ensureDeferred(test())

    def test_interrupted(self) -> Deferred[None]:
        """SIGINT ends a put in the middle, and the service keeps nothing of it."""

        async def test() -> None:
            endpoint = await self.serve()
            oob = OutOfBandServer(LOCAL)
            self.factory.config = StreamConfig(outOfBandServer=oob)
            self.addCleanup(oob.stopService)
            await startOutOfBand(oob)
            await self.interruptPut(endpoint, "--oob")

        return ensureDeferred(test())


class ServiceFailureTests(TwistdTestCase):
    """Services that do not start."""

    async def fails(self, options: Iterable[str], *before: str) -> tuple[int, str]:
        """
        Start a service that ends by itself.

        @param before: What the process does first.

        @return: Its status, and what it has said.
        """
        program = "\n".join([*before, TWISTD])
        child: Child = spawn(
            *("-c", program, "-n", "--pidfile=", "amp-stream", "--root", "r"),
            *("--listen", LOCAL, *options),
            where=self.here,
        )
        try:
            status = await child.ended
        except ProcessTerminated as error:
            status = -(error.signal or 0)
        return status, (child.output + child.errors).decode("utf-8")

    def test_cannotListen(self) -> Deferred[None]:
        """
        If the port of --oob-listen is taken, twistd says so and ends with
        status 1.
        """

        async def test() -> None:
            factory = Factory.forProtocol(Protocol)
            port = await serverFromString(reactor, LOCAL).listen(factory)
            self.addCleanup(port.stopListening)
            taken = f"tcp:{port.getHost().port}:interface=127.0.0.1"
            status, said = await self.fails(["--oob-listen", taken])
            self.assertEqual(status, 1)
            self.assertIn("the file service cannot start: Couldn't listen", said)
            self.assertIn("ddress already in use", said)
            self.assertNotIn("serving", said)

        return ensureDeferred(test())

    def test_wrongOptions(self) -> Deferred[None]:
        """
        Options that do not go together end twistd with a message and no
        traceback.
        """

        async def test() -> None:
            _, said = await self.fails(["--oob-plain-http"])
            self.assertIn("--oob-plain-http needs --oob-listen", said)
            self.assertNotIn("Traceback", said)

        return ensureDeferred(test())

    def test_missing(self) -> Deferred[None]:
        """Where a package is missing, --oob-listen says how to install it."""

        async def test() -> None:
            hidden = "import sys; sys.modules['cryptography'] = None"
            _, said = await self.fails(["--oob-listen", LOCAL], hidden)
            self.assertIn("--oob-listen: out-of-band transfers need cryptography", said)
            self.assertIn("amp_stream[http]", said)
            self.assertNotIn("Traceback", said)

        return ensureDeferred(test())

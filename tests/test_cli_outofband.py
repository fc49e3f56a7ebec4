# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
C{amp-stream put} and C{get} with C{--via oob}, against a real C{twistd amp-stream}.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
from collections.abc import Iterable

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import ProcessTerminated
from twisted.internet.protocol import Factory, Protocol

from amp_stream import cli
from amp_stream.bulk import startBulk
from amp_stream.outofband import OutOfBandServer
from tests.commandline import command, fromThread, reactor, spawn
from tests.processes import Child
from tests.twistdservice import LOCAL, TWISTD, TwistdTestCase

BODY = os.urandom(1_500_000)
SHA256 = hashlib.sha256(BODY).hexdigest()

WITHOUT = """
import sys
sys.modules["cryptography"] = None
from amp_stream.cli import main
main()
"""


class TransferTests(TwistdTestCase):
    """
    Files there and back.
    """

    async def roundTrip(self, endpoint: str, *options: str) -> None:
        """
        Put a file, and get it.
        """
        source = self.write("a", BODY)
        described = f"a: 1500000 bytes, SHA-256 {SHA256}\n"
        via = ("--via", "oob", *options)
        output = await self.succeed("put", endpoint, source, *via)
        self.assertEqual(output.decode(), described)
        self.assertEqual(self.content("a"), BODY)
        os.unlink(source)
        output = await self.succeed("get", endpoint, "a", *via, where=self.here)
        self.assertEqual(output.decode(), described)
        self.assertEqual(self.read("a"), BODY)
        self.assertEqual(os.listdir(self.here), ["a"])

    def test_service(self) -> Deferred[None]:
        """
        With --bulk at the service, the bytes travel over HTTPS, with no more to say
        at the command; and the log of the service says where.
        """

        async def test() -> None:
            endpoint = await self.twistd("--bulk", LOCAL)
            self.assertRegex(
                self.service.output.decode(),
                r"out-of-band transfers at https://127\.0\.0\.1:\d+/",
            )
            await self.roundTrip(endpoint)

        return ensureDeferred(test())

    def test_pipes(self) -> Deferred[None]:
        """
        Standard input and output do, too, and nobody needs to know how much it is.
        """

        async def test() -> None:
            endpoint = await self.twistd("--bulk", LOCAL)
            via = ("--via", "oob")
            await self.succeed("put", endpoint, "-", "--as", "b", *via, input=BODY)
            self.assertEqual(self.content("b"), BODY)
            output = await self.succeed("get", endpoint, "b", "-o", "-", *via)
            self.assertEqual(output, BODY)

        return ensureDeferred(test())

    def test_client(self) -> Deferred[None]:
        """
        With --bulk at the command, the service needs none, and its bytes travel over
        HTTPS as well; nor does it matter if it has one.
        """

        async def test() -> None:
            endpoint = await self.twistd()
            await self.roundTrip(endpoint, "--bulk", LOCAL)
            endpoint = await self.twistd("--bulk", LOCAL)
            await self.roundTrip(endpoint, "--bulk", LOCAL)

        return ensureDeferred(test())

    def test_plain(self) -> Deferred[None]:
        """
        Plain HTTP takes --bulk-plain at the service and --plain-http at the command:
        with only one of them, the other side says which option is missing.
        """

        async def test() -> None:
            endpoint = await self.twistd("--bulk", LOCAL, "--bulk-plain")
            self.assertIn(b"out-of-band transfers at http://", self.service.output)
            source = self.write("a", BODY)
            line = await self.complain(1, "put", endpoint, source, "--via", "oob")
            self.assertIn("--plain-http", line)
            self.assertEqual(os.listdir(self.root), [])
            await self.roundTrip(endpoint, "--plain-http")

        return ensureDeferred(test())

    def test_otherHost(self) -> Deferred[None]:
        """
        A service that says that its server is elsewhere is believed only with
        --allow-host.
        """

        async def test() -> None:
            # Whether that is reached is not the question here.
            url = "https://localhost:1/"
            endpoint = await self.twistd("--bulk", LOCAL, "--bulk-url", url)
            source = self.write("a", BODY)
            put = ("put", endpoint, source, "--via", "oob")
            line = await self.complain(1, *put)
            self.assertIn("--allow-host localhost", line)
            for host in ("localhost", "*"):
                line = await self.complain(1, *put, "--allow-host", host)
                self.assertRegex(line, "the HTTP server .*does not answer")

        return ensureDeferred(test())

    def test_nobodyListens(self) -> Deferred[None]:
        """
        If neither side has --bulk, the error says that one of them needs it.
        """

        async def test() -> None:
            endpoint = await self.twistd()
            with open(os.path.join(self.root, "a"), "wb") as file:
                file.write(b"x")
            source = self.write("b", BODY)
            for arguments in (
                ["put", endpoint, source],
                ["get", endpoint, "a", "-o", self.path("c")],
            ):
                line = await self.complain(1, *arguments, "--via", "oob")
                self.assertIn("neither side listens", line)
                self.assertIn("--bulk", line)
            self.assertEqual(os.listdir(self.here), ["b"])
            self.assertEqual(os.listdir(self.root), ["a"])

        return ensureDeferred(test())


class FailureTests(TwistdTestCase):
    """
    What goes wrong is one line, and a status.
    """

    def test_refused(self) -> Deferred[None]:
        """
        A file that is too large, or not there, is refused as over a stream.
        """

        async def test() -> None:
            endpoint = await self.twistd("--bulk", LOCAL, "--max-size", "1000")
            source = self.write("a", BODY)
            via = ("--via", "oob")
            for arguments in (
                ["put", endpoint, source],
                ["put", endpoint, "/dev/zero", "--as", "a"],
            ):
                line = await self.complain(1, *arguments, *via)
                self.assertIn("more than the 1000 bytes", line)
            line = await self.complain(1, "get", endpoint, "b", *via, where=self.here)
            self.assertIn("there is no file named 'b'", line)
            self.assertEqual(os.listdir(self.root), [])
            self.assertEqual(os.listdir(self.here), ["a"])

        return ensureDeferred(test())

    def test_usage(self) -> None:
        """
        The options of an out-of-band transfer go with no other.
        """
        for options in (["--bulk", LOCAL], ["--plain-http"], ["--allow-host", "*"]):
            for arguments in (["put", "127.0.0.1:1", "a"], ["get", "127.0.0.1:1", "a"]):
                line = self.refused(*arguments, *options)
                self.assertIn(f"{options[0]} is for --via oob", line)

    def refused(self, *arguments: str) -> str:
        """
        Give wrong options, in this process, as it ends before there is anything to
        run.

        @return: What it says.
        """
        self.patch(sys, "argv", ["amp-stream", *arguments])
        errors = io.TextIOWrapper(io.BytesIO(), "utf-8")
        self.patch(sys, "stderr", errors)
        ended = self.assertRaises(SystemExit, cli.main)
        errors.seek(0)
        line = errors.read()
        self.assertEqual((ended.code, line.count("\n")), (2, 1), line)
        return line

    def test_cannotListen(self) -> Deferred[None]:
        """
        If the command cannot listen, it does not begin: what is no endpoint is wrong
        usage, and a port that is taken is a failure.
        """

        async def test() -> None:
            factory = Factory.forProtocol(Protocol)
            port = await serverFromString(reactor, LOCAL).listen(factory)
            self.addCleanup(port.stopListening)
            get = ("get", "unix:nobody", "a", "--via", "oob", "--bulk")
            taken = f"tcp:{port.getHost().port}:interface=127.0.0.1"
            line = await self.complain(1, *get, taken)
            self.assertIn(f"--bulk {taken}: ", line)
            self.assertIn("ddress already in use", line)
            line = await self.complain(2, *get, "nonsense")
            self.assertIn("--bulk nonsense: no server endpoint", line)

        return ensureDeferred(test())

    def test_missing(self) -> Deferred[None]:
        """
        Where a package is missing, one line says how to install it, and everything
        else works as ever.
        """

        async def test() -> None:
            endpoint = await self.twistd()
            source = self.write("a", BODY)
            put = ("-c", WITHOUT, "put", endpoint, source)
            status, output, errors = await self.result(spawn(*put, "--via", "oob"))
            self.assertEqual((status, output), (1, b""))
            self.assertEqual(
                errors.decode(),
                "amp-stream: out-of-band transfers need cryptography: "
                "pip install 'amp-stream[http]'\n",
            )
            status, output, errors = await self.result(spawn(*put))
            self.assertEqual((status, errors), (0, b""))

        return ensureDeferred(test())

    def test_interrupted(self) -> Deferred[None]:
        """
        SIGINT ends a put in the middle, and the service keeps nothing of it.
        """

        async def test() -> None:
            endpoint = await self.serve()
            bulk = self.factory.bulkServer = OutOfBandServer(LOCAL)
            self.addCleanup(bulk.stopService)
            await startBulk(bulk)
            arrived: Deferred[None] = Deferred()
            self.store.written = fromThread(arrived)
            child = command(
                *("put", endpoint, "-", "--as", "a", "--via", "oob"), input=None
            )
            child.process.write(b"x" * 1000)  # type: ignore[attr-defined]
            await arrived
            child.process.signalProcess("INT")  # type: ignore[attr-defined]
            self.assertEqual(
                await self.result(child),
                (130, b"", b"amp-stream: interrupted by SIGINT\n"),
            )
            await self.factory.settled()
            self.assertEqual(os.listdir(self.root), [])

        return ensureDeferred(test())


class ServiceFailureTests(TwistdTestCase):
    """
    A service that cannot do what its options say does not start.
    """

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
        If the port of --bulk is taken, the process says so and ends with status 1.
        """

        async def test() -> None:
            factory = Factory.forProtocol(Protocol)
            port = await serverFromString(reactor, LOCAL).listen(factory)
            self.addCleanup(port.stopListening)
            taken = f"tcp:{port.getHost().port}:interface=127.0.0.1"
            status, said = await self.fails(["--bulk", taken])
            self.assertEqual(status, 1)
            self.assertIn("the file service cannot start: Couldn't listen", said)
            self.assertIn("ddress already in use", said)
            self.assertNotIn("serving", said)

        return ensureDeferred(test())

    def test_wrongOptions(self) -> Deferred[None]:
        """
        Options that do not go together end it with a message and no traceback.
        """

        async def test() -> None:
            _, said = await self.fails(["--bulk-plain"])
            self.assertIn("--bulk-plain needs --bulk", said)
            self.assertNotIn("Traceback", said)

        return ensureDeferred(test())

    def test_missing(self) -> Deferred[None]:
        """
        Where a package is missing, --bulk says how to install it.
        """

        async def test() -> None:
            hidden = "import sys; sys.modules['cryptography'] = None"
            _, said = await self.fails(["--bulk", LOCAL], hidden)
            self.assertIn("--bulk: out-of-band transfers need cryptography", said)
            self.assertIn("amp-stream[http]", said)
            self.assertNotIn("Traceback", said)

        return ensureDeferred(test())


class JSONTests(TwistdTestCase):
    """
    --json
    """

    def test_same(self) -> Deferred[None]:
        """
        The objects are those of any other transport.
        """

        async def test() -> None:
            endpoint = await self.twistd("--bulk", LOCAL)
            source = self.write("a", BODY)
            told = json.loads(
                await self.succeed("put", endpoint, source, "--via", "oob", "--json")
            )
            self.assertEqual(told, {"name": "a", "size": 1_500_000, "sha256": SHA256})

        return ensureDeferred(test())

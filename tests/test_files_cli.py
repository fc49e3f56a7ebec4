# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Tests for L{amp_stream.files._cli}: the C{amp-stream} command, each part of it as a real
process at least once.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import AsyncIterator
from datetime import datetime, timezone
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.protocols import amp

from amp_stream import StreamAMP, __version__
from amp_stream.files import GetFile, _cli
from tests.commandline import ServedTestCase, Session, command, fromThread, spawn
from tests.twistdservice import NO_HTTP

BODY = os.urandom(700_000)
SHA256 = hashlib.sha256(BODY).hexdigest()


class TransferTests(ServedTestCase):
    """put and get."""

    def test_roundTrip(self) -> Deferred[None]:
        """
        A file comes back as it was, and put and get tell its size and its
        SHA-256.
        """

        async def test() -> None:
            endpoint = await self.serve()
            source = self.write("a", BODY)
            output = await self.succeed("put", endpoint, source, alone=True)
            self.assertEqual(output.decode(), f"a: 700000 bytes, SHA-256 {SHA256}\n")
            self.assertEqual(self.content("a"), BODY)
            os.unlink(source)
            get = ("get", endpoint, "a")
            output = await self.succeed(*get, where=self.here, alone=True)
            self.assertEqual(output.decode(), f"a: 700000 bytes, SHA-256 {SHA256}\n")
            self.assertEqual(self.read("a"), BODY)
            self.assertEqual(os.listdir(self.here), ["a"])

        return ensureDeferred(test())

    def test_pipes(self) -> Deferred[None]:
        """
        put takes standard input of unknown size, and get writes the bytes and nothing
        else to standard output.
        """

        async def test() -> None:
            endpoint = await self.serve()
            await self.succeed("put", endpoint, "-", "--as", "b", input=BODY)
            self.assertEqual(self.content("b"), BODY)
            output = await self.succeed("get", endpoint, "b", "-o", "-", alone=True)
            self.assertEqual(output, BODY)

        return ensureDeferred(test())

    def test_json(self) -> Deferred[None]:
        """With --json each command prints one JSON object."""

        async def test() -> None:
            endpoint = await self.serve()

            async def ask(*arguments: str) -> Any:
                return json.loads(await self.succeed(*arguments, "--json"))

            source = self.write("a", BODY)
            put = await ask("put", endpoint, source)
            target = self.path("b")
            got = await ask("get", endpoint, "a", "-o", target)
            described = await ask("stat", endpoint, "a")
            modified = datetime.fromisoformat(
                described["modified"].replace("Z", "+00:00")
            )
            self.assertTrue(modified <= datetime.now(timezone.utc))
            self.assertEqual(put, {**described, "sha256": SHA256})
            self.assertEqual(got, {**put, "file": target})
            self.assertEqual((described["name"], described["size"]), ("a", 700_000))
            self.assertEqual(await ask("ls", endpoint), {"files": [described]})
            self.assertEqual(list(await ask("ping", endpoint)), ["seconds"])
            self.assertEqual(await ask("rm", endpoint, "a"), {"name": "a"})
            self.assertEqual(await ask("ls", endpoint), {"files": []})

        return ensureDeferred(test())

    def test_directory(self) -> Deferred[None]:
        """ls, stat, rm and ping print lines for people."""

        async def test() -> None:
            endpoint = await self.serve()
            self.assertEqual(await self.succeed("ls", endpoint), b"")
            self.put("a", b"12345")
            self.put("日", b"")
            output = await self.succeed("ls", endpoint)
            lines = output.decode("utf-8").splitlines()
            self.assertEqual([line.split()[0] for line in lines], ["5", "0"])
            self.assertEqual([line.split()[2] for line in lines], ["a", "日"])
            output = await self.succeed("ls", endpoint, PYTHONIOENCODING="latin-1")
            self.assertIn(b"\\u65e5", output)
            output = await self.succeed("stat", endpoint, "a", alone=True)
            self.assertTrue(output.startswith(b"a: 5 bytes, written 20"))
            output = await self.succeed("rm", endpoint, "a", alone=True)
            self.assertEqual(output, b"a: removed\n")
            output = await self.succeed("ping", endpoint, alone=True)
            self.assertRegex(output, rb"^\d+\.\d\d ms\n$")
            self.assertEqual(os.listdir(self.root), ["日"])

        return ensureDeferred(test())

    def test_specialFiles(self) -> Deferred[None]:
        """
        A device is read to its end and written to, not replaced; a file of /proc
        is read although it says that it is empty; a link stays and the file that
        it leads to is replaced.
        """

        async def test() -> None:
            endpoint = await self.serve()
            await self.succeed("put", endpoint, os.devnull, "--as", "empty")
            self.assertEqual(self.content("empty"), b"")
            self.put("a", BODY)
            await self.succeed("get", endpoint, "a", "-o", os.devnull)
            self.assertTrue(stat.S_ISCHR(os.stat(os.devnull).st_mode))
            if "proc" in os.listdir("/"):
                await self.succeed("put", endpoint, "/proc/version")
                self.assertIn(b"Linux", self.content("version"))
            self.write("target", b"old")
            os.symlink("target", self.path("link"))
            await self.succeed("get", endpoint, "a", "-o", self.path("link"))
            self.assertEqual(os.readlink(self.path("link")), "target")
            self.assertEqual(self.read("target"), BODY)

        return ensureDeferred(test())

    def test_terminal(self) -> Deferred[None]:
        """On a terminal, put shows a bar with the rate."""

        async def test() -> None:
            endpoint = await self.serve()
            source = self.write("a", BODY)
            child = command("put", endpoint, source, terminal=True)
            self.assertEqual(await child.ended, 0)
            self.assertIn(b"a:   0%", child.output)
            self.assertIn(b"B/s", child.output)
            self.assertIn(SHA256.encode("ascii"), child.output)

        return ensureDeferred(test())


class FailureTests(ServedTestCase):
    """Each failure is one line on standard error, and an exit status."""

    def test_failed(self) -> Deferred[None]:
        """A refusal of the service, or of this machine, is status 1."""

        async def test() -> None:
            endpoint = await self.serve(maxSize=1000)
            self.put("a", b"x")
            large = self.write("large", BODY)
            noPath = "No such file or directory"

            for reason, *arguments in [
                ("more than the 1000 bytes", "put", endpoint, large),
                (noPath, "put", endpoint, self.path("nosuch")),
                (noPath, "get", endpoint, "a", "-o", self.path("nosuch/a")),
            ]:
                self.assertIn(reason, await self.complain(1, *arguments))
            self.assertEqual(os.listdir(self.here), ["large"])

        return ensureDeferred(test())

    def test_noSuchFile(self) -> Deferred[None]:
        """A file that the service does not have is status 4."""

        async def test() -> None:
            endpoint = await self.serve()
            for alone, *arguments in (
                (True, "get", endpoint, "nosuch", "-o", self.path("a")),
                (False, "stat", endpoint, "nosuch"),
                (False, "rm", endpoint, "nosuch"),
            ):
                line = await self.complain(4, *arguments, alone=alone)
                self.assertIn("there is no file named 'nosuch'", line)
            self.assertEqual(os.listdir(self.here), [])

        return ensureDeferred(test())

    def test_usage(self) -> None:
        """
        Wrong usage is status 2 and one line that names --help, before any
        connection.
        """
        for arguments, reason in [
            ([], "Missing command"),
            (["put"], "Missing argument 'ENDPOINT'"),
            (["put", "127.0.0.1:1", "-"], "--as"),
            (["put", "127.0.0.1:1", "a/."], "not a valid file name: '.'"),
            (["ls", "nonsense"], "'nonsense' is not a valid client endpoint"),
            (["ls", "127.0.0.1:1", "--trust-root", "pem"], "is for tls:HOST:PORT"),
            (["put", "127.0.0.1:1", "a", "--as", "../a"], "dot"),
            (["get", "127.0.0.1:1", "a/b"], "slash"),
            (["get", "127.0.0.1:1", "a", "-o", "-", "--json"], "--json"),
            (["get", "127.0.0.1:1", "a", "-o", self.here], "is a directory"),
            (["ls", "127.0.0.1:1", "--timeout", "0"], "--timeout"),
            (["ls", "127.0.0.1:1", "--connect-timeout", "0"], "--connect-timeout"),
            (["demo", "--size", "much"], "'much' is not a size"),
        ]:
            line = self.refused(*arguments)
            self.assertIn(reason, line)
            self.assertIn("--help", line)

    def test_interruptedEarly(self) -> None:
        """SIGINT before the command has begun to run is status 130."""
        session = Session(self, "ls", "127.0.0.1:1")

        def interrupted(*args: object, **options: object) -> None:
            raise KeyboardInterrupt

        self.patch(_cli.commands, "main", interrupted)
        self.assertEqual(session.main(), 130)
        self.assertEqual(session.errors, b"amp-stream: interrupted by SIGINT\n")

    def test_noConnection(self) -> Deferred[None]:
        """An endpoint where nothing listens is status 3."""

        async def test() -> None:
            ping = ("ping", "unix:nobody")
            line = await self.complain(3, *ping, where=self.here, alone=True)
            self.assertIn("no connection to unix:nobody: ", line)

        return ensureDeferred(test())

    def test_noService(self) -> Deferred[None]:
        """
        A peer that is not a file service, does not answer within --timeout, or hangs up
        is status 1.
        """

        async def test() -> None:
            endpoint = await self.serveProtocol(amp.AMP)
            line = await self.complain(1, "ls", endpoint)
            self.assertIn("not a file service", line)
            endpoint = await self.serveProtocol(Mute)
            line = await self.complain(1, "ping", endpoint, "--timeout", "0.1")
            self.assertIn("not done within 0.1 s, the --timeout", line)
            endpoint = await self.serveProtocol(Rude)
            line = await self.complain(1, "ping", endpoint)
            self.assertIn("the connection was lost", line)

        return ensureDeferred(test())

    def test_keepsTheOldFile(self) -> Deferred[None]:
        """
        A get that fails in the middle leaves nothing, and an existing file as it
        was, however it fails.
        """

        async def test() -> None:
            self.write("a", b"old")
            for service, reason in [
                (BrokenSource, "could not read"),
                (HangsUp, "the connection was lost"),
            ]:
                endpoint = await self.serveProtocol(service)
                line = await self.complain(
                    1, *("get", endpoint, "a", "-o", self.path("a"))
                )
                self.assertIn(reason, line)
                self.assertEqual(os.listdir(self.here), ["a"])
                self.assertEqual(self.read("a"), b"old")

        return ensureDeferred(test())

    def test_brokenPipe(self) -> Deferred[None]:
        """
        When the reader of standard output closes it, the command ends with one
        line.
        """

        async def test() -> None:
            endpoint = await self.serve()
            self.put("a", bytes(20_000_000))
            for arguments in (["get", endpoint, "a", "-o", "-"], ["ls", endpoint]):
                child = command(*arguments)
                child.process.closeStdout()  # type: ignore[attr-defined]
                status, _, errors = await self.result(child)
                self.assertEqual(
                    (status, errors), (1, b"amp-stream: standard output was closed\n")
                )

        return ensureDeferred(test())


class TLSTests(ServedTestCase):
    """Services behind TLS."""

    skip = NO_HTTP

    async def serveTLS(self) -> str:
        """
        Start a service with a certificate of its own for C{localhost}, in C{pem}.

        @return: Its endpoint string.
        """
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        from amp_stream.outofband._certificates import selfSigned

        identity = selfSigned(["localhost"])
        key: Any = identity.options.privateKey.to_cryptography_key()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path = self.write("pem", pem + identity.certificate)
        await self.serve()
        there = await self.listen(
            self.factory, f"ssl:0:interface=127.0.0.1:privateKey={path}"
        )
        return f"tls:localhost:{there.rpartition('=')[2]}"

    def test_trustRoot(self) -> Deferred[None]:
        """
        --trust-root names the certificates that the command trusts; to a service whose
        certificate it does not trust, it makes no connection.
        """

        async def test() -> None:
            endpoint = await self.serveTLS()
            line = await self.complain(3, "ping", endpoint)
            self.assertIn(f"no connection to {endpoint}", line)
            trusting = ("--trust-root", self.path("pem"))
            source = self.write("a", BODY)
            await self.succeed("put", endpoint, source, *trusting, alone=True)
            self.assertEqual(self.content("a"), BODY)
            for root, reason in [
                (self.path("nosuch"), "No such file or directory"),
                (self.path("a"), "there is no PEM certificate in"),
            ]:
                line = await self.complain(2, "ping", endpoint, "--trust-root", root)
                self.assertIn(reason, line)

        return ensureDeferred(test())

    def test_connectTimeout(self) -> Deferred[None]:
        """A TLS handshake that takes longer than --connect-timeout is status 3."""

        async def test() -> None:
            endpoint = await self.serveProtocol(Mute)
            there = f"tls:localhost:{endpoint.rpartition('=')[2]}"
            line = await self.complain(3, "ping", there, "--connect-timeout", "0.3")
            self.assertIn("no answer within 0.3 s", line)

        return ensureDeferred(test())


class SignalTests(ServedTestCase):
    """Signals end the command, and it cleans up first."""

    def test_interruptedPut(self) -> Deferred[None]:
        """
        SIGINT ends a put that waits for its input: status 130, and the service
        keeps nothing.
        """

        async def test() -> None:
            await self.interruptPut(await self.serve())

        return ensureDeferred(test())

    def test_interruptedGet(self) -> Deferred[None]:
        """SIGTERM ends a get in the middle: status 143, and the old file stays."""

        async def test() -> None:
            stalled: Deferred[None] = Deferred()

            class Stalls(StreamAMP):
                @GetFile.responder
                def getFile(self, name: str) -> dict[str, Any]:
                    return answer(self.body())

                async def body(self) -> AsyncIterator[bytes]:
                    yield b"x" * 500_000
                    stalled.callback(None)
                    await Deferred()

            endpoint = await self.serveProtocol(Stalls)
            self.write("a", b"old")
            child = command("get", endpoint, "a", "-o", self.path("a"))
            await stalled
            child.process.signalProcess("TERM")  # type: ignore[attr-defined]
            self.assertEqual(
                await self.result(child),
                (143, b"", b"amp-stream: interrupted by SIGTERM\n"),
            )
            self.assertEqual(os.listdir(self.here), ["a"])
            self.assertEqual(self.read("a"), b"old")

        return ensureDeferred(test())

    def test_ignoredSignals(self) -> Deferred[None]:
        """A signal that is ignored, as nohup does it, stays ignored."""

        async def test() -> None:
            endpoint = await self.serve()
            arrived: Deferred[None] = Deferred()
            self.store.written = fromThread(arrived)
            ignoring = (
                "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
                "from amp_stream.files._cli import main; main()"
            )
            child = spawn("-c", ignoring, "put", endpoint, "-", "--as", "a", input=None)
            child.process.write(b"x" * 1000)  # type: ignore[attr-defined]
            await arrived
            child.process.signalProcess("HUP")  # type: ignore[attr-defined]
            child.process.closeStdin()  # type: ignore[attr-defined]
            status, _, errors = await self.result(child)
            self.assertEqual((status, errors), (0, b""))
            self.assertEqual(self.content("a"), b"x" * 1000)

        return ensureDeferred(test())


class GroupTests(ServedTestCase):
    """The command itself."""

    def test_version(self) -> Deferred[None]:
        """--version tells the version."""

        async def test() -> None:
            output = await self.succeed("--version", alone=True)
            self.assertEqual(output.decode(), f"amp-stream {__version__}\n")

        return ensureDeferred(test())

    def test_help(self) -> Deferred[None]:
        """--help lists the commands."""

        async def test() -> None:
            output = await self.succeed("--help")
            for name in ("put", "get", "ls", "stat", "rm", "ping", "ticket", "demo"):
                self.assertIn(f"\n  {name} ", output.decode())

        return ensureDeferred(test())

    def test_missing(self) -> Deferred[None]:
        """
        Where a package of the command line is missing, one line says how to
        install it.
        """

        async def test() -> None:
            without = (
                "import sys; sys.modules['tqdm'] = None; "
                "from amp_stream.__main__ import main; main()"
            )
            status, output, errors = await self.result(spawn("-c", without, "ls"))
            self.assertEqual((status, output), (1, b""))
            self.assertEqual(
                errors.decode(),
                "amp-stream: the command line needs tqdm: "
                "pip install 'amp_stream[cli,http]'\n",
            )

        return ensureDeferred(test())

    def test_debug(self) -> Deferred[None]:
        """--debug shows Twisted's log, which is not shown otherwise."""

        async def test() -> None:
            endpoint = await self.serve()
            child = command("--debug", "ping", endpoint)
            status, _, errors = await self.result(child)
            self.assertEqual(status, 0)
            self.assertIn(b"connection established", errors)

        return ensureDeferred(test())


def answer(body: Any) -> dict[str, Any]:
    """Make an answer to L{GetFile}."""
    modified = datetime(2020, 1, 1, tzinfo=timezone.utc)
    return {"size": 1_000_000, "modified": modified, "body": body}


class Mute(amp.AMP):
    """A peer that never answers."""

    def dataReceived(self, data: bytes) -> None:
        """Do not answer."""


class Rude(amp.AMP):
    """A peer that hangs up."""

    def dataReceived(self, data: bytes) -> None:
        """Close the connection."""
        transport: Any = self.transport
        transport.abortConnection()


class BrokenSource(StreamAMP):
    """A service that cannot read its file to the end."""

    @GetFile.responder
    def getFile(self, name: str) -> dict[str, Any]:
        """Answer as the test needs."""
        return answer(self.body())

    async def body(self) -> AsyncIterator[bytes]:
        """Fail after a while."""
        yield b"x" * 500_000
        raise OSError("the disk is on fire")


class HangsUp(StreamAMP):
    """A service that dies in the middle."""

    @GetFile.responder
    def getFile(self, name: str) -> dict[str, Any]:
        """Answer as the test needs."""
        return answer(self.body())

    async def body(self) -> AsyncIterator[bytes]:
        """Hang up after a while."""
        yield b"x" * 500_000
        transport: Any = self.transport
        transport.abortConnection()
        await Deferred()

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Tests for C{amp-stream ticket}: its words for curl, and a ticket with the real curl,
against the service of C{twistd amp-stream}, once in a process of its own.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase

from amp_stream import StreamAMP, StreamConfig
from amp_stream.files import OfferFile
from amp_stream.files._cli import curlArguments, curlConfig
from amp_stream.files._server import startOutOfBand
from amp_stream.outofband import OutOfBandServer, Ticket
from tests.commandline import command, environment, reactor
from tests.processes import Child
from tests.twistdservice import LOCAL, TwistdTestCase

CURL = shutil.which("curl")
NO_CURL = None if CURL else "there is no curl"

BODY = os.urandom(1_500_000)


TOKEN = "T" * 43


def makeTicket(url: str = "https://h:8443/", serverName: str = "") -> Ticket:
    """Make a ticket."""
    return Ticket(
        url=url,
        token=TOKEN.encode("ascii"),
        method=b"GET",
        lifetime=60,
        serverName=serverName,
    )


class CurlArgumentTests(SynchronousTestCase):
    """L{curlArguments}"""

    def test_simple(self) -> None:
        """
        The arguments for curl have the token in a header, and --fail, so that
        an error writes no file.
        """
        self.assertEqual(
            curlArguments(makeTicket(), "a", "pem"),
            [
                *("--fail", "--cacert", "pem"),
                *("--header", f"Authorization: Bearer {TOKEN}"),
                *("--output", "a", "--url", "https://h:8443/"),
            ],
        )

    def test_authority(self) -> None:
        """A ticket without a certificate gives curl no --cacert."""
        self.assertNotIn("--cacert", curlArguments(makeTicket(), "a", None))

    def test_otherName(self) -> None:
        """
        Where the certificate is for another name, curl gets a URL with that
        name, and --connect-to leads to the host and port of the ticket.
        """
        for url, there, written in [
            ("https://h:8443/", "n:8443:h:8443", "https://n:8443/"),
            ("https://h/p/q", "n:443:h:443", "https://n:443/p/q"),
            ("https://[::1]:8443/", "n:8443:[::1]:8443", "https://n:8443/"),
        ]:
            arguments = curlArguments(makeTicket(url, "n"), "a", None)
            self.assertEqual(arguments[1:3], ["--connect-to", there])
            self.assertEqual(arguments[-1], written)
        arguments = curlArguments(makeTicket("https://h/", "::1"), "a", None)
        self.assertEqual(arguments[2], "[::1]:443:h:443")
        self.assertNotIn(
            "--connect-to", curlArguments(makeTicket(serverName="h"), "a", "")
        )

    def test_dash(self) -> None:
        """A file named "-" is a file to curl, too, and not standard output."""
        arguments = curlArguments(makeTicket(), "-", None)
        self.assertEqual(arguments[arguments.index("--output") + 1], "./-")


class CurlConfigTests(SynchronousTestCase):
    """L{curlConfig}"""

    def test_lines(self) -> None:
        """
        Each line of the config for curl is an option whose value is quoted as
        curl reads it.
        """
        self.assertEqual(
            curlConfig(makeTicket(), 'a "b\\', "p\tem").splitlines(),
            [
                "fail",
                'cacert = "p\\tem"',
                f'header = "Authorization: Bearer {TOKEN}"',
                'output = "a \\"b\\\\"',
                'url = "https://h:8443/"',
            ],
        )


class TicketTestCase(TwistdTestCase):
    """Tests with a file that is to be had."""

    timeout = 120

    async def offer(self, *options: str, alone: bool = False) -> str:
        """
        Start a service with a file C{a}.

        @param alone: Whether it gets a process of its own.

        @return: Its endpoint string.
        """
        start = self.twistd if alone else self.hosted
        endpoint = await start("--oob-listen", LOCAL, *options)
        self.fill("a", BODY)
        self.temporary = self.makeDirectory()
        return endpoint

    def fill(self, name: str, body: bytes) -> None:
        """Give the service a file."""
        with open(os.path.join(self.root, name), "wb") as file:
            file.write(body)

    def ticket(self, endpoint: str, name: str, *options: str) -> Child:
        """Run C{amp-stream ticket}."""
        arguments = ("ticket", *options, "--", endpoint, name)
        return command(*arguments, TMPDIR=self.temporary, where=self.here)

    async def described(
        self, endpoint: str, name: str, *options: str
    ) -> tuple[Child, Any]:
        """
        Run C{amp-stream ticket --json}.

        @return: The process, which waits, and what it has printed.
        """
        child = self.ticket(endpoint, name, *options, "--json")
        await child.expect(rb"\n")
        found = json.loads(child.output)
        self.tokens.append(found["token"])
        return child, found

    async def curl(self, *arguments: str) -> tuple[int, bytes, bytes]:
        """
        Run curl.

        @return: Its status, its standard output and its standard error.
        """
        return await self.run_(CURL or "curl", "--silent", "--show-error", *arguments)

    async def run_(self, *arguments: str) -> tuple[int, bytes, bytes]:
        """
        Run a program.

        @return: Its status, its standard output and its standard error.
        """
        child = Child()
        environ = environment(TMPDIR=self.temporary)
        reactor.spawnProcess(
            child, arguments[0], arguments, env=environ, path=self.here
        )
        return await self.result(child)

    async def status(self, arguments: list[str]) -> str:
        """
        Run curl with a ticket that is no good any more.

        @return: The status that the server answers with.
        """
        code, output, _ = await self.curl(
            *arguments, "--write-out", "%{http_code}", "--output", "none"
        )
        self.assertEqual(code, 22)  # that of --fail
        self.assertNotIn("none", os.listdir(self.here))
        return output.decode("ascii")

    async def used(self, child: Child, size: int = len(BODY)) -> None:
        """Wait for the end of C{amp-stream ticket}: it has been used."""
        status, _, errors = await self.result(child)
        self.assertEqual((status, errors.decode()), (0, f"a: {size} bytes have left\n"))
        self.assertEqual(os.listdir(self.temporary), [])


class CurlTests(TicketTestCase):
    """Tickets that curl uses."""

    skip = TicketTestCase.skip or NO_CURL

    def test_once(self) -> Deferred[None]:
        """
        The command that ticket prints gets the file, intact; the same command
        again gets status 401 and no file. The certificate is in a temporary
        file until then.
        """

        async def test() -> None:
            endpoint = await self.offer(alone=True)
            child = self.ticket(endpoint, "a")
            found: Any = await child.expect(rb"(?m)^curl (.+)$")
            arguments = shlex.split(found[1].decode())
            (header,) = [each for each in arguments if "Authorization" in each]
            token = header.rpartition(" ")[2]
            self.tokens.append(token)
            text = child.output.decode()
            self.assertIn("a: 1500000 bytes at https://127.0.0.1:", text)
            self.assertIn("within 60 s", text)
            self.assertEqual(text.count(token), 1)
            self.assertEqual(len(os.listdir(self.temporary)), 1)
            (pem,) = os.listdir(self.temporary)
            kept = shutil.copy(os.path.join(self.temporary, pem), self.path("pem"))
            self.assertEqual(await self.curl(*arguments), (0, b"", b""))
            self.assertEqual(self.read("a"), BODY)
            await self.used(child)
            again = [kept if each.endswith(".pem") else each for each in arguments]
            self.assertEqual(await self.status(again), "401")

        return ensureDeferred(test())

    def test_pipe(self) -> Deferred[None]:
        """
        C{--curl-config} can be piped into C{curl --config -}, which begins while the
        other end of the pipe waits for it; the token is on no command line.
        """

        async def test() -> None:
            endpoint = await self.offer()
            program = shlex.join(
                [sys.executable, "-m", "amp_stream", "ticket", endpoint, "a"]
            )
            status, output, errors = await self.run_(
                *("/bin/sh", "-c"),
                f"{program} --curl-config | {CURL} --silent --show-error --config -",
            )
            self.assertEqual((status, output), (0, b""))
            self.assertIn(errors, [b"", b"a: 1500000 bytes have left\n"])
            self.assertEqual(self.read("a"), BODY)

        return ensureDeferred(test())

    def test_plain(self) -> Deferred[None]:
        """With --oob-plain-http there is no certificate, and curl needs none."""

        async def test() -> None:
            endpoint = await self.offer("--oob-plain-http")
            child, found = await self.described(endpoint, "a", "--certificate", "pem")
            self.assertTrue(found["url"].startswith("http://127.0.0.1:"))
            self.assertIsNone(found["certificate"])
            self.assertIsNone(found["certificateFile"])
            self.assertNotIn("pem", os.listdir(self.here))
            self.assertEqual((await self.curl(*found["curl"][1:]))[0], 0)
            self.assertEqual(self.read("a"), BODY)
            await self.used(child)

        return ensureDeferred(test())

    def test_certificateFile(self) -> Deferred[None]:
        """
        ticket --certificate writes the certificate to that file and leaves it
        there.
        """

        async def test() -> None:
            endpoint = await self.offer()
            child, found = await self.described(endpoint, "a", "--certificate", "pem")
            self.assertEqual(found["certificateFile"], self.path("pem"))
            self.assertEqual(self.read("pem").decode(), found["certificate"])
            self.assertEqual(os.listdir(self.temporary), [])
            self.assertEqual((await self.curl(*found["curl"][1:]))[0], 0)
            await self.used(child)
            self.assertEqual(self.read("pem").decode(), found["certificate"])

        return ensureDeferred(test())

    def test_otherName(self) -> Deferred[None]:
        """
        curl checks a certificate that is not for the host of the URL against
        the name that it is for.
        """

        async def test() -> None:
            # At start, it does not know the addresses by which clients reach it.
            endpoint = await self.offer("--oob-listen", "tcp:0")
            child, found = await self.described(endpoint, "a")
            self.assertTrue(found["serverName"])
            self.assertIn("--connect-to", found["curl"])
            self.assertEqual((await self.curl(*found["curl"][1:]))[0], 0)
            self.assertEqual(self.read("a"), BODY)
            await self.used(child)

        return ensureDeferred(test())

    def test_hardName(self) -> Deferred[None]:
        """
        A file name that a shell, a config file or curl could misread names the
        file.
        """

        async def test() -> None:
            endpoint = await self.offer()
            for name in ("-", "-a 'b\" \\t$(c)"):
                self.fill(name, BODY)
                child, found = await self.described(endpoint, name)
                shell = shlex.join([CURL or "curl", *found["curl"][1:], "--silent"])
                status, output, _ = await self.run_("/bin/sh", "-c", shell)
                self.assertEqual((status, output), (0, b""))
                self.assertEqual((await self.result(child))[0], 0)
                self.assertEqual(self.read(name), BODY)
                os.unlink(self.path(name))
                child = self.ticket(endpoint, name, "--curl-config")
                await child.expect(rb"\nurl = .*\n")
                self.write("config", child.output)
                status, output, _ = await self.curl("--config", "config")
                self.assertEqual((status, output), (0, b""))
                self.assertEqual((await self.result(child))[0], 0)
                self.assertEqual(self.read(name), BODY)

        return ensureDeferred(test())

    def test_snapshot(self) -> Deferred[None]:
        """A ticket is for the file that had the name when it was issued."""

        async def test() -> None:
            endpoint = await self.offer()
            child, found = await self.described(endpoint, "a")
            await self.succeed("put", endpoint, os.devnull, "--as", "a")
            self.assertEqual((await self.curl(*found["curl"][1:]))[0], 0)
            self.assertEqual(self.read("a"), BODY)
            await self.used(child)

        return ensureDeferred(test())

    def test_interrupted(self) -> Deferred[None]:
        """SIGINT takes a ticket back: the status is 130, and curl gets 401."""

        async def test() -> None:
            endpoint = await self.offer()
            pem = ("--certificate", "pem")
            child, found = await self.described(endpoint, "a", *pem)
            child.process.signalProcess("INT")  # type: ignore[attr-defined]
            status, _, errors = await self.result(child)
            self.assertEqual(status, 130)
            self.assertEqual(errors, b"amp-stream: interrupted by SIGINT\n")
            await self.service.expect(rb"FileServerProtocol connection lost")
            self.assertEqual(await self.status(found["curl"][1:]), "401")

            child, found = await self.described(endpoint, "a")
            child.process.signalProcess("TERM")  # type: ignore[attr-defined]
            self.assertEqual((await self.result(child))[0], 143)
            self.assertEqual(os.listdir(self.temporary), [])

        return ensureDeferred(test())


class Cutter(Protocol):
    """An HTTP client that goes away when it has some of the body."""

    def __init__(self, token: str) -> None:
        self._token = token
        self.gone: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """Make the request."""
        transport: Any = self.transport
        transport.write(
            b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer "
            + self._token.encode("ascii")
            + b"\r\n\r\n"
        )

    def dataReceived(self, data: bytes) -> None:
        """Close the connection in the middle of the response."""
        transport: Any = self.transport
        if not self.gone.called:
            self.gone.callback(None)
            transport.abortConnection()


class FailureTests(TicketTestCase):
    """A ticket that was not used to the end is a failure."""

    def test_cut(self) -> Deferred[None]:
        """
        If the transfer of a ticket is cut, the status is 1, and the line tells
        the reason.
        """

        async def test() -> None:
            endpoint = await self.offer("--oob-plain-http")
            with open(os.path.join(self.root, "large"), "wb") as file:
                file.truncate(200_000_000)
            child, found = await self.described(endpoint, "large")
            port = urlsplit(found["url"]).port
            there = clientFromString(reactor, f"tcp:127.0.0.1:{port}")
            cutter = Cutter(found["token"])
            await connectProtocol(there, cutter)
            await cutter.gone
            status, _, errors = await self.result(child)
            self.assertEqual(status, 1)
            self.assertIn(b"amp-stream: the HTTP connection was lost", errors)

        return ensureDeferred(test())

    def test_expired(self) -> Deferred[None]:
        """
        If a ticket is not used in time, the status is 1, and the temporary
        certificate is removed.
        """

        async def test() -> None:
            endpoint = await self.serve()
            self.put("a", BODY)
            self.temporary = self.makeDirectory()
            oob = OutOfBandServer(LOCAL, ticketLifetime=4)
            self.factory.config = StreamConfig(outOfBandServer=oob)
            self.addCleanup(oob.stopService)
            await startOutOfBand(oob)
            child = self.ticket(endpoint, "a")
            status, output, errors = await self.result(child)
            self.assertEqual(status, 1)
            self.assertIn(b"within 4 s", output)
            self.assertEqual(errors.count(b"\n"), 1)
            self.assertIn(b"amp-stream: nobody used the ticket in time", errors)
            self.assertEqual(os.listdir(self.temporary), [])

        return ensureDeferred(test())

    def test_none(self) -> Deferred[None]:
        """
        ticket fails for a file that is not there, from a service without
        --oob-listen, and if its output cannot be written.
        """

        async def test() -> None:
            endpoint = await self.offer()
            line = await self.complain(4, "ticket", endpoint, "nosuch", alone=True)
            self.assertIn("there is no file named 'nosuch'", line)
            nowhere = self.path("no/such/pem")
            line = await self.complain(
                1, "ticket", endpoint, "a", "--certificate", nowhere
            )
            self.assertIn("No such file or directory", line)
            child = self.ticket(endpoint, "a")
            child.process.closeStdout()  # type: ignore[attr-defined]
            status, _, errors = await self.result(child)
            self.assertEqual(
                (status, errors), (1, b"amp-stream: standard output was closed\n")
            )
            self.assertEqual(os.listdir(self.temporary), [])
            endpoint = await self.hosted()
            self.fill("a", BODY)
            line = await self.complain(1, "ticket", endpoint, "a")
            self.assertIn("--oob-listen", line)

        return ensureDeferred(test())

    def test_strange(self) -> Deferred[None]:
        """A ticket whose URL is not one of HTTP is not printed."""

        async def test() -> None:
            for url in ("file:///etc/passwd", "https://a/\x1b[2J", "https://a/\n-o b"):

                class Strange(StreamAMP):
                    @OfferFile.responder
                    def offerFile(self, name: str, url: str = url) -> dict[str, Any]:
                        ticket = Ticket(
                            url=url, token=b"T" * 43, method=b"GET", lifetime=60
                        )
                        now = datetime.now(timezone.utc)
                        return {
                            "number": 1,
                            "size": 1,
                            "modified": now,
                            "ticket": ticket,
                        }

                endpoint = await self.serveProtocol(Strange)
                line = await self.complain(1, "ticket", endpoint, "a")
                self.assertIn("an invalid ticket", line)

        return ensureDeferred(test())

    def test_usage(self) -> None:
        """
        ticket with both --json and --curl-config, or with an invalid name, is
        wrong usage.
        """
        for arguments, reason in [
            (["a", "--json", "--curl-config"], "choose one"),
            (["../a"], "not a valid file name"),
        ]:
            line = self.refused("ticket", "nowhere:1", *arguments)
            self.assertIn(reason, line)

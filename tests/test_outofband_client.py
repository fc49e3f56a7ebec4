# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The HTTP client of out-of-band transfers, and servers that say anything over a real
socket.
"""

from __future__ import annotations

import gzip
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from amp_stream.errors import (
    OutOfBandError,
    ServerUnreachable,
    StreamError,
    StreamTimedOut,
    TransferInterrupted,
    TransferRefused,
    UntrustedServer,
)
from amp_stream.outofband import OutOfBandClient, OutOfBandServer, Ticket
from amp_stream.outofband._certificates import selfSigned
from tests.codes import classOf
from tests.outofband import (
    LOCAL,
    Clocked,
    Consumer,
    Endless,
    Get,
    OutOfBandTestCase,
    Put,
    Raw,
    run,
)
from tests.test_protocol_endpoints import makeCertificate

TOKEN = b"A" * 43
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


def ticket(**kw: Any) -> Ticket:
    """Make a ticket."""
    return Ticket(
        **{
            "url": "https://127.0.0.1:1/",
            "token": TOKEN,
            "method": b"GET",
            "lifetime": 60,
            **kw,
        }
    )


class Receiver:
    """Keeps what a GET brings."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.over: Deferred[Any] = Deferred()
        self.body: Any = None
        self.error: Any = None

    def begin(self, body):
        self.body = body

    def data(self, data):
        self.received += data

    def ended(self):
        self.over.callback(bytes(self.received))

    def cut(self, error):
        self.error = error
        if not self.over.called:
            self.over.errback(error)


class Sender:
    """Sends what a PUT takes."""

    def __init__(self, data: bytes = b"abc", isAll: bool = True) -> None:
        self.data = data
        self.isAll = isAll
        self.sink: Any = None
        self.begun: Deferred[Any] = Deferred()
        self.error: Any = None

    def begin(self, sink):
        self.sink = sink
        sink.start(len(self.data))
        sink.write(self.data)
        if self.isAll:
            sink.finish()
        self.begun.callback(sink)

    def cut(self, error):
        self.error = error


class CheckTests(SynchronousTestCase):
    """Which tickets to use."""

    def test_peer(self):
        """A ticket may lead to the address of the peer, however that is written."""
        for host, peer in (
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1", "::ffff:192.0.2.1"),
            ("[::1]", "::1"),
            ("[0:0::1]", "::1"),
            ("[fe80::1]", "fe80::1%eth0"),
            ("127.0.0.1", ""),
        ):
            OutOfBandClient()._check(ticket(url=f"https://{host}:5/"), peer)

    def test_elsewhere(self):
        """A ticket may lead to another host only if that host is allowed."""
        for host in ("192.0.2.2", "localhost", "[::2]", "2130706433", "0x7f.1"):
            made = ticket(url=f"https://{host}/")
            with self.assertRaises(UntrustedServer):
                OutOfBandClient()._check(made, "192.0.2.1")
            OutOfBandClient(allowedHosts=[host.strip("[]")])._check(made, "192.0.2.1")
            OutOfBandClient(allowedHosts=["*"])._check(made, "192.0.2.1")

    def test_names(self):
        """Names are the same in any case, and with a dot at the end."""
        made = ticket(url="https://Example.ORG./")
        OutOfBandClient(allowedHosts=["example.org"])._check(made, "192.0.2.1")

    def test_nonsense(self):
        """
        A URL that makes no sense, or has what it must not have, is refused, and the
        error does not repeat it.
        """
        for url in (
            "https:///",
            "https://",
            "nonsense",
            "https://127.0.0.1:0/",
            "https://127.0.0.1:99999/",
            "https://127.0.0.1:x/",
            "https://[::1/",
            "https://user@127.0.0.1/",
            "https://user:word@127.0.0.1/",
            "ftp://127.0.0.1/",
            "file:///etc/passwd",
            "javascript:x",
            "https://127.0.0.1\r\nX: y/",
            "https://127.0.0.1/\r\nX: y",
            "https://127.0.0.1/ HTTP/1.1",
        ):
            error = self.assertRaises(
                UntrustedServer, OutOfBandClient()._check, ticket(url=url), "127.0.0.1"
            )
            self.assertNotIn("word", str(error))

    def test_plain(self):
        """Plain HTTP has to be allowed by name."""
        made = ticket(url="http://127.0.0.1/")
        with self.assertRaises(UntrustedServer):
            OutOfBandClient()._check(made, "127.0.0.1")
        OutOfBandClient(allowPlainHTTP=True)._check(made, "127.0.0.1")


class OptionTests(SynchronousTestCase):
    """What a client is made with."""

    def test_wrongTypes(self):
        """The client refuses options of a wrong type at once, and names the option."""
        for name, value in (
            ("allowedHosts", "oob.example.com"),
            ("allowedHosts", b"oob.example.com"),
            ("allowedHosts", 5),
            ("allowedHosts", None),
            ("allowedHosts", [b"oob.example.com"]),
            ("allowPlainHTTP", "no"),
            ("connectTimeout", "30"),
            ("connectTimeout", None),
            ("connectTimeout", True),
        ):
            error = self.assertRaises(TypeError, OutOfBandClient, **{name: value})
            self.assertIn(name, str(error))

    def test_wrongTimeout(self):
        """A client that could never connect is refused."""
        for seconds in (0, -1, float("nan")):
            with self.assertRaises(ValueError):
                OutOfBandClient(connectTimeout=seconds)


class RequestTests(OutOfBandTestCase):
    """Requests to servers of any kind."""

    def setUp(self):
        super().setUp()
        self.client = OutOfBandClient(allowPlainHTTP=True)

    async def answering(self, answer, close=True, identity=None):
        """Listen with a server that gives an answer."""

        def behave(raw):
            def reply(_):
                raw.write(answer)
                if close:
                    raw.transport.loseConnection()

            raw.until(b"\r\n\r\n").addCallback(reply).addErrback(lambda _: None)

        return await self.rawServer(behave, identity)

    async def get(self, answer, close=True):
        server = await self.answering(answer, close)
        receiver = Receiver()
        self.client._get(ticket(url=server.url), receiver)
        return receiver, server

    @run
    async def test_encoded(self):
        """
        A body with a Content-Encoding is refused: a few bytes of it could become any
        number when they are decoded.
        """
        bomb = gzip.compress(bytes(10_000_000))
        for lines in (
            b"Content-Encoding: gzip\r\n",
            b"Content-Encoding: x-unknown\r\n",
            b"content-encoding: Identity, GZIP\r\n",
            b"Content-Encoding: identity\r\nContent-Encoding: br\r\n",
        ):
            answer = b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n" % (
                lines,
                len(bomb),
            )
            receiver, server = await self.get(answer + bomb, close=False)
            error = await self.fails(receiver.over, TransferRefused)
            self.assertIn("Content-Encoding", str(error))
            self.assertEqual(bytes(receiver.received), b"")
            await server.connections[0].closed

    @run
    async def test_noAnswer(self):
        """
        A server that accepts a request, and does not answer it, fails the request after
        a bounded time, with an error that says so; so does one whose head never ends.
        """
        for answer in (b"", b"HTTP/1.1 200 OK\r\nX: y\r\n"):
            clock = Clock()
            self.client = OutOfBandClient(allowPlainHTTP=True, reactor=Clocked(clock))
            receiver, server = await self.get(answer, close=False)
            raw = await server.connected
            await raw.until(b"\r\n\r\n")
            await self.settled(receiver.received.__len__, 50)
            clock.advance(59)
            self.assertFalse(receiver.over.called)
            clock.advance(1)
            error = await self.fails(receiver.over, ServerUnreachable)
            self.assertIn("has not answered", str(error))
            await raw.closed

    @run
    async def test_expectEnd(self):
        """
        A response that goes on although the stream is complete loses its connection
        after a few seconds, and so does one that has not begun.
        """
        for answer in (OK % 4 + b"abc", b"HTTP/1.1 100 Continue\r\n\r\n"):
            clock = Clock()
            self.client = OutOfBandClient(allowPlainHTTP=True, reactor=Clocked(clock))
            receiver, server = await self.get(answer, close=False)
            raw = await server.connected
            await raw.until(b"\r\n\r\n")
            await self.settled(receiver.received.__len__, 50)
            receiver.body.expectEnd()
            clock.advance(5)
            await raw.closed
            receiver.over.addErrback(lambda failure: None)

    @run
    async def test_identity(self):
        """A body that is said to have no encoding is taken as it is."""
        for coding in (b"identity", b"IDENTITY", b"identity, identity", b""):
            answer = OK.replace(b"OK", b"OK\r\nContent-Encoding: " + coding) % 3
            receiver, _ = await self.get(answer + b"abc")
            self.assertEqual(await receiver.over, b"abc")

    @run
    async def test_request(self):
        """A request has the token in one header, and nowhere else."""
        for method in (b"GET", b"PUT"):
            server = await self.rawServer()
            made = ticket(url=server.url + "path?x=y", method=method)
            receiver = Receiver()
            receiver.over.addErrback(lambda failure: None)
            if method == b"GET":
                self.client._get(made, receiver)
            else:
                self.client._put(made, 3, Sender())
            raw = await server.connected
            received = await raw.until(b"\r\n\r\n")
            lines = received.split(b"\r\n")
            self.assertEqual(lines[0], method + b" /path?x=y HTTP/1.1")
            found = [line for line in lines if TOKEN in line]
            self.assertEqual(found, [b"Authorization: Bearer " + TOKEN])
            raw.transport.abortConnection()
            await raw.closed

    @run
    async def test_get(self):
        """A body that comes whole is handed on."""
        for answer in (
            OK % 3 + b"abc",
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"3\r\nabc\r\n0\r\n\r\n"
            ),
            b"HTTP/1.1 100 Continue\r\n\r\n" + OK % 3 + b"abc",
        ):
            receiver, _ = await self.get(answer)
            self.assertEqual(await receiver.over, b"abc")

    @run
    async def test_cut(self):
        """A body that does not come whole, or whose end cannot be told, is cut."""
        for answer in (
            OK % 4 + b"abc",
            OK % 4,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            b"HTTP/1.1 200 OK\r\n\r\nabc",
            b"HTTP/1.0 200 OK\r\n\r\nabc",
        ):
            receiver, _ = await self.get(answer)
            await self.fails(receiver.over, TransferInterrupted)

    @run
    async def test_otherAnswers(self):
        """Any answer but the one that is due is a refusal, with the server's reason."""
        for status in (201, 204, 206, 301, 302, 307, 401, 403, 404, 405, 409, 500, 503):
            body = b"" if status == 204 else b"the reason\nmore"
            server = await self.answering(
                b"HTTP/1.1 %d Whatever\r\nLocation: http://127.0.0.1:1/\r\n" % status
                + (b"" if status == 204 else b"Content-Length: %d\r\n" % len(body))
                + b"\r\n"
                + body
            )
            receiver = Receiver()
            self.client._get(ticket(url=server.url), receiver)
            error = await self.fails(receiver.over, TransferRefused)
            self.assertIn(str(status), str(error))
            self.assertNotIn("more", str(error))
            self.assertEqual(len(server.connections), 1)
            sender = Sender()
            welcome = await self.client._put(ticket(url=server.url), 3, sender)
            if status == 204:
                self.assertTrue(welcome)
            else:
                self.assertFalse(welcome)
                self.assertIsInstance(sender.error, TransferRefused)

    @run
    async def test_tooLong(self):
        """The status for a body that is too long is that error."""
        server = await self.answering(b"HTTP/1.1 413 X\r\nContent-Length: 0\r\n\r\n")
        sender = Sender()
        self.assertFalse(await self.client._put(ticket(url=server.url), 3, sender))
        self.assertIsInstance(sender.error, classOf(b"STREAM_TOO_LONG"))

    @run
    async def test_garbage(self):
        """An answer that is no HTTP is an error."""
        for answer in (
            b"\0\1\2\r\n\r\n",
            b"hello\r\n\r\n",
            b"",
            b"HTTP/1.1 abc\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            b"SSH-2.0-x\r\n",
        ):
            receiver, _ = await self.get(answer)
            await self.fails(receiver.over, OutOfBandError)
            server = await self.answering(answer)
            sender = Sender()
            self.assertFalse(await self.client._put(ticket(url=server.url), 3, sender))
            self.assertIsInstance(sender.error, OutOfBandError)
        self.assertEqual(self.flushLoggedErrors(), [])

    @run
    async def test_controlCharacters(self):
        """Control characters in the text of an HTTP error are not shown."""
        receiver, _ = await self.get(
            b"HTTP/1.1 500 X\r\nContent-Length: 12\r\n\r\n\x1b[2Jabc\r\x07d\n."
        )
        error = await self.fails(receiver.over, TransferRefused)
        self.assertTrue(str(error).isprintable())

    @run
    async def test_endlessError(self):
        """
        Of an error without an end, the beginning is enough, and the connection is
        closed.
        """
        for method in ("get", "put"):
            server = await self.answering(
                b"HTTP/1.1 500 X\r\nContent-Length: 1000000000\r\n\r\n", close=False
            )
            if method == "get":
                receiver: Any = Receiver()
                self.client._get(ticket(url=server.url), receiver)
            else:
                receiver = Sender()
                over = self.client._put(ticket(url=server.url), 3, receiver)
            raw = await server.connected
            await raw.until(b"\r\n\r\n")
            Endless(raw.transport)
            if method == "get":
                await self.fails(receiver.over, TransferRefused)
            else:
                self.assertFalse(await over)
            await raw.closed

    @run
    async def test_endlessHeaders(self):
        """A header without an end is an error."""
        line = b"X: " + b"y" * 20_000_000
        receiver, _ = await self.get(b"HTTP/1.1 200 OK\r\n" + line, close=False)
        await self.fails(receiver.over, OutOfBandError)

    @run
    async def test_nobody(self):
        """A port where nobody listens is unreachable."""
        oob = OutOfBandServer(LOCAL, plainHTTP=True)
        oob.startService()
        await oob.whenListening()
        url = oob._urlFor("")
        await oob.stopService()
        receiver = Receiver()
        self.client._get(ticket(url=url), receiver)
        await self.fails(receiver.over, ServerUnreachable)
        sender = Sender()
        self.assertFalse(await self.client._put(ticket(url=url), 3, sender))
        self.assertIsInstance(sender.error, ServerUnreachable)

    @run
    async def test_abortWaiting(self):
        """A receiver that gives up before the response begins closes the connection."""
        for tls in (None, selfSigned(["127.0.0.1"])):
            certificate = b"" if tls is None else tls.certificate
            server = await self.rawServer(identity=tls)
            receiver = Receiver()
            made = ticket(url=server.url, certificate=certificate)
            self.client._get(made, receiver)
            raw = await server.connected
            await raw.until(b"\r\n\r\n")
            receiver.over.addErrback(lambda _: None)
            receiver.body.abort(StreamError())
            await raw.closed

    @run
    async def test_abortInTheMiddle(self):
        """
        A receiver that gives up in the middle of a body closes the connection, even of
        a server that does not react, and even while the body is held back.
        """
        for tls in (None, selfSigned(["127.0.0.1"])):
            for pause in (False, True):
                certificate = b"" if tls is None else tls.certificate
                server = await self.answering(OK % 10**9, close=False, identity=tls)
                receiver = Receiver()
                made = ticket(url=server.url, certificate=certificate)
                self.client._get(made, receiver)
                raw = await server.connected
                await raw.until(b"\r\n\r\n")
                raw.write(b"abc")
                await self.turns(lambda receiver=receiver: receiver.received)
                if pause:
                    receiver.body.pauseProducing()
                Endless(raw.transport)
                receiver.over.addErrback(lambda _: None)
                receiver.body.abort(StreamError())
                await raw.closed

    @run
    async def test_abortError(self):
        """
        A receiver that gives up while the text of an error trickles in closes the
        connection.
        """
        server = await self.answering(
            b"HTTP/1.1 500 X\r\nContent-Length: 100\r\n\r\nabc", close=False
        )
        receiver = Receiver()
        self.client._get(ticket(url=server.url), receiver)
        raw = await server.connected
        await raw.until(b"\r\n\r\n")
        await self.settled(lambda: receiver.over.called, 100)
        receiver.over.addErrback(lambda _: None)
        receiver.body.abort(StreamError())
        await raw.closed

    @run
    async def test_earlyAnswer(self):
        """
        A server that answers before it has the body, and reads no more of it, fails
        the transfer with its answer.
        """
        server = await self.answering(
            b"HTTP/1.1 413 X\r\nContent-Length: 0\r\n\r\n", close=False
        )
        sender = Sender(bytes(100), isAll=False)
        over = self.client._put(ticket(url=server.url), 1000, sender)
        self.assertFalse(await over)
        self.assertIsInstance(sender.error, classOf(b"STREAM_TOO_LONG"))

    @run
    async def test_certificates(self):
        """A server with another certificate than that of the ticket gets no token."""
        right, wrong = selfSigned(["127.0.0.1"]), selfSigned(["127.0.0.1"])
        for identity, certificate, serverName in (
            (wrong, right.certificate, ""),
            (right, b"", ""),
            (right, right.certificate, "example.org"),
            (selfSigned([]), selfSigned([]).certificate, ""),
        ):
            server = await self.rawServer(identity=identity)
            made = ticket(
                url=server.url, certificate=certificate, serverName=serverName
            )
            receiver = Receiver()
            self.client._get(made, receiver)
            error = await self.fails(receiver.over, UntrustedServer)
            self.assertNotIn(TOKEN.decode(), str(error))
            sender = Sender()
            self.assertFalse(await self.client._put(made, 3, sender))
            self.assertIsInstance(sender.error, UntrustedServer)
            for raw in server.connections:
                await raw.closed
                self.assertEqual(bytes(raw.received), b"")

    @run
    async def test_rightCertificate(self):
        """
        A server with the certificate of the ticket is trusted, by its address or by the
        name in the ticket.
        """
        for hosts, name in ((["127.0.0.1"], ""), ([], "amp-stream.invalid")):
            identity = selfSigned(hosts)
            server = await self.answering(OK % 3 + b"abc", identity=identity)
            receiver = Receiver()
            self.client._get(
                ticket(
                    url=server.url, certificate=identity.certificate, serverName=name
                ),
                receiver,
            )
            self.assertEqual(await receiver.over, b"abc")

    @run
    async def test_noTls(self):
        """A server that does not speak TLS where it should is an error."""
        server = await self.rawServer(lambda raw: raw.write(b"HTTP/1.1 200 OK\r\n\r\n"))
        receiver = Receiver()
        url = server.url.replace("http:", "https:")
        self.client._get(ticket(url=url), receiver)
        await self.fails(receiver.over, OutOfBandError)

    @run
    async def test_noCertificate(self):
        """A ticket with something else for a certificate is refused."""
        receiver = Receiver()
        self.client._get(ticket(certificate=b"none"), receiver)
        await self.fails(receiver.over, UntrustedServer)


class HostileServerTests(OutOfBandTestCase):
    """What a stream makes of servers that do what they want."""

    async def detour(self, url, command=Get, certificate=b"", **kw):
        """Set a transfer up whose ticket leads elsewhere."""
        client, server = await self.pair(**kw)
        for end in (client, server):
            made = end.streams.config.outOfBandClient
            for name in ("_get", "_put"):
                method = getattr(made, name)

                def elsewhere(ticket, *args, do=method):
                    return do(evolve(ticket, url=url, certificate=certificate), *args)

                setattr(made, name, elsewhere)
        return client, server

    @run
    async def test_neverAnswers(self):
        """
        A transfer that never gets an answer ends with the patience of its stream, and
        its connection is closed.
        """
        for put in (True, False):
            never = await self.rawServer()
            clock = Clock()
            patient = {"reactor": clock, "streamTimeout": 40}
            client, server = await self.detour(never.url, client=patient)
            server.value = b"abc"
            if put:
                call = client.callRemote(Put, body=b"abc")
                raw: Raw = await never.connected
                await raw.until(b"abc")
            else:
                body = (await client.callRemote(Get))["body"]
                call = body.collect()
                raw = await never.connected
                await raw.until(b"\r\n\r\n")
            await self.works(client)
            clock.pump([10] * 6)
            await self.fails(call, StreamTimedOut)
            await self.works(client)
            await raw.closed

    @run
    async def test_stoppedAfterTheLastByte(self):
        """
        A call that is cancelled when all of its bytes have left closes the
        connection.
        """
        never = await self.rawServer()
        client, _server = await self.detour(never.url)
        call = client.callRemote(Put, body=b"abc")
        raw = await never.connected
        await raw.until(b"abc")
        await self.works(client)
        call.cancel()
        await self.fails(call, Exception)
        await self.works(client)
        await raw.closed

    @run
    async def test_connectionLostAfterTheLastByte(self):
        """
        A transfer that waits for the answer to its last byte ends with the AMP
        connection.
        """
        never = await self.rawServer()
        client, _server = await self.detour(never.url)
        call = client.callRemote(Put, body=b"abc")
        raw = await never.connected
        await raw.until(b"abc")
        client.transport.abortConnection()
        await self.fails(call, Exception)
        await raw.closed

    @run
    async def test_wrongCertificate(self):
        """A server with another certificate fails both ends, whoever listens."""
        for listens in ("client", "server"):
            for command in (Put, Get):
                identity = selfSigned(["127.0.0.1"])
                other = selfSigned(["127.0.0.1"])
                imposter = await self.rawServer(identity=identity)
                client, server = await self.detour(
                    imposter.url,
                    certificate=other.certificate,
                    listens=listens,
                    plain=False,
                )
                server.value = b"abc"
                if command is Put:
                    await self.fails(
                        client.callRemote(Put, body=b"abc"), UntrustedServer
                    )
                    self.assertIsInstance(await server.ended, UntrustedServer)
                else:
                    body = (await client.callRemote(Get))["body"]
                    await self.fails(body.collect(), UntrustedServer)
                await self.works(client)
                self.assertIsInstance(self.log.ends()[-1], UntrustedServer)
                for raw in imposter.connections:
                    self.assertEqual(bytes(raw.received), b"")

    @run
    async def test_ownTls(self):
        """
        An endpoint with a certificate of its own is trusted only if an authority
        vouches for it.
        """
        made = makeCertificate()
        with open("own.pem", "wb") as file:
            file.write(made.dumpPEM())
        endpoint = "ssl:0:interface=127.0.0.1:privateKey=own.pem"
        oob = await self.oobServer(endpoint)
        client, server = await self.pair(
            "none", plain=False, server={"outOfBandServer": oob}
        )
        await self.fails(client.callRemote(Put, body=b"abc"), UntrustedServer)
        self.assertIsInstance(await server.ended, UntrustedServer)
        await self.works(client)

    @run
    async def test_certificateFile(self):
        """
        A server with a certificate from a file, and a URL for it, is trusted by its
        tickets.
        """
        made = makeCertificate()
        with open("own.pem", "wb") as file:
            file.write(made.dumpPEM())
        for hosts in ((), ("localhost",)):
            port = await self.freePort()
            url = {"publicURL": f"https://localhost:{port}/"} if hosts else {}
            oob = await self.oobServer(
                f"tcp:{port}:interface=127.0.0.1", certificate="own.pem", **url
            )
            client, _ = await self.pair(
                "none",
                server={"outOfBandServer": oob},
                client={"outOfBandClient": OutOfBandClient(allowedHosts=hosts)},
            )
            answer = await client.callRemote(Put, body=b"abc")
            self.assertEqual(answer, {"size": 3})

    async def freePort(self):
        oob = OutOfBandServer(LOCAL, plainHTTP=True)
        oob.startService()
        await oob.whenListening()
        port = oob._urlFor("").rstrip("/").rpartition(":")[2]
        await oob.stopService()
        return port

    @run
    async def test_longerThanAnnounced(self):
        """A body that is longer than the stream fails it."""
        longer = await self.rawServer(
            lambda raw: raw.until(b"\r\n\r\n").addCallback(
                lambda _: raw.write(OK % 4 + b"abcd")
            )
        )
        client, server = await self.detour(longer.url)
        server.value = b"abc"
        body = (await client.callRemote(Get))["body"]
        await self.fails(body.collect(), StreamError)
        await self.works(client)

    @run
    async def test_heldBack(self):
        """A consumer that pauses stops a server, whatever that wants."""
        for _ in range(1):
            endless = []
            server = await self.rawServer(
                lambda raw, endless=endless: raw.until(b"\r\n\r\n").addCallback(
                    lambda _: (
                        raw.write(OK % 10**12),
                        endless.append(Endless(raw.transport)),
                    )
                )
            )
            client, peer = await self.detour(server.url)
            peer.value = [b"abc"]
            body = (await client.callRemote(Get))["body"]
            consumer = Consumer()
            written = body.writeTo(consumer)
            await self.turns(lambda consumer=consumer: consumer.received)
            most = await self.settled(lambda endless=endless: endless[0].written)
            self.assertLess(most, 50_000_000)
            self.assertLess(body.received, 2_000_000)
            body.abort()
            await self.fails(written, StreamError)
            await self.works(client)

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The HTTP server of out-of-band transfers, and clients that say anything over a real
socket.
"""

from __future__ import annotations

import os
from typing import Any

import h11
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from amp_stream.errors import (
    NoOutOfBandServer,
    TicketExpired,
    TransferInterrupted,
    TransferRefused,
)
from amp_stream.outofband import OutOfBandServer, _server
from amp_stream.outofband._http import _Body, _MalformedChunks
from tests.codes import classOf
from tests.outofband import (
    LOCAL,
    Clocked,
    Exchange,
    OutOfBandTestCase,
    Put,
    Raw,
    head,
    run,
)
from tests.test_protocol_endpoints import makeCertificate

CLIENTS = 100


class ServerTestCase(OutOfBandTestCase):
    """A server, and tickets that are not for a stream."""

    async def admit(self, oob: Any, method: bytes = b"PUT", **kw: Any) -> Any:
        """
        Issue a ticket.

        @return: It, and what it is for.
        """
        exchange = Exchange()
        ticket = await oob._issue(exchange, method, **kw)
        return ticket, exchange


class OneTokenTests(ServerTestCase):
    """A token works once."""

    timeout = 60

    async def manyClients(self, plain, method):
        oob = await self.oobServer(plain=plain)
        ticket, exchange = await self.admit(oob, method)
        if method == b"GET":
            exchange.begun.addCallback(
                lambda sink: (sink.start(3), sink.write(b"abc"), sink.finish())
            )
        lines = ["Content-Length: 3"] if method == b"PUT" else []
        request = head(method.decode(), ticket.token, *lines)
        if method == b"PUT":
            request += b"abc"
        raws = await gatherResults(
            [Deferred.fromCoroutine(self.raw(oob)) for _ in range(CLIENTS)]
        )
        for raw in raws:
            raw.write(request)
        await gatherResults([raw.until(b"\r\n\r\n") for raw in raws])
        statuses = sorted(raw.status for raw in raws)
        good = 204 if method == b"PUT" else 200
        self.assertEqual(statuses, [good] + [401] * (CLIENTS - 1))
        self.assertEqual(len(exchange.messages), 1)
        again = await self.ask(oob, request)
        self.assertEqual(again.status, 401)

    @run
    async def test_put(self):
        """Of a hundred clients that put with one token at once, one succeeds."""
        await self.manyClients(True, b"PUT")

    @run
    async def test_get(self):
        """Of a hundred clients that get with one token at once, one succeeds."""
        await self.manyClients(True, b"GET")

    @run
    async def test_putTls(self):
        """
        Of a hundred clients that put with one token at once over TLS, one
        succeeds.
        """
        await self.manyClients(False, b"PUT")

    @run
    async def test_getTls(self):
        """
        Of a hundred clients that get with one token at once over TLS, one
        succeeds.
        """
        await self.manyClients(False, b"GET")


class AuthorisationTests(ServerTestCase):
    """Who is let in."""

    async def refused(self, request, status, oob=None):
        oob = oob or await self.oobServer(plain=True)
        raw = await self.ask(oob, request)
        self.assertEqual(raw.status, status, bytes(raw.received))
        return raw

    @run
    async def test_noToken(self):
        """
        A request without a proper token is refused with a challenge, and its body is
        not read.
        """
        oob = await self.oobServer(plain=True)
        ticket, exchange = await self.admit(oob)
        token = ticket.token.decode()
        for lines in (
            [],
            ["Authorization:"],
            ["Authorization: Bearer"],
            ["Authorization: Bearer "],
            ["Authorization: Basic " + token],
            ["Authorization: " + token],
            ["Authorization: Bearer x"],
            ["Authorization: Bearer " + token + "x"],
            ["Authorization: Bearer " + token[:-1]],
            ["Authorization: Bearer " + token + " x"],
            ["Authorization: Bearer " + token] * 2,
            ["Authorization: Bearer x", "Authorization: Bearer " + token],
            ["Proxy-Authorization: Bearer " + token],
            ["Cookie: " + token],
        ):
            for method in ("PUT", "GET", "POST"):
                raw = await self.refused(
                    head(method, None, "Content-Length: 1000000", *lines), 401, oob
                )
                self.assertIn(b"\r\nWWW-Authenticate: Bearer", bytes(raw.received))
                self.assertNotIn(token.encode(), bytes(raw.received))
        await self.refused(head("PUT", None, url=f"/?access_token={token}"), 401, oob)
        self.assertEqual((exchange.messages, exchange.errors), ([], []))

    @run
    async def test_scheme(self):
        """
        The name of the scheme may be in any case (RFC 9110, section 11.1), and the
        path anything.
        """
        oob = await self.oobServer(plain=True)
        for scheme in ("Bearer", "bearer", "BEARER"):
            ticket, _ = await self.admit(oob)
            request = head(
                "PUT",
                None,
                f"Authorization: {scheme} {ticket.token.decode()}",
                "Content-Length: 0",
                url="/any/path?query",
            )
            await self.refused(request, 204, oob)

    @run
    async def test_wrongMethod(self):
        """
        Another method than that of the ticket is refused with the one that would do,
        and uses it up.
        """
        oob = await self.oobServer(plain=True)
        for method, others in (
            (b"PUT", ["GET", "POST", "DELETE", "OPTIONS", "put"]),
            (b"GET", ["PUT", "POST", "get"]),
        ):
            for other in others:
                ticket, exchange = await self.admit(oob, method)
                raw = await self.refused(head(other, ticket.token), 405, oob)
                self.assertIn(b"\r\nAllow: " + method, bytes(raw.received))
                self.assertEqual([type(e) for e in exchange.errors], [TransferRefused])
                again = head(method.decode(), ticket.token, "Content-Length: 0")
                await self.refused(again, 401, oob)

    @run
    async def test_head(self):
        """A HEAD is no GET."""
        oob = await self.oobServer(plain=True)
        ticket, _ = await self.admit(oob, b"GET")
        await self.refused(head("HEAD", ticket.token), 405, oob)

    @run
    async def test_lengths(self):
        """A body whose declared length cannot be right is refused before it is read."""
        oob = await self.oobServer(plain=True)
        for kw, length, status in (
            ({"size": 10}, 11, 413),
            ({"size": 10}, 9, 400),
            ({"size": 10}, 0, 400),
            ({"maxSize": 10}, 11, 413),
            ({"size": 10, "maxSize": 20}, 15, 413),
            ({"maxSize": 0}, 1, 413),
            ({"size": 10}, 10**18, 413),
        ):
            ticket, exchange = await self.admit(oob, **kw)
            request = head(
                "PUT", ticket.token, f"Content-Length: {length}", "Expect: 100-continue"
            )
            raw = await self.refused(request, status, oob)
            self.assertNotIn(b"100 Continue", raw.received)
            kind = classOf(b"STREAM_TOO_LONG") if status == 413 else TransferRefused
            self.assertEqual([type(e) for e in exchange.errors], [kind])
            self.assertEqual(exchange.messages, [])

    @run
    async def test_getWithBody(self):
        """A GET with a body is refused."""
        oob = await self.oobServer(plain=True)
        for lines in ("Content-Length: 3", "Transfer-Encoding: chunked"):
            ticket, exchange = await self.admit(oob, b"GET")
            await self.refused(head("GET", ticket.token, lines), 400, oob)
            self.assertEqual([type(e) for e in exchange.errors], [TransferRefused])

    @run
    async def test_expect(self):
        """
        A client that waits to be asked for its body is asked once it is authorised,
        and not before.
        """
        for plain in (True, False):
            oob = await self.oobServer(plain=plain)
            ticket, exchange = await self.admit(oob, size=3)
            raw = await self.raw(oob)
            raw.write(
                head("PUT", ticket.token, "Content-Length: 3", "Expect: 100-continue")
            )
            await raw.until(b"HTTP/1.1 100 Continue\r\n\r\n")
            raw.write(b"abc")
            await raw.until(b" 204 ")
            self.assertEqual(bytes(exchange.received), b"abc")
            await raw.closed

    @run
    async def test_expectRefused(self):
        """A client without a valid token is not told to continue."""
        oob = await self.oobServer(plain=True)
        for token in (None, b"x" * 43):
            raw = await self.refused(
                head("PUT", token, "Content-Length: 3", "Expect: 100-continue"),
                401,
                oob,
            )
            self.assertNotIn(b"100 Continue", raw.received)

    @run
    async def test_expired(self):
        """A ticket that is too old is refused, and what it was for has failed."""
        clock = Clock()
        oob = await self.oobServer(plain=True, reactor=Clocked(clock), ticketLifetime=5)
        ticket, exchange = await self.admit(oob)
        clock.advance(5)
        self.assertEqual([type(error) for error in exchange.errors], [TicketExpired])
        request = head("PUT", ticket.token, "Content-Length: 0")
        await self.refused(request, 401, oob)
        self.assertIn("0 tickets", repr(oob))

    @run
    async def test_forgotten(self):
        """A ticket that was revoked is refused."""
        oob = await self.oobServer(plain=True)
        ticket, exchange = await self.admit(oob)
        oob._revoke(ticket)
        oob._revoke(ticket)
        request = head("PUT", ticket.token, "Content-Length: 0")
        await self.refused(request, 401, oob)
        self.assertEqual(exchange.errors, [])

    @run
    async def test_tooMany(self):
        """
        A server issues a bounded number of tickets, and more once some have
        expired.
        """
        clock = Clock()
        self.patch(_server, "MAX_TICKETS", 2)
        oob = await self.oobServer(plain=True, reactor=Clocked(clock), ticketLifetime=9)
        for _ in range(2):
            await self.admit(oob)
        await self.fails(self.admit(oob), classOf(b"OOB_TICKETS"))
        self.assertIn("2 tickets", repr(oob))
        clock.advance(9)
        await self.admit(oob)
        self.assertIn("1 tickets", repr(oob))

    @run
    async def test_token(self):
        """Tokens have 128 bits or more, differ, and are in no repr."""
        oob = await self.oobServer(plain=True)
        tickets = [(await self.admit(oob))[0] for _ in range(50)]
        self.assertEqual(len({ticket.token for ticket in tickets}), 50)
        for ticket in tickets:
            token = ticket.token.decode()
            self.assertGreaterEqual(len(token) * 6, 128)
            for text in (repr(ticket), repr(oob), repr(vars(oob)), str(ticket)):
                self.assertNotIn(token, text)
            self.assertNotIn(token, ticket.url)


class HttpTests(ServerTestCase):
    """HTTP, and what is no HTTP."""

    async def put(self, *lines, body=b"", version=b"HTTP/1.1", oob=None, **kw):
        oob = oob or await self.oobServer(plain=True)
        ticket, exchange = await self.admit(oob, **kw)
        request = head("PUT", ticket.token, *lines).replace(b"HTTP/1.1", version, 1)
        raw = await self.raw(oob)
        raw.write(request + body)
        return raw, exchange

    @run
    async def test_byteByByte(self):
        """A request that comes byte by byte is one."""
        oob = await self.oobServer(plain=True)
        for lines, body in (
            ("Content-Length: 3", b"abc"),
            ("Transfer-Encoding: chunked", b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"),
        ):
            ticket, exchange = await self.admit(oob)
            raw = await self.raw(oob)
            raw.transport.setTcpNoDelay(True)
            request = head("PUT", ticket.token, lines) + body
            for start in range(len(request)):
                raw.write(request[start : start + 1])
                await self.turn()
            await raw.until(b" 204 ")
            self.assertEqual(bytes(exchange.received), b"abc")
            await raw.closed

    @run
    async def test_chunked(self):
        """A chunked body is taken, with extensions and a trailer."""
        raw, exchange = await self.put(
            "Transfer-Encoding: chunked",
            body=b"1;x=y\r\na\r\n2\r\nbc\r\n0\r\nX: y\r\n\r\n",
        )
        await raw.until(b" 204 ")
        self.assertEqual(bytes(exchange.received), b"abc")
        await raw.closed

    @run
    async def test_brokenChunks(self):
        """A chunked body that is none is no complete one."""
        for body in (b"x\r\nabc", b"-1\r\nabc", b"3\r\nabcde\r\n", b"3" * 100_000):
            raw, exchange = await self.put("Transfer-Encoding: chunked", body=body)
            await raw.closed
            await exchange.over
            self.assertFalse(exchange.isOver, body[:20])
            self.assertEqual([type(e) for e in exchange.errors], [TransferInterrupted])
        self.flushLoggedErrors()

    @run
    async def test_cut(self):
        """A body that breaks off is no complete one."""
        for lines, body in (
            ("Content-Length: 4", b"abc"),
            ("Transfer-Encoding: chunked", b"3\r\nabc\r\n"),
            ("Transfer-Encoding: chunked", b"3\r\nabc\r\n0\r\n"),
        ):
            for how in ("loseConnection", "abortConnection"):
                raw, exchange = await self.put(lines, body=body)
                await self.turns(lambda exchange=exchange: len(exchange.received) == 3)
                getattr(raw.transport, how)()
                await exchange.over
                self.assertFalse(exchange.isOver)
                self.assertEqual(
                    [type(e) for e in exchange.errors], [TransferInterrupted]
                )

    @run
    async def test_pipelined(self):
        """
        A connection is for one request: what comes behind it is ignored, and uses no
        ticket.
        """
        oob = await self.oobServer(plain=True)
        for plain in (True, False):
            for first in ("Content-Length: 3", "Transfer-Encoding: chunked"):
                oob = await self.oobServer(plain=plain)
                second, unused = await self.admit(oob)
                behind = head("PUT", second.token, "Content-Length: 0")
                body = b"abc" if first[0] == "C" else b"3\r\nabc\r\n0\r\n\r\n"
                raw, exchange = await self.put(first, body=body + behind, oob=oob)
                await raw.closed
                self.assertEqual(bytes(raw.received).count(b"HTTP/1.1 "), 1)
                self.assertEqual(raw.status, 204)
                self.assertEqual(bytes(exchange.received), b"abc")
                self.assertEqual(unused.messages, [])

    @run
    async def test_pipelinedBehindGet(self):
        """Bytes behind a GET are ignored while it is answered, and use no ticket."""
        oob = await self.oobServer(plain=True)
        ticket, exchange = await self.admit(oob, b"GET")
        second, unused = await self.admit(oob, b"GET")
        raw = await self.raw(oob)
        raw.write(head("GET", ticket.token) + head("GET", second.token))
        sink = await exchange.begun
        raw.write(head("GET", second.token))
        sink.start(3)
        sink.write(b"abc")
        await raw.until(b"abc")
        sink.finish()
        await raw.closed
        self.assertEqual(bytes(raw.received).count(b"HTTP/1.1 "), 1)
        self.assertEqual(unused.messages, [])

    @run
    async def test_oldVersion(self):
        """A client of HTTP/1.0 is served, and not told to continue."""
        raw, exchange = await self.put(
            "Content-Length: 3",
            "Expect: 100-continue",
            body=b"abc",
            version=b"HTTP/1.0",
        )
        await raw.closed
        self.assertIn(b" 204 ", raw.received)
        self.assertNotIn(b"100 Continue", raw.received)
        self.assertEqual(bytes(exchange.received), b"abc")

    @run
    async def test_oldVersionGet(self):
        """
        A client of HTTP/1.0 gets a body, and no chunks that it would not
        understand.
        """
        oob = await self.oobServer(plain=True)
        ticket, exchange = await self.admit(oob, b"GET")
        raw = await self.raw(oob)
        raw.write(head("GET", ticket.token).replace(b"HTTP/1.1", b"HTTP/1.0"))
        sink = await exchange.begun
        sink.start(None)
        sink.write(b"abc")
        sink.finish()
        await raw.closed
        self.assertTrue(bytes(raw.received).endswith(b"\r\n\r\nabc"))

    @run
    async def test_garbage(self):
        """
        Bytes that are not HTTP are answered with an error, or not at all, and the
        connection is closed.
        """
        oob = await self.oobServer(plain=True)
        for request in (
            b"\0\1\2\3\r\n\r\n",
            b"hello\r\n\r\n",
            b"PUT / HTTP/9.9\r\n\r\n",
            b"PUT / HTTP/1.1\r\nNo colon\r\n\r\n",
            b"PUT / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
            b"PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            b"PUT / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
            b"PUT / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"PUT / HTTP/1.1\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
            b"PUT /" + b"y" * 100_000 + b" HTTP/1.1\r\n\r\n",
            b"PUT / HTTP/1.1\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(400) + b"\r\n\r\n",
        ):
            raw = await self.raw(oob)
            raw.write(request)
            await raw.closed
            self.assertNotIn(b"HTTP/1.1 2", raw.received)
        self.assertEqual(self.flushLoggedErrors(), [])

    @run
    async def test_malformed(self):
        """
        A request that breaks a rule of HTTP/1.1 is refused, and uses no ticket: one
        without Host (RFC 9112, section 3.2), with an expectation that the server does
        not know (RFC 9110, section 10.1.1), with chunks in HTTP/1.0, or of another
        version.
        """
        oob = await self.oobServer(plain=True)
        ticket, exchange = await self.admit(oob)
        good = head("PUT", ticket.token, "Content-Length: 3")
        chunked = head("PUT", ticket.token, "Transfer-Encoding: chunked")
        for request, status in (
            (good.replace(b"Host: 127.0.0.1\r\n", b""), 400),
            (good.replace(b"Host:", b"Host: a\r\nHost:"), 400),
            (good.replace(b"Host:", b"Expect: 200-ok\r\nHost:"), 417),
            (good.replace(b"Host:", b"Expect: 100-continue, x\r\nHost:"), 417),
            (good.replace(b"HTTP/1.1", b"HTTP/2.0"), 505),
            (good.replace(b": 3", b": " + b"9" * 20), 413),
            (good.replace(b": 3", b": 3\r\nContent-Length: 4"), 400),
            (good.replace(b": 3", b": +3"), 400),
            (good.replace(b"Host:", b"Host :"), 400),
            (good.replace(b"Host:", b"X: a\r\n b: c\r\nY: \0\r\nHost:"), 400),
            (chunked.replace(b"HTTP/1.1", b"HTTP/1.0"), 400),
            (chunked.replace(b"chunked", b"gzip, chunked"), 501),
            (
                chunked.replace(b"chunked", b"chunked\r\nTransfer-Encoding: chunked"),
                501,
            ),
        ):
            raw = await self.ask(oob, request)
            self.assertEqual(raw.status, status, request)
            await raw.closed
        raw = await self.ask(oob, good + b"abc")
        self.assertEqual(raw.status, 204)
        self.assertEqual((exchange.errors, bytes(exchange.received)), ([], b"abc"))

    @run
    async def test_noLength(self):
        """
        A PUT that does not say how its body ends is refused, and fails its
        transfer.
        """
        raw, exchange = await self.put()
        await raw.closed
        self.assertEqual(raw.status, 411)
        self.assertEqual([type(e) for e in exchange.errors], [TransferRefused])
        self.assertEqual(exchange.messages, [])

    @run
    async def test_lengthAndChunks(self):
        """A request with two ideas of its length is refused."""
        raw, exchange = await self.put(
            "Content-Length: 3", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"
        )
        await raw.closed
        self.assertEqual(raw.status, 400)
        self.assertEqual(exchange.messages, [])

    @run
    async def test_trickle(self):
        """The headers have one deadline for all of them together."""
        clock = Clock()
        for plain in (True, False):
            oob = await self.oobServer(plain=plain, reactor=Clocked(clock))
            raw = await self.raw(oob)
            sent = b"PUT / HTTP/1.1\r\n"
            raw.write(sent)
            await self.turns(lambda oob=oob: oob._factory.connections)
            for _ in range(9):
                raw.write(b"X: y\r\n")
                await self.settled(lambda raw=raw: raw.closed.called, 20)
                clock.advance(5)
            clock.pump([5] * 5)
            await raw.closed
            self.assertEqual(bytes(raw.received), b"")

    @run
    async def test_trickleWithToken(self):
        """A token that has come, but not the rest of the headers, holds nothing up."""
        clock = Clock()
        oob = await self.oobServer(plain=True, reactor=Clocked(clock))
        ticket, exchange = await self.admit(oob)
        raw = await self.raw(oob)
        raw.write(head("PUT", ticket.token)[:-2])
        await self.turns(lambda: oob._factory.connections)
        await self.settled(lambda: raw.closed.called, 20)
        clock.pump([5] * 11)
        await raw.closed
        self.assertEqual(exchange.messages, [])

    @run
    async def test_refusedBody(self):
        """
        The body of a request that was refused is thrown away for a while, so that
        the client can read why, and then the connection is closed.
        """
        clock = Clock()
        for plain in (True, False):
            oob = await self.oobServer(plain=plain, reactor=Clocked(clock))
            raw = await self.raw(oob)
            raw.write(head("PUT", b"x" * 43, "Content-Length: 100000000"))
            raw.write(bytes(5_000_000))
            await raw.until(b" 401 ")
            for _ in range(20):
                raw.write(bytes(100_000))
                await self.turn()
            clock.pump([1] * 30)
            await raw.closed

    @run
    async def test_tooManyConnections(self):
        """
        More connections than allowed are closed as they come, and others are served
        once there is room.
        """
        for plain in (True, False):
            oob = await self.oobServer(plain=plain, maxConnections=2)
            held = [await self.raw(oob) for _ in range(2)]
            await self.turns(lambda oob=oob: len(oob._factory.connections) == 2)
            port = oob._urlFor("")
            more: Raw = await self.raw(port)
            await more.closed
            self.assertEqual(bytes(more.received), b"")
            self.assertFalse(held[0].closed.called)
            held[0].transport.abortConnection()
            await self.turns(lambda oob=oob: len(oob._factory.connections) == 1)
            ticket, _ = await self.admit(oob)
            raw = await self.ask(oob, head("PUT", ticket.token, "Content-Length: 0"))
            self.assertEqual(raw.status, 204)
        self.assertEqual(self.flushLoggedErrors(), [])

    @run
    async def test_notOverTls(self):
        """A client that speaks HTTP where TLS is spoken is told nothing."""
        oob = await self.oobServer()
        port = int(oob._urlFor("").rstrip("/").rpartition(":")[2])
        raw = await self.raw(port, tls=False)
        raw.write(head("PUT", b"x" * 43))
        await raw.closed
        self.assertNotIn(b"HTTP/", raw.received)

    @run
    async def test_noHandshake(self):
        """A client that connects and says nothing is hung up on."""
        clock = Clock()
        oob = await self.oobServer(reactor=Clocked(clock))
        port = int(oob._urlFor("").rstrip("/").rpartition(":")[2])
        raw = await self.raw(port, tls=False)
        await self.turns(lambda: oob._factory.connections)
        clock.pump([5] * 20)
        await raw.closed

    @run
    async def test_headers(self):
        """A response tells nobody to keep it, and what it is."""
        oob = await self.oobServer(plain=True)
        ticket, exchange = await self.admit(oob, b"GET")
        raw = await self.raw(oob)
        raw.write(head("GET", ticket.token))
        sink = await exchange.begun
        sink.start(3)
        sink.write(b"abc")
        sink.finish()
        text = (await raw.closed).lower()
        self.assertIn(b"\r\ncontent-length: 3\r\n", text)
        self.assertIn(b"\r\ncache-control: no-store\r\n", text)
        self.assertIn(b"\r\nconnection: close\r\n", text)
        self.assertTrue(text.endswith(b"\r\n\r\nabc"))

    @run
    async def test_brokenResponse(self):
        """A response that breaks off can be told from one that is complete."""
        for plain in (True, False):
            for size in (10, None):
                oob = await self.oobServer(plain=plain)
                ticket, exchange = await self.admit(oob, b"GET")
                raw = await self.raw(oob)
                raw.write(head("GET", ticket.token))
                sink = await exchange.begun
                sink.start(size)
                sink.write(b"abc")
                await raw.until(b"abc")
                sink.abort()
                text = await raw.closed
                self.assertFalse(text.endswith(b"0\r\n\r\n"))

    @run
    async def test_stuckReader(self):
        """
        A client that does not read what it asked for does not keep its connection
        once the server is stopped.
        """
        oob = await self.oobServer(plain=True)
        ticket, exchange = await self.admit(oob, b"GET")
        raw = await self.raw(oob)
        raw.write(head("GET", ticket.token))
        raw.transport.pauseProducing()
        sink = await exchange.begun
        sink.start(50_000_000)
        sink.write(bytes(50_000_000))
        sink.finish()
        await oob.stopService()
        self.assertEqual(oob._factory.connections, set())


PIECES = st.lists(st.binary(min_size=1, max_size=40), max_size=6)


def inPieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut data at some places."""
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[i:j] for i, j in zip([0, *places], [*places, len(data)], strict=True)]


class ChunkTests(SynchronousTestCase):
    """Chunked bodies."""

    def encoded(self, pieces: list[bytes]) -> bytes:
        """Let C{h11} write a chunked body."""
        client = h11.Connection(h11.CLIENT)
        headers = [("Host", "a"), ("Transfer-Encoding", "chunked")]
        client.send(h11.Request(method="PUT", target="/", headers=headers))
        parts = [client.send(h11.Data(data=piece)) for piece in pieces]
        return b"".join([*parts, client.send(h11.EndOfMessage())])

    @given(PIECES, st.lists(st.integers(0, 400), max_size=12), st.binary(max_size=9))
    def test_roundTrip(self, pieces, cuts, behind):
        """
        A chunked body arrives as it was sent, however it is cut on the way, and bytes
        behind it do not belong to it.
        """
        body = _Body(None)
        found = bytearray()
        for data in inPieces(self.encoded(pieces) + behind, cuts):
            for piece in body.feed(data):
                found += piece
        self.assertEqual(bytes(found), b"".join(pieces))
        self.assertTrue(body.isComplete)

    @given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=6))
    def test_anything(self, data, cuts):
        """
        Bytes that are no chunks are refused or wait for more, and are refused however
        they are cut.
        """
        outcomes = []
        for pieces in ([data], inPieces(data, cuts)):
            body, found = _Body(None), b""
            try:
                for piece in pieces:
                    found += b"".join(body.feed(piece))
            except _MalformedChunks:
                outcomes.append(None)
            else:
                outcomes.append((found, body.isComplete))
        self.assertEqual(*outcomes)

    def test_malformed(self):
        """
        A chunk with a malformed size, with a bare line feed, of another length than
        it says, or with endless extensions or trailers is refused.
        """
        for data in (
            b"\r\n",
            b"x\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\n",
            b"1_0\r\n",
            b" 1\r\n",
            b"1 x\r\n",
            b"1\nab",
            b"1\r\naXX\r\n",
            b"1\r\na\nb",
            b"1\r\nab\r\n",
            b"1" * 17 + b"\r\n",
            b"1;\0\r\n",
            b"1;" + b"x" * 2000,
            b"0\r\nX: y\n\n",
            b"0\r\n" + b"X: y\r\n" * 10_000,
        ):
            for size in (1, len(data)):
                body = _Body(None)
                with self.assertRaises(_MalformedChunks):
                    for start in range(0, len(data), size):
                        list(body.feed(data[start : start + size]))

    def test_accepted(self):
        """Sizes in either case, extensions and trailers are accepted."""
        for data in (
            b"A\r\n0123456789\r\n0\r\n\r\n",
            b"0a\r\n0123456789\r\n00\r\n\r\n",
            b"a;x=y\r\n0123456789\r\n0;z\r\nX: y\r\nZ: z\r\n\r\n",
        ):
            body = _Body(None)
            self.assertEqual(b"".join(body.feed(data)), b"0123456789")
            self.assertTrue(body.isComplete)


class ServiceTests(ServerTestCase):
    """Starting, stopping, and where it is."""

    @run
    async def test_notStarted(self):
        """A server that does not listen issues no tickets, and says what to do."""
        oob = OutOfBandServer(LOCAL, plainHTTP=True)
        error = await self.fails(self.admit(oob), NoOutOfBandServer)
        self.assertIn("start it as a service", str(error))
        self.assertIn("not listening", repr(oob))

    @run
    async def test_stop(self):
        """
        Stopping it fails what waits, closes connections and the port, and can be done
        twice.
        """
        for plain in (True, False):
            oob = await self.oobServer(plain=plain)
            _, exchange = await self.admit(oob)
            url = oob._urlFor("")
            raw = await self.raw(oob)
            await self.turns(lambda oob=oob: oob._factory.connections)
            await oob.stopService()
            await raw.closed
            self.assertEqual([type(e) for e in exchange.errors], [NoOutOfBandServer])
            await self.fails(self.raw(url), Exception)
            await self.fails(self.admit(oob), NoOutOfBandServer)
            await oob.stopService()

    @run
    async def test_stopAtOnce(self):
        """Stopping it before it listens leaves nothing behind."""
        oob = OutOfBandServer(LOCAL, plainHTTP=True)
        oob.startService()
        await oob.stopService()
        self.assertIn("not listening", repr(oob))

    @run
    async def test_restart(self):
        """A server that was stopped can be started again."""
        for plain in (True, False):
            oob = await self.oobServer(plain=plain)
            await oob.stopService()
            oob.startService()
            await oob.whenListening()
            ticket, _ = await self.admit(oob)
            raw = await self.ask(oob, head("PUT", ticket.token, "Content-Length: 0"))
            self.assertEqual(raw.status, 204)

    @run
    async def test_privileged(self):
        """
        A server listens in C{privilegedStartService}, and C{startService} does not
        listen again.
        """
        oob = OutOfBandServer(LOCAL, plainHTTP=True)
        oob.privilegedStartService()
        await oob.whenListening()
        oob.startService()
        self.addCleanup(oob.stopService)
        ticket, _ = await self.admit(oob)
        raw = await self.ask(oob, head("PUT", ticket.token, "Content-Length: 0"))
        self.assertEqual(raw.status, 204)

    @run
    async def test_taken(self):
        """
        A port that is taken fails what waits for it to listen, and is logged
        once.
        """
        first = await self.oobServer(plain=True)
        port = first._urlFor("").rstrip("/").rpartition(":")[2]
        oob = OutOfBandServer(f"tcp:{port}:interface=127.0.0.1", plainHTTP=True)
        waiting = oob.whenListening()
        oob.startService()
        await self.fails(waiting, CannotListenError)
        await self.fails(self.admit(oob), NoOutOfBandServer)
        await oob.stopService()
        self.assertIn("cannot start", self.log.text())

    @run
    async def test_unix(self):
        """A UNIX socket is no place for HTTP, and does not stay open."""
        path = os.path.relpath(self.mktemp())
        oob = OutOfBandServer(f"unix:{path}", plainHTTP=True)
        waiting = oob.whenListening()
        oob.startService()
        await self.fails(waiting, ValueError)
        await oob.stopService()

    def test_badOptions(self):
        """Options that do not go together are refused at once."""
        for args, kw in (
            ((LOCAL,), {"ticketLifetime": 0}),
            ((LOCAL,), {"ticketLifetime": float("nan")}),
            ((LOCAL,), {"maxConnections": 0}),
            ((LOCAL,), {"idleTimeout": -1}),
            ((LOCAL,), {"plainHTTP": True, "certificate": "x"}),
            (("ssl:0",), {"plainHTTP": True}),
            (("ssl:0",), {"certificate": "x"}),
            ((LOCAL,), {"publicURL": "127.0.0.1"}),
            ((LOCAL,), {"publicURL": "ftp://127.0.0.1/"}),
            ((LOCAL,), {"publicURL": "https://127.0.0.1/?x"}),
            (("nonsense:1",), {}),
        ):
            with self.assertRaises(ValueError):
                OutOfBandServer(*args, **kw)

    def test_wrongTypes(self):
        """The server refuses options of a wrong type at once, and names the option."""
        for name, value in (
            ("endpoint", 8443),
            ("endpoint", None),
            ("plainHTTP", "yes"),
            ("certificate", 5),
            ("publicURL", b"https://127.0.0.1/"),
            ("ticketLifetime", "60"),
            ("ticketLifetime", None),
            ("ticketLifetime", True),
            ("maxConnections", 1.5),
            ("maxConnections", None),
            ("idleTimeout", "300"),
        ):
            options = {"endpoint": LOCAL, name: value}
            error = self.assertRaises(TypeError, OutOfBandServer, **options)
            self.assertIn(name, str(error))

    @run
    async def test_endpoint(self):
        """A server takes an endpoint as well as its description."""
        oob = await self.oobServer(serverFromString(reactor, LOCAL), plain=True)
        self.assertIn("http://127.0.0.1:", repr(oob))

    @run
    async def test_url(self):
        """
        Tickets tell clients the URL that was given, or else the address by which they
        reach this machine.
        """
        oob = await self.oobServer(plain=True, publicURL="http://example.org:8080/x")
        ticket, _ = await self.admit(oob, localHost="10.0.0.1")
        self.assertEqual(ticket.url, "http://example.org:8080/x")
        oob = await self.oobServer("tcp:0", plain=True)
        ticket, _ = await self.admit(oob, localHost="10.0.0.1")
        self.assertTrue(ticket.url.startswith("http://10.0.0.1:"))
        ticket, _ = await self.admit(oob)
        self.assertTrue(ticket.url.startswith("http://127.0.0.1:"))
        ticket, _ = await self.admit(oob, localHost="fe80::1")
        self.assertTrue(ticket.url.startswith("http://[fe80::1]:"))

    @run
    async def test_ownTls(self):
        """With an endpoint that does TLS, tickets carry no certificate."""
        made = makeCertificate()
        with open("own.pem", "wb") as file:
            file.write(made.dumpPEM())
        oob = await self.oobServer("ssl:0:interface=127.0.0.1:privateKey=own.pem")
        ticket, _ = await self.admit(oob)
        self.assertEqual((ticket.certificate, ticket.serverName), (b"", ""))
        raw = await self.ask(oob, head("PUT", ticket.token, "Content-Length: 0"))
        self.assertEqual(raw.status, 204)


class SecrecyTests(ServerTestCase):
    """Where tokens are not."""

    async def relay(self, url):
        """Pass the traffic of a plain connection on, and keep a copy."""
        heard: list[bytes] = []

        async def behave(raw):
            other = await self.raw(url)
            raw.dataReceived = lambda data: heard.append(data) or other.write(data)
            if raw.received:
                raw.dataReceived(bytes(raw.received))
            other.dataReceived = lambda data: heard.append(data) or raw.write(data)
            if other.received:
                raw.write(bytes(other.received))
            other.closed.addCallback(lambda _: raw.transport.loseConnection())

        server = await self.rawServer(
            lambda raw: Deferred.fromCoroutine(behave(raw)) and None
        )
        return server, heard

    @run
    async def test_everywhere(self):
        """
        In all that is logged and said, a token is only in one header of the request:
        not in its first line, no log event, no repr, and no error.
        """
        for listens in ("server", "client"):
            tokens: list[bytes] = []
            client, server = await self.pair(listens)
            oob = (
                client.streams.config.outOfBandServer
                or server.streams.config.outOfBandServer
            )
            relay, heard = await self.relay(oob._urlFor(""))
            other = server if listens == "client" else client
            for name in ("_get", "_put"):
                method = getattr(other.streams.config.outOfBandClient, name)

                def detour(ticket, *args, do=method, tokens=tokens, relay=relay):
                    tokens.append(ticket.token)
                    return do(evolve(ticket, url=relay.url), *args)

                setattr(other.streams.config.outOfBandClient, name, detour)
            self.assertEqual(
                await client.callRemote(Put, body=b"abc" * 1000), {"size": 3000}
            )
            # What is refused, too: now the ticket is used.
            (token,) = tokens
            for method in ("GET", "PUT", "DELETE"):
                raw = await self.ask(oob, head(method, token, "Content-Length: 0"))
                self.assertNotIn(token, bytes(raw.received))
            call = client.callRemote(Put, body=[b"abc", 7])
            error = await self.fails(call, Exception)
            self.assertEqual(len(tokens), 2)
            traffic = b"".join(heard)
            for token in tokens:
                lines = [line for line in traffic.split(b"\r\n") if token in line]
                self.assertEqual(lines, [b"Authorization: Bearer " + token])
                for text in (
                    self.log.text(),
                    repr(oob),
                    repr(error),
                    str(error),
                    repr(client),
                    repr(vars(oob)),
                ):
                    self.assertNotIn(token.decode(), text)

    @run
    async def test_failures(self):
        """
        An exception while a request is authorised is answered with 500 and logged with
        its traceback, without the token.
        """
        oob = await self.oobServer(plain=True)
        for length in (3, 0):
            ticket, exchange = await self.admit(oob)
            del exchange.messages
            request = head("PUT", ticket.token, f"Content-Length: {length}")
            raw = await self.ask(oob, request)
            self.assertEqual(raw.status, 500)
            self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
            self.assertNotIn(ticket.token.decode(), self.log.text())

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Streams out of band, end to end: real AMP connections, real HTTP(S) connections."""

from __future__ import annotations

import io
import os
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.protocols import amp
from twisted.python.filepath import FilePath
from twisted.trial.unittest import SynchronousTestCase

from amp_stream import OutOfBand, StreamAMP, StreamConfig
from amp_stream.errors import (
    ConsumerFailed,
    DigestMismatch,
    NoOutOfBandServer,
    SourceFailed,
    StreamError,
    StreamsUnsupported,
    StreamTimedOut,
    TicketExpired,
    TransferInterrupted,
    TransferRefused,
    UntrustedServer,
    UsageError,
)
from amp_stream.outofband import OutOfBandClient, OutOfBandServer, _server
from amp_stream.testing import connectInMemory
from tests.codes import classOf
from tests.commands import PlainServer, Server, Store
from tests.outofband import (
    LIMIT,
    Both,
    Clocked,
    Consumer,
    Get,
    GetChecked,
    GetLimited,
    OutOfBandTestCase,
    Peer,
    Puppet,
    Put,
    PutChecked,
    PutLimited,
    Taker,
    head,
    run,
)

VALUE = bytes(range(251)) * 3000
INVALID = b"STREAM_INVALID_CHUNK"
FACE = ("client", "server")


class Failing:
    """A file that cannot be written."""

    def write(self, data: bytes) -> None:
        raise OSError("no space left")


async def slices(value: bytes):
    for start in range(0, len(value), 100_000):
        yield value[start : start + 100_000]


class Kept(Protocol):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.lost: Deferred[Any] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Any) -> None:
        self.lost.callback(reason.value)


async def byCollecting(body: Any) -> bytes:
    return await body.collect()


async def byWriting(body: Any) -> bytes:
    file = io.BytesIO()
    await body.writeTo(file)
    return file.getvalue()


async def byDelivering(body: Any) -> bytes:
    kept = Kept()
    body.deliverTo(kept)
    reason = await kept.lost
    if not isinstance(reason, ConnectionDone):
        raise reason
    return bytes(kept.data)


async def byIterating(body: Any) -> bytes:
    return b"".join([data async for data in body])


class ArgumentTests(SynchronousTestCase):
    """The declaration."""

    def test_clash(self):
        """Another argument with one of its keys is refused, before or behind it."""
        for key in (b"body.size", b"body.listens", b"body.digest"):
            body, other = (b"body", OutOfBand()), (key, amp.Integer())
            for order in ([other, body], [body, other]):
                command = type("Clash", (amp.Command,), {"arguments": order})
                with self.assertRaises(UsageError) as caught:
                    command.makeArguments({"body": b"abc", key.decode(): 3}, None)
                self.assertIn("OutOfBand", str(caught.exception))

    def test_inListOf(self):
        """A list of them is refused with words that name the argument."""
        listed = amp.ListOf(OutOfBand())
        for refused in (listed.toString, lambda value: listed.fromString(b"\0\x01x")):
            with self.assertRaises(UsageError) as caught:
                refused([b"abc"])
            self.assertIn("OutOfBand", str(caught.exception))

    def test_inAmpList(self):
        """C{OutOfBand} in an C{AmpList} is refused, and the error names it."""
        listed = amp.AmpList([(b"body", OutOfBand())])
        command = type("Listed", (amp.Command,), {"arguments": [(b"all", listed)]})
        pair = connectInMemory(StreamAMP(), Server())
        self.failureResultOf(
            pair.client.callRemote(command, all=[{"body": b"abc"}]), UsageError
        )
        pair.lose()

    def test_noStreamsAtAll(self):
        """
        C{OutOfBand} at a protocol without streams is an error that says what is
        missing.
        """
        box = amp.AmpBox(
            {
                amp.ANSWER: b"1",
                b"body": b"1",
                b"body.listens": b"False",
                b"body.digest": b"False",
            }
        )
        for proto in (amp.AMP(), PlainServer()):
            with self.assertRaises(StreamsUnsupported):
                Put.parseArguments(box.copy(), proto)

    def test_streamReceiver(self):
        """The mix-in for a stock protocol is not enough, and the error says so."""
        box = amp.AmpBox(
            {
                amp.ANSWER: b"1",
                b"body": b"1",
                b"body.listens": b"False",
                b"body.digest": b"False",
            }
        )
        with self.assertRaises(StreamsUnsupported) as caught:
            Put.parseArguments(box, PlainServer())
        self.assertIn("StreamAMP", str(caught.exception))

    def test_malformed(self):
        """
        An announcement without its keys, or with others, is refused, and the
        connection stays up.
        """
        pair = connectInMemory(amp.AMP(), Peer())
        good = {"body": b"1", "body.listens": b"True", "body.digest": b"False"}
        for change in (
            {"body.listens": b"yes"},
            {"body.listens": b""},
            {"body.digest": b"true"},
            {"body": b"-1"},
            {"body": b"x"},
            {"body.size": b"x"},
        ):
            self.assertRefused(pair, {**good, **change})
        for missing in ("body.listens", "body.digest"):
            left = {key: value for key, value in good.items() if key != missing}
            self.assertRefused(pair, left)
        self.assertIsNotNone(pair.client.transport)
        pair.lose()

    def assertRefused(self, pair, box):
        """A box is answered with an error."""
        errors = []
        pair.client.callRemoteString(b"Put", **box).addErrback(
            lambda failure: errors.append(failure.value.errorCode)
        )
        pair.flush()
        self.assertEqual(errors, [INVALID])

    def test_wire(self):
        """
        The announcement has the number, the size, who listens, and whether there
        will be a digest.
        """
        pair = connectInMemory(
            Peer(config=StreamConfig(version=1)), Peer(config=StreamConfig(version=1))
        )
        pair.client.callRemote(PutChecked, body=b"abc").addErrback(lambda _: None)
        box = next(box for box in pair.sent(pair.client) if b"body" in box)
        del box[amp.ASK]
        self.assertEqual(
            box,
            {
                amp.COMMAND: b"PutChecked",
                b"body": b"0",
                b"body.size": b"3",
                b"body.listens": b"False",
                b"body.digest": b"True",
            },
        )
        pair.lose()


class TransferTests(OutOfBandTestCase):
    """Everything that goes well."""

    timeout = 60

    def sources(self) -> list[Any]:
        """Make a source of each kind."""
        path = FilePath(self.mktemp())
        path.setContent(VALUE)
        return [
            lambda: VALUE,
            lambda: bytearray(VALUE),
            lambda: io.BytesIO(VALUE),
            path.open,
            lambda: path,
            lambda: producer(VALUE),
            lambda: producer(VALUE, known=False),
            lambda: [VALUE[:10], b"", VALUE[10:400_000], VALUE[400_000:]],
            lambda: slices(VALUE),
        ]

    async def everyWay(self, listens, plain):
        client, server = await self.pair(listens, plain)
        ways = [byCollecting, byWriting, byDelivering, byIterating]
        for number, source in enumerate(self.sources()):
            for take in (ways[number % 4], ways[(number + 2) % 4]):
                await self.oneSource(client, server, source, take)
        for take in ways:
            await self.oneSource(client, server, lambda: VALUE, take)
        await self.works(client)

    async def oneSource(self, client, server, source, take):
        for put, get in ((Put, Get), (PutChecked, GetChecked)):
            taken: list[bytes] = []

            def keep(body, take=take, taken=taken):
                async def kept():
                    taken.append(await take(body))
                    return {"size": len(taken[0])}

                return Deferred.fromCoroutine(kept())

            server.takeBody = keep
            answer = await client.callRemote(put, body=source())
            self.assertEqual(answer, {"size": len(VALUE)})
            self.assertEqual(taken, [VALUE])
            server.value = source()
            answer = await client.callRemote(get)
            self.assertEqual(await take(answer["body"]), VALUE)

    @run
    async def test_serverListens(self):
        """
        The called side listens: arguments are put there, responses got from
        there.
        """
        await self.everyWay("server", plain=False)

    @run
    async def test_clientListens(self):
        """
        The calling side listens: arguments are got from there, responses put
        there.
        """
        await self.everyWay("client", plain=False)

    @run
    async def test_serverListensPlain(self):
        """
        The called side listens for plain HTTP: arguments are put, responses are
        got.
        """
        await self.everyWay("server", plain=True)

    @run
    async def test_clientListensPlain(self):
        """
        The calling side listens for plain HTTP: arguments are got, responses
        are put.
        """
        await self.everyWay("client", plain=True)

    @run
    async def test_bothListen(self):
        """If both listen, the receiver's server takes the bytes."""
        client, server = await self.pair("both", plain=False)
        server.value = VALUE
        self.assertEqual(
            await client.callRemote(PutChecked, body=VALUE), {"size": len(VALUE)}
        )
        answer = await client.callRemote(GetChecked)
        self.assertEqual(await answer["body"].collect(), VALUE)

    @run
    async def test_empty(self):
        """
        A value of no bytes crosses, whoever listens, whether or not its size is
        known.
        """
        for listens in FACE:
            for plain in (True, False):
                client, server = await self.pair(listens, plain)
                for source in (bytes, list, io.BytesIO):
                    for put, get in ((Put, Get), (PutChecked, GetChecked)):
                        answer = await client.callRemote(put, body=source())
                        self.assertEqual(answer, {"size": 0})
                        server.value = source()
                        answer = await client.callRemote(get)
                        self.assertEqual(await answer["body"].collect(), b"")

    @run
    async def test_size(self):
        """A size that is known is known to the receiver before the first byte."""
        for listens in FACE:
            client, server = await self.pair(listens)
            server.value = VALUE
            body = (await client.callRemote(Get))["body"]
            self.assertEqual((body.size, body.received), (len(VALUE), 0))
            self.assertEqual(await body.collect(), VALUE)

    @run
    async def test_twoArguments(self):
        """A call can have two each way."""
        for listens in FACE:
            client, _ = await self.pair(listens, plain=False)
            answer = await client.callRemote(Both, left=VALUE, right=[b"abc"])
            got = await gatherResults(
                [answer["left"].collect(), answer["right"].collect()]
            )
            self.assertEqual(got, [b"abc", VALUE])

    @run
    async def test_many(self):
        """
        Fifty at once, streams in band and small calls between them: each has its
        own bytes.
        """
        for listens in FACE:
            client, server = await self.pair(listens, plain=False)
            values = [os.urandom(20_000 + 3_000 * number) for number in range(50)]
            got: dict[int, bytes] = {}

            def keep(body, got=got):
                number = len(got)
                got[number] = b""

                def kept(data):
                    got[number] = data
                    return {"size": len(data)}

                return body.collect().addCallback(kept)

            server.takeBody = keep
            calls = []
            for number, value in enumerate(values):
                calls.append(client.callRemote(PutChecked, body=value))
                calls.append(client.callRemote(Store, name=str(number), body=value))
            for _ in range(20):
                await self.works(client)
            await gatherResults(calls, consumeErrors=True)
            self.assertEqual(list(got.values()), values)
            self.assertEqual(list(server.stored.values()), values)

    @run
    async def test_callsBetween(self):
        """A small call is answered while a transfer stands still."""
        for listens in FACE:
            client, server = await self.pair(listens)
            consumer = self.hold(server)
            call = client.callRemote(Put, body=bytes(30_000_000))
            await server.arrived
            await self.turns(lambda consumer=consumer: consumer[0].received)
            for _ in range(10):
                await self.works(client)
            consumer[0].producer.resumeProducing()
            self.assertEqual(await call, {"size": 30_000_000})

    def hold(self, server):
        """Let a server take bytes only when it is told to."""
        return holdBytes(server)

    @run
    async def test_notInBand(self):
        """The bytes do not cross the AMP connection."""
        for listens in FACE:
            client, server = await self.pair(listens)
            written = []
            write = server.transport.protocol.dataReceived
            server.transport.protocol.dataReceived = (
                lambda data, write=write, written=written: (
                    written.append(data) or write(data)
                )
            )
            await client.callRemote(PutChecked, body=bytes(1_000_000))
            self.assertLess(len(b"".join(written)), 10_000)

    @run
    async def test_backPressure(self):
        """
        A consumer that pauses stops the sender, and a bounded number of bytes is on
        the way; when it goes on, so does the sender.
        """
        for listens in FACE:
            for plain in (True, False):
                client, server = await self.pair(listens, plain)
                consumer = holdBytes(server)
                read = [0]

                def source(read=read):
                    for _ in range(600):
                        read[0] += 65_536
                        yield bytes(65_536)

                call = client.callRemote(Put, body=source())
                body = await server.arrived
                await self.turns(lambda consumer=consumer: consumer[0].received)
                most = await self.settled(lambda read=read: read[0])
                self.assertLess(most, 30_000_000)
                # What is not in the kernel, but in our memory.
                self.assertLess(body.received, 2_000_000)
                consumer[0].producer.resumeProducing()
                self.assertEqual(await call, {"size": 600 * 65_536})

    @run
    async def test_inTheResponse(self):
        """A caller that does not take a response lets its bytes wait at the sender."""
        for listens in FACE:
            client, server = await self.pair(listens)
            read = [0]

            def source(read=read):
                for _ in range(600):
                    read[0] += 65_536
                    yield bytes(65_536)

            server.value = source()
            body = (await client.callRemote(Get))["body"]
            consumer = Consumer()
            written = body.writeTo(consumer)
            await self.turns(lambda consumer=consumer: consumer.received)
            self.assertLess(await self.settled(lambda read=read: read[0]), 30_000_000)
            self.assertLess(body.received, 2_000_000)
            consumer.producer.resumeProducing()
            self.assertEqual(await written, 600 * 65_536)

    @run
    async def test_enough(self):
        """
        A receiver that has enough of a short body closes its HTTP connection, and
        nothing goes wrong at the sender.
        """
        for plain in (True, False):
            client, server = await self.pair(plain=plain)
            server.value = b"x" * 3000
            for _ in range(5):
                body = (await client.callRemote(Get))["body"]
                async for _piece in body:
                    break
                body.abort(b"ENOUGH")
            connections = server.streams.config.outOfBandServer._factory.connections
            await self.turns(lambda connections=connections: not connections)
            await self.works(client)

    @run
    async def test_deaf(self):
        """
        A client that has got all bytes, and goes away without having heard so over AMP,
        leaves no HTTP connection behind.
        """
        for plain in (True, False):
            client, server = await self.pair(plain=plain)
            server.value = b"x" * 3_000_000
            body = (await client.callRemote(Get))["body"]
            async for _piece in body:
                client.transport.pauseProducing()
                if body.received == 3_000_000:
                    break
            client.transport.abortConnection()
            connections = server.streams.config.outOfBandServer._factory.connections
            await self.turns(lambda connections=connections: not connections)

    @run
    async def test_untouched(self):
        """For a stream that its responder never touches, no ticket is issued."""
        for listens in FACE:
            client, server = await self.pair(listens)
            owner = client if listens == "client" else server
            issued = []
            issue = owner.streams.config.outOfBandServer._issue
            owner.streams.config.outOfBandServer._issue = (
                lambda *a, issue=issue, issued=issued, **k: (
                    issued.append(a),
                    issue(*a, **k),
                )[1]
            )
            server.takeBody = lambda body: {"size": 7}
            self.assertEqual(await client.callRemote(Put, body=VALUE), {"size": 7})
            await self.works(client)
            self.assertEqual(issued, [])


def producer(value: bytes, known: bool = True) -> Any:
    """A body producer."""
    from twisted.web.client import FileBodyProducer
    from twisted.web.iweb import UNKNOWN_LENGTH

    made = FileBodyProducer(io.BytesIO(value))
    if not known:
        made.length = UNKNOWN_LENGTH
    return made


def holdBytes(server: Any) -> list[Any]:
    """Let a server take bytes only when it is told to."""
    consumer = Consumer()

    def take(body):
        return body.writeTo(consumer).addCallback(lambda size: {"size": size})

    server.takeBody = take
    return [consumer]


class FailureTests(OutOfBandTestCase):
    """
    Everything that does not: both ends fail, nothing incomplete is delivered, and the
    AMP connection stays up.
    """

    async def failsEverywhere(self, client, server, call, error):
        """A call with an argument fails at both ends."""
        failed = await self.fails(call, error)
        ended = await server.ended
        self.assertIsInstance(ended, error)
        await self.works(client)
        return failed

    @run
    async def test_nobodyListens(self):
        """
        If neither side listens, the call fails, and the error says what to
        configure.
        """
        client, server = await self.pair("none")
        server.value = io.BytesIO(VALUE)
        for call in (client.callRemote(Put, body=VALUE), client.callRemote(Get)):
            error = await self.fails(call, NoOutOfBandServer)
            self.assertIn("outOfBandServer=OutOfBandServer(", str(error))
            self.assertIn("--oob-listen", str(error))
        await self.turns(lambda: server.value.closed)
        self.assertEqual(server.bodies, [])
        self.assertEqual(
            [type(end) for end in self.log.ends()], [NoOutOfBandServer] * 2
        )
        await self.works(client)

    @run
    async def test_notStarted(self):
        """
        A server that has not been started cannot be used, and the error says what
        to do.
        """
        for name in FACE:
            oob = OutOfBandServer("tcp:0:interface=127.0.0.1", plainHTTP=True)
            ends = {"client": None, "server": None}
            ends[name] = {"outOfBandServer": oob}
            client, server = await self.pair("none", **ends)
            call = client.callRemote(Put, body=VALUE)
            error = await self.failsEverywhere(client, server, call, NoOutOfBandServer)
            self.assertIn("start it as a service", str(error))

    @run
    async def test_expired(self):
        """A ticket that nobody uses in time fails both ends, and is of no use then."""
        for listens in FACE:
            clock = Clock()
            taker = Taker()
            other = {"outOfBandClient": taker}
            client, server = await self.pair(
                listens,
                oob={"reactor": Clocked(clock), "ticketLifetime": 7},
                **{("server" if listens == "client" else "client"): other},
            )
            call = client.callRemote(Put, body=VALUE)
            ticket = await taker.ticket
            self.assertEqual(ticket.lifetime, 7)
            clock.advance(6.9)
            await self.works(client)
            self.assertFalse(call.called)
            clock.advance(0.2)
            await self.failsEverywhere(client, server, call, TicketExpired)
            request = head(ticket.method.decode(), ticket.token)
            raw = await self.ask(ticket.url, request)
            self.assertEqual(raw.status, 401)

    @run
    async def test_defaultLifetime(self):
        """
        A ticket can be used for a minute where nobody says otherwise, and no
        longer.
        """
        clock = Clock()
        taker = Taker()
        client, server = await self.pair(
            oob={"reactor": Clocked(clock)}, client={"outOfBandClient": taker}
        )
        call = client.callRemote(Put, body=VALUE)
        ticket = await taker.ticket
        self.assertEqual(ticket.lifetime, 60)
        clock.advance(60)
        await self.failsEverywhere(client, server, call, TicketExpired)

    @run
    async def test_wrongMethod(self):
        """
        A request with another method uses the ticket up, and both ends fail at
        once.
        """
        for listens, method in (("server", "GET"), ("client", "PUT")):
            taker = Taker()
            other = "server" if listens == "client" else "client"
            client, server = await self.pair(
                listens, **{other: {"outOfBandClient": taker}}
            )
            call = client.callRemote(Put, body=VALUE)
            ticket = await taker.ticket
            request = head(method, ticket.token, "Content-Length: 0")
            raw = await self.ask(ticket.url, request)
            self.assertEqual(raw.status, 405)
            await self.failsEverywhere(client, server, call, TransferRefused)

    async def tooMuch(self, command, value, *lines, body=b""):
        """Make a PUT that is longer than it may be."""
        taker = Taker()
        client, server = await self.pair(client={"outOfBandClient": taker})
        call = client.callRemote(command, body=value)
        ticket = await taker.ticket
        raw = await self.raw(ticket.url)
        raw.write(head("PUT", ticket.token, *lines))
        raw.write(body)
        await raw.until(b"\r\n\r\n")
        self.assertEqual(raw.status, 413)
        self.assertNotIn(b"100 Continue", raw.received)
        return client, server, call

    @run
    async def test_declaredTooLong(self):
        """
        A request that says that it is too long is refused before its body, and both
        ends fail.
        """
        client, server, call = await self.tooMuch(
            PutLimited, [VALUE], f"Content-Length: {LIMIT + 1}", "Expect: 100-continue"
        )
        await self.failsEverywhere(client, server, call, classOf(b"STREAM_TOO_LONG"))

    @run
    async def test_chunkedTooLong(self):
        """
        A chunked body that turns out to be longer than its receiver allows is refused,
        and both ends fail.
        """
        client, server, call = await self.tooMuch(
            PutLimited,
            [VALUE],
            "Transfer-Encoding: chunked",
            body=b"%x\r\n%s\r\n" % (LIMIT + 1, bytes(LIMIT + 1)),
        )
        await self.failsEverywhere(client, server, call, classOf(b"STREAM_TOO_LONG"))

    @run
    async def test_chunkedLongerThanKnown(self):
        """
        A chunked body that turns out to be longer than announced is refused, and both
        ends fail.
        """
        client, server, call = await self.tooMuch(
            Put,
            VALUE,
            "Transfer-Encoding: chunked",
            body=b"%x\r\n%s\r\n" % (len(VALUE) + 1, bytes(len(VALUE) + 1)),
        )
        await self.failsEverywhere(client, server, call, StreamError)

    @run
    async def test_announcedTooLong(self):
        """
        A stream that was announced with too many bytes fails at both ends, and no
        ticket is issued.
        """
        for listens in FACE:
            client, server = await self.pair(listens)
            call = client.callRemote(PutLimited, body=VALUE)
            await self.fails(call, classOf(b"STREAM_TOO_LONG"))
            server.value = VALUE
            await self.fails(client.callRemote(GetLimited), classOf(b"STREAM_TOO_LONG"))
            await self.works(client)

    @run
    async def test_longerThanAllowed(self):
        """
        A stream of unknown size that has too many bytes fails at both ends, whoever
        listens.
        """
        for listens in FACE:
            for plain in (True, False):
                client, server = await self.pair(listens, plain)
                call = client.callRemote(PutLimited, body=[VALUE])
                await self.failsEverywhere(
                    client, server, call, classOf(b"STREAM_TOO_LONG")
                )
                server.value = [VALUE]
                body = (await client.callRemote(GetLimited))["body"]
                await self.fails(body.collect(), classOf(b"STREAM_TOO_LONG"))
                await self.works(client)

    @run
    async def test_collectTooMuch(self):
        """A consumer that wants fewer bytes than there are ends it at both ends."""
        for listens in FACE:
            client, server = await self.pair(listens)
            server.value = [VALUE]
            body = (await client.callRemote(Get))["body"]
            await self.fails(body.collect(1000), classOf(b"STREAM_TOO_LONG"))
            await self.works(client)

    @run
    async def test_declaredTooShort(self):
        """A request that says that it is too short is refused, and both ends fail."""
        taker = Taker()
        client, server = await self.pair(client={"outOfBandClient": taker})
        call = client.callRemote(Put, body=VALUE)
        ticket = await taker.ticket
        raw = await self.ask(
            ticket.url, head("PUT", ticket.token, f"Content-Length: {len(VALUE) - 1}")
        )
        self.assertEqual(raw.status, 400)
        await self.failsEverywhere(client, server, call, StreamError)

    @run
    async def test_chunkedTooShort(self):
        """
        A chunked body that ends before the stream does is not delivered as
        complete.
        """
        taker = Taker()
        client, server = await self.pair(client={"outOfBandClient": taker})
        call = client.callRemote(Put, body=VALUE)
        ticket = await taker.ticket
        raw = await self.ask(
            ticket.url,
            head("PUT", ticket.token, "Transfer-Encoding: chunked")
            + b"3\r\nabc\r\n0\r\n\r\n",
        )
        self.assertGreaterEqual(raw.status, 400)
        await self.failsEverywhere(client, server, call, StreamError)

    @run
    async def test_cutUpload(self):
        """
        A request that breaks off, however it does, fails both ends with the
        reason.
        """
        for plain in (True, False):
            for lines in (
                f"Content-Length: {len(VALUE)}",
                "Transfer-Encoding: chunked",
            ):
                for how in ("loseConnection", "abortConnection"):
                    taker = Taker()
                    client, server = await self.pair(
                        plain=plain, client={"outOfBandClient": taker}, hasty=True
                    )
                    known = lines.startswith("Content")
                    call = client.callRemote(Put, body=VALUE if known else [VALUE])
                    ticket = await taker.ticket
                    raw = await self.raw(ticket.url)
                    raw.write(head("PUT", ticket.token, lines))
                    raw.write(b"abc" if known else b"3\r\nabc\r\n")
                    body = await server.arrived
                    await self.turns(lambda body=body: body.received == 3)
                    getattr(raw.transport, how)()
                    await self.failsEverywhere(
                        client, server, call, TransferInterrupted
                    )

    @run
    async def test_cutDownload(self):
        """
        A client that leaves in the middle of a response fails both ends with the
        reason.
        """
        for plain in (True, False):
            for how in ("loseConnection", "abortConnection"):
                taker = Taker()
                client, server = await self.pair(
                    "client", plain, server={"outOfBandClient": taker}, hasty=True
                )
                call = client.callRemote(Put, body=plenty())
                ticket = await taker.ticket
                raw = await self.raw(ticket.url)
                raw.write(head("GET", ticket.token))
                await raw.until(b"\r\n\r\n")
                getattr(raw.transport, how)()
                await self.failsEverywhere(client, server, call, TransferInterrupted)

    @run
    async def test_digest(self):
        """
        Bytes that are not those that were sent fail both ends, and are not
        delivered as complete.
        """
        for value in (VALUE, [VALUE]):
            taker = Taker()
            client, server = await self.pair(client={"outOfBandClient": taker})
            call = client.callRemote(PutChecked, body=value)
            ticket = await taker.ticket
            taker.carrier.begin(Drain())
            raw = await self.ask(
                ticket.url,
                head("PUT", ticket.token, f"Content-Length: {len(VALUE)}")
                + bytes(len(VALUE)),
            )
            await self.failsEverywhere(client, server, call, DigestMismatch)
            self.assertNotEqual(raw.status, 204)

    @run
    async def test_digestOfResponse(self):
        """A response whose bytes were changed on the way fails at both ends."""
        for plain in (True, False):
            from amp_stream.outofband._certificates import selfSigned

            identity = None if plain else selfSigned(["127.0.0.1"])
            other = await self.rawServer(
                lambda raw: raw.until(b"\r\n\r\n").addCallback(
                    lambda _: raw.write(
                        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabd"
                    )
                ),
                identity,
            )
            taker = Taker()
            client, server = await self.pair("server", plain)
            taker = client.streams.config.outOfBandClient
            get = taker._get

            def detour(ticket, receiver, get=get, other=other, identity=identity):
                from attrs import evolve

                certificate = b"" if identity is None else identity.certificate
                get(
                    evolve(
                        ticket, url=other.url, certificate=certificate, serverName=""
                    ),
                    receiver,
                )

            taker._get = detour
            server.value = b"abc"
            body = (await client.callRemote(GetChecked))["body"]
            collected = body.collect()
            # The real server has not sent anything: end the stream as if it had.
            await other.connected
            carrier = server.streams._multiplexer.carrier(0)
            carrier.begin(Drain())
            await self.fails(collected, DigestMismatch)
            await self.works(client)
            await self.turns(self.log.ends)
            self.assertIsInstance(self.log.ends()[-1], DigestMismatch)

    @run
    async def test_connectionLost(self):
        """
        When the AMP connection is lost, both ends fail and the HTTP connection is
        closed, whoever listens.
        """
        for listens in FACE:
            for plain in (True, False):
                client, server = await self.pair(listens, plain)
                holdBytes(server)
                oob = (
                    client.streams.config.outOfBandServer
                    or server.streams.config.outOfBandServer
                )
                call = client.callRemote(Put, body=bytes(20_000_000))
                body = await server.arrived
                await self.turns(lambda body=body: body.received > 0)
                self.assertEqual(len(oob._factory.connections), 1)
                client.transport.abortConnection()
                await self.fails(call, Exception)
                self.assertIsInstance(await server.ended, Exception)
                await self.turns(lambda oob=oob: not oob._factory.connections)

    @run
    async def test_connectionLostBefore(self):
        """A ticket is of no use once its AMP connection is lost."""
        for listens in FACE:
            taker = Taker()
            other = "server" if listens == "client" else "client"
            client, server = await self.pair(
                listens, **{other: {"outOfBandClient": taker}}
            )
            call = client.callRemote(Put, body=VALUE)
            ticket = await taker.ticket
            client.transport.abortConnection()
            await self.fails(call, Exception)
            await server.ended
            await self.refused(ticket)

    async def refused(self, ticket):
        """A ticket is of no use any more."""
        request = head(ticket.method.decode(), ticket.token, "Content-Length: 0")
        raw = await self.ask(ticket.url, request)
        self.assertIn(raw.status, (401, 403))

    @run
    async def test_cancelledBefore(self):
        """A ticket is of no use once its call is cancelled."""
        for listens in FACE:
            taker = Taker()
            other = "server" if listens == "client" else "client"
            client, server = await self.pair(
                listens, **{other: {"outOfBandClient": taker}}
            )
            call = client.callRemote(Put, body=VALUE)
            ticket = await taker.ticket
            call.cancel()
            await self.fails(call, Exception)
            self.assertIsInstance(await server.ended, StreamError)
            await self.works(client)
            await self.refused(ticket)

    @run
    async def test_responderRaises(self):
        """A ticket is of no use once the responder has failed."""
        for listens in FACE:
            taker = Taker()
            other = "server" if listens == "client" else "client"
            client, server = await self.pair(
                listens, **{other: {"outOfBandClient": taker}}
            )
            held: Deferred[None] = Deferred()

            def take(body, held=held):
                body.collect().addErrback(lambda _: None)
                return held

            server.takeBody = take
            call = client.callRemote(Put, body=VALUE)
            ticket = await taker.ticket
            held.errback(ValueError("no"))
            await self.fails(call, ValueError)
            await self.works(client)
            await self.refused(ticket)

    async def endsInTheMiddle(self, end, error):
        """
        Something ends a transfer that has begun: the call fails, both ends do, and
        the HTTP connection is closed.
        """
        for listens in FACE:
            for plain in (True, False):
                client, server = await self.pair(listens, plain, hasty=True)
                holdBytes(server)
                oob = (
                    client.streams.config.outOfBandServer
                    or server.streams.config.outOfBandServer
                )
                stopped: list[int] = []

                def pieces(stopped=stopped):
                    try:
                        yield from plenty()
                    finally:
                        stopped.append(1)

                call = client.callRemote(Put, body=pieces())
                body = await server.arrived
                await self.turns(lambda body=body: body.received > 0)
                end(call, body)
                await self.fails(call, error)
                self.assertIsInstance(await server.ended, StreamError)
                await self.turns(lambda oob=oob: not oob._factory.connections)
                await self.turns(lambda stopped=stopped: stopped)
                await self.works(client)

    @run
    async def test_cancelled(self):
        """Cancelling a call cuts its transfer."""
        await self.endsInTheMiddle(lambda call, body: call.cancel(), Exception)

    @run
    async def test_aborted(self):
        """A receiver that wants no more cuts the transfer."""
        await self.endsInTheMiddle(lambda call, body: body.abort(), StreamError)

    @run
    async def test_consumerFails(self):
        """A consumer that cannot take the bytes ends the transfer at both ends."""
        for listens in FACE:
            client, server = await self.pair(listens)
            server.takeBody = lambda body: body.writeTo(Failing()).addErrback(
                lambda failure: failure.trap(OSError) and {"size": 0}
            )
            call = client.callRemote(Put, body=bytes(10_000_000))
            self.assertEqual(await call, {"size": 0})
            server.value = bytes(10_000_000)
            body = (await client.callRemote(Get))["body"]
            await self.fails(body.writeTo(Failing()), OSError)
            await self.works(client)
            await self.turns(lambda: len(self.log.ends()) >= 2)
            for end in self.log.ends():
                self.assertIsInstance(end, ConsumerFailed)
            self.log.events.clear()

    @run
    async def test_sourceFails(self):
        """
        A source that fails before or after its first byte fails both ends, whoever
        listens, and nothing is complete.
        """
        for listens in FACE:
            for plain in (True, False):
                for length in (0, 5, 20):
                    client, server = await self.pair(listens, plain)

                    def source(length=length):
                        for _ in range(length):
                            yield bytes(100_000)
                        raise OSError("the disk")

                    call = client.callRemote(Put, body=source())
                    await self.failsEverywhere(client, server, call, SourceFailed)
                    server.value = source()
                    body = (await client.callRemote(Get))["body"]
                    await self.fails(body.collect(), SourceFailed)
                    await self.works(client)

    @run
    async def test_cancelledResponse(self):
        """Cancelling the Deferred of a response cuts the transfer at both ends."""
        for listens in FACE:
            for plain in (True, False):
                client, server = await self.pair(listens, plain, hasty=True)
                oob = (
                    client.streams.config.outOfBandServer
                    or server.streams.config.outOfBandServer
                )
                stopped: list[int] = []

                def pieces(stopped=stopped):
                    try:
                        yield from plenty()
                    finally:
                        stopped.append(1)

                server.value = pieces()
                body = (await client.callRemote(Get))["body"]
                collected = body.collect()
                await self.turns(lambda body=body: body.received > 0)
                collected.cancel()
                await self.fails(collected, CancelledError)
                await self.turns(lambda stopped=stopped: stopped)
                await self.turns(lambda oob=oob: not oob._factory.connections)
                await self.works(client)

    @run
    async def test_idle(self):
        """
        A transfer in which nothing moves is given up by the limits of its stream,
        and its HTTP connection is closed.
        """
        taker = Taker()
        clock = Clock()
        client, server = await self.pair(
            client={"outOfBandClient": taker},
            server={"reactor": clock, "streamTimeout": 40},
        )
        call = client.callRemote(Put, body=VALUE)
        ticket = await taker.ticket
        raw = await self.raw(ticket.url)
        raw.write(head("PUT", ticket.token, f"Content-Length: {len(VALUE)}") + b"abc")
        body = await server.arrived
        await self.turns(lambda: body.received == 3)
        clock.pump([10] * 6)
        await self.failsEverywhere(client, server, call, StreamTimedOut)
        await raw.until(b"\r\n\r\n")
        self.assertEqual(raw.status, 409)

    @run
    async def test_tooManyTickets(self):
        """
        More tickets than a server keeps are an error for their calls, and for no
        others.
        """
        taker = Taker()
        self.patch(_server, "MAX_TICKETS", 1)
        client, _ = await self.pair(client={"outOfBandClient": taker})
        first = client.callRemote(Put, body=VALUE)
        ticket = await taker.ticket
        await self.fails(client.callRemote(Put, body=VALUE), classOf(b"OOB_TICKETS"))
        self.assertFalse(first.called)
        first.cancel()
        await self.fails(first, Exception)
        await self.works(client)
        await self.refused(ticket)
        taker.ticket = Deferred()
        second = client.callRemote(Put, body=VALUE)
        await taker.ticket
        second.cancel()
        await self.fails(second, Exception)

    @run
    async def test_stopService(self):
        """
        A server that is stopped fails the streams whose tickets wait, and closes
        the connections.
        """
        for listens in FACE:
            taker = Taker()
            other = "server" if listens == "client" else "client"
            client, server = await self.pair(
                listens, **{other: {"outOfBandClient": taker}}
            )
            oob = (
                client.streams.config.outOfBandServer
                or server.streams.config.outOfBandServer
            )
            call = client.callRemote(Put, body=VALUE)
            await taker.ticket
            await oob.stopService()
            await self.failsEverywhere(client, server, call, NoOutOfBandServer)

    @run
    async def test_stopServiceInTheMiddle(self):
        """Transfers that have begun are cut then."""
        for listens in FACE:
            for plain in (True, False):
                client, server = await self.pair(listens, plain, hasty=True)
                holdBytes(server)
                oob = (
                    client.streams.config.outOfBandServer
                    or server.streams.config.outOfBandServer
                )
                call = client.callRemote(Put, body=bytes(20_000_000))
                body = await server.arrived
                await self.turns(lambda body=body: body.received > 0)
                await oob.stopService()
                await self.failsEverywhere(client, server, call, TransferInterrupted)

    @run
    async def test_restart(self):
        """A server that was stopped can be started again, and used."""
        for plain in (True, False):
            client, server = await self.pair("server", plain)
            await client.callRemote(Put, body=VALUE)
            await server.streams.config.outOfBandServer.stopService()
            await self.fails(client.callRemote(Put, body=VALUE), NoOutOfBandServer)
            server.streams.config.outOfBandServer.startService()
            await server.streams.config.outOfBandServer.whenListening()
            answer = await client.callRemote(Put, body=VALUE)
            self.assertEqual(answer, {"size": len(VALUE)})

    @run
    async def test_otherHost(self):
        """
        A ticket that leads elsewhere than to the peer is refused before anything
        connects, unless that host is allowed.
        """
        for listens in FACE:
            decoy = await self.rawServer()
            other = "server" if listens == "client" else "client"
            port = decoy.url.rpartition(":")[2].strip("/")
            url = f"http://localhost:{port}/"
            client, server = await self.pair(listens, oob={"publicURL": url})
            call = client.callRemote(Put, body=VALUE)
            error = await self.failsEverywhere(client, server, call, UntrustedServer)
            self.assertIn("allowedHosts=['localhost']", str(error))
            self.assertEqual(decoy.connections, [])
            allowed = {
                "outOfBandClient": OutOfBandClient(
                    allowPlainHTTP=True, allowedHosts=["localhost"]
                )
            }
            client, server = await self.pair(
                listens, oob={"publicURL": url}, hasty=True, **{other: allowed}
            )
            call = client.callRemote(Put, body=VALUE)
            raw = await decoy.connected
            raw.transport.abortConnection()
            await self.failsEverywhere(client, server, call, TransferInterrupted)

    @run
    async def test_plainRefused(self):
        """A ticket for plain HTTP is refused, unless that is allowed by name."""
        for listens in FACE:
            other = "server" if listens == "client" else "client"
            refusing = {"outOfBandClient": OutOfBandClient()}
            client, server = await self.pair(listens, **{other: refusing})
            call = client.callRemote(Put, body=VALUE)
            error = await self.failsEverywhere(client, server, call, UntrustedServer)
            self.assertIn("OutOfBandClient(allowPlainHTTP=True)", str(error))
            oob = (
                client.streams.config.outOfBandServer
                or server.streams.config.outOfBandServer
            )
            self.assertEqual(len(oob._factory.connections), 0)

    @run
    async def test_noTlsByDefault(self):
        """Without an option, the server speaks TLS."""
        oob = await self.oobServer()
        self.assertTrue(oob._urlFor("").startswith("https://127.0.0.1:"))


def plenty():
    """More bytes than any buffer takes."""
    for _ in range(3000):
        yield bytes(65_536)


class Drain:
    """A sink that nothing comes out of."""

    transport = None

    def start(self, size: int | None) -> None:
        pass

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        pass

    def write(self, data: bytes) -> None:
        pass

    def finish(self) -> None:
        pass

    def abort(self) -> None:
        pass


class WireTests(OutOfBandTestCase):
    """Peers that do not keep to the rules, on the AMP connection."""

    async def puppet(self, **server):
        """Connect a puppet to a peer that listens."""
        server.setdefault("outOfBandServer", await self.oobServer(plain=True))
        puppet, peer = Puppet(), Peer(config=StreamConfig(**server))
        await self.tcp(puppet, peer)
        return puppet, peer

    def announce(self, puppet, id=b"7", command=b"Put", **more):
        """Announce a stream out of band."""
        box = {"body": id, "body.listens": b"False", "body.digest": b"False", **more}
        call = puppet.tell(command, **box)
        call.addErrback(lambda failure: failure.value)
        return call

    async def refusedWith(self, call, *codes):
        """A box is answered with an error."""
        error = await self.fails(call, amp.RemoteAmpError)
        self.assertIn(error.errorCode, codes)
        return error

    async def upload(self, ticket, body):
        """Use a ticket as it is meant to be used."""
        raw = await self.ask(
            ticket["url"].decode(),
            head("PUT", ticket["token"], f"Content-Length: {len(body)}") + body,
        )
        return raw.status

    @run
    async def test_peer(self):
        """
        A peer of another make needs no more than what is documented to send a
        stream.
        """
        puppet, _ = await self.puppet()
        call = self.announce(puppet)
        ticket = await puppet.ticket
        self.assertEqual(ticket["id"], 7)
        self.assertEqual(ticket["method"], b"PUT")
        puppet.tell(
            b"stream.Data", id=b"7", offset=b"3", data=b"", fin=b"True"
        ).addErrback(lambda _: None)
        status = await self.upload(ticket, b"abc")
        self.assertEqual(status, 204)
        self.assertEqual((await call)[b"size"], b"3")

    @run
    async def test_bytesInBand(self):
        """
        Chunks with bytes of a stream whose bytes travel out of band fail it, and
        another goes on.
        """
        puppet, _ = await self.puppet()
        call = self.announce(puppet)
        await puppet.ticket
        puppet.ticket = Deferred()
        other = self.announce(puppet, b"9")
        ticket = await puppet.ticket
        chunk = puppet.tell(b"stream.Data", id=b"7", offset=b"0", data=b"abc")
        await self.refusedWith(chunk, INVALID)
        self.assertEqual((await call).errorCode, INVALID)
        puppet.tell(
            b"stream.Data", id=b"9", offset=b"3", data=b"", fin=b"True"
        ).addErrback(lambda _: None)
        self.assertEqual(await self.upload(ticket, b"abc"), 204)
        self.assertEqual((await other)[b"size"], b"3")

    @run
    async def test_bytesInBandBefore(self):
        """
        Chunks over AMP that come before the announcement of an out-of-band stream fail
        it.
        """
        puppet, _ = await self.puppet()
        puppet.tell(b"stream.Data", id=b"7", offset=b"0", data=b"abc").addErrback(
            lambda _: None
        )
        self.assertEqual((await self.announce(puppet)).errorCode, INVALID)
        await puppet.tell(b"Ping")

    @run
    async def test_noEnd(self):
        """A body that has come is not complete before the AMP connection says so."""
        puppet, peer = await self.puppet()
        call = self.announce(puppet)
        ticket = await puppet.ticket
        self.assertEqual(await self.upload(ticket, b"abc"), 204)
        await puppet.tell(b"Ping")
        self.assertFalse(call.called)
        puppet.tell(
            b"stream.Reset", id=b"7", code=b"STREAM_CANCELLED", size=b"3"
        ).addErrback(lambda _: None)
        puppet.transport.loseConnection()
        self.assertIsInstance(await peer.ended, Exception)
        await call

    @run
    async def test_shorterThanTheEnd(self):
        """An end beyond the body fails the stream, whichever comes first."""
        for first in (True, False):
            puppet, _ = await self.puppet()
            call = self.announce(puppet)
            ticket = await puppet.ticket
            if not first:
                await self.upload(ticket, b"abc")
            end = puppet.tell(
                b"stream.Data", id=b"7", offset=b"4", data=b"", fin=b"True"
            )
            end.addErrback(lambda failure: None)
            if first:
                await puppet.tell(b"Ping")
                self.assertGreaterEqual(await self.upload(ticket, b"abc"), 400)
            error = await call
            self.assertEqual(error.errorCode, b"STREAM_TRUNCATED")
            await puppet.tell(b"Ping")

    @run
    async def test_longerThanTheEnd(self):
        """An end over AMP that is before the end of the HTTP body fails the stream."""
        for first in (True, False):
            puppet, _ = await self.puppet()
            call = self.announce(puppet)
            ticket = await puppet.ticket
            if not first:
                await self.upload(ticket, b"abc")
            end = puppet.tell(
                b"stream.Data", id=b"7", offset=b"2", data=b"", fin=b"True"
            )
            end.addErrback(lambda failure: None)
            if first:
                await puppet.tell(b"Ping")
                self.assertGreaterEqual(await self.upload(ticket, b"abc"), 400)
            error = await call
            self.assertEqual(error.errorCode, b"STREAM_FINAL_SIZE")
            await puppet.tell(b"Ping")

    @run
    async def test_declaredLonger(self):
        """
        When a stream is complete, the body of its PUT has to end, whatever length it
        has declared: its connection is closed after a few seconds.
        """
        clock = Clock()
        oob = await self.oobServer(plain=True, reactor=Clocked(clock))
        puppet, _ = await self.puppet(outOfBandServer=oob)
        call = self.announce(puppet)
        ticket = await puppet.ticket
        raw = await self.raw(ticket["url"].decode())
        raw.write(head("PUT", ticket["token"], "Content-Length: 4") + b"abc")
        await puppet.tell(b"stream.Data", id=b"7", offset=b"3", data=b"", fin=b"True")
        self.assertEqual((await call)[b"size"], b"3")
        await puppet.tell(b"Ping")
        self.assertFalse(raw.closed.called)
        clock.advance(5)
        await raw.closed
        self.assertEqual(oob._factory.connections, set())

    TICKET = {
        "url": b"http://127.0.0.1:1/",
        "token": b"a" * 43,
        "method": b"PUT",
        "lifetime": b"60",
    }

    async def sending(self):
        """Let a peer send a stream to a puppet."""
        puppet, peer = (
            Puppet(),
            Peer(config=StreamConfig(outOfBandServer=await self.oobServer(plain=True))),
        )
        await self.tcp(puppet, peer)
        peer.value = VALUE
        answer = await puppet.tell(b"Get")
        return puppet, peer, answer

    @run
    async def test_unknownStream(self):
        """
        A ticket command for a stream that does not exist is answered with an
        error.
        """
        puppet, _, _ = await self.sending()
        for id in (b"99", b"4611686018427387903"):
            await self.refusedWith(puppet.tell(b"stream.RequestTicket", id=id), INVALID)
            call = puppet.tell(b"stream.OfferTicket", id=id, **self.TICKET)
            await self.refusedWith(call, INVALID)
        await puppet.tell(b"Ping")

    @run
    async def test_askedTwice(self):
        """There is one ticket for a stream, and whoever asks again gets none."""
        puppet, _, answer = await self.sending()
        id = answer[b"body"]
        ticket = await puppet.tell(b"stream.RequestTicket", id=id)
        await self.refusedWith(
            puppet.tell(b"stream.RequestTicket", id=id), b"STREAM_REUSED"
        )
        call = puppet.tell(b"stream.OfferTicket", id=id, **self.TICKET)
        await self.refusedWith(call, b"STREAM_REUSED")
        raw = await self.ask(ticket[b"url"].decode(), head("GET", ticket[b"token"]))
        await raw.closed
        self.assertEqual(bytes(raw.received).partition(b"\r\n\r\n")[2], VALUE)

    @run
    async def test_finished(self):
        """There is none for a stream that has ended."""
        puppet, _, answer = await self.sending()
        id = answer[b"body"]
        puppet.tell(b"stream.StopSending", id=id, code=b"STREAM_CANCELLED").addErrback(
            lambda _: None
        )
        await puppet.tell(b"Ping")
        await self.refusedWith(puppet.tell(b"stream.RequestTicket", id=id), INVALID)
        await puppet.tell(b"Ping")

    @run
    async def test_malformed(self):
        """
        A malformed question or ticket is answered with an error, and the connection
        stays up.
        """
        puppet, _, answer = await self.sending()
        for id in (b"", b"x", b"-1", b"1" * 100):
            await self.refusedWith(puppet.tell(b"stream.RequestTicket", id=id), INVALID)
        await self.refusedWith(puppet.tell(b"stream.RequestTicket"), INVALID)
        id = answer[b"body"]
        for change in (
            {"token": b"short"},
            {"token": b"a" * 513},
            {"token": b"a" * 30 + b"\r\nX: y"},
            {"method": b"POST"},
            {"method": b""},
            {"lifetime": b"soon"},
            {"lifetime": b"-1"},
            {"url": b""},
            {"url": b"h" * 2049},
            {"url": "http://\u00e9/".encode()},
            {"max_size": b"x"},
            {"certificate": b"\xff"},
            {"certificate": b"x" * 16_385},
            {"server_name": b"x" * 256},
        ):
            call = puppet.tell(
                b"stream.OfferTicket", id=id, **{**self.TICKET, **change}
            )
            await self.refusedWith(call, INVALID)
        for missing in ("url", "token", "method", "lifetime"):
            left = {key: self.TICKET[key] for key in self.TICKET if key != missing}
            call = puppet.tell(b"stream.OfferTicket", id=id, **left)
            await self.refusedWith(call, INVALID)
        await puppet.tell(b"Ping")

    @run
    async def test_wrongMethod(self):
        """A ticket with the other method is not used, and the stream fails."""
        puppet, _, answer = await self.sending()
        ticket = {**self.TICKET, "method": b"GET"}
        call = puppet.tell(b"stream.OfferTicket", id=answer[b"body"], **ticket)
        await self.refusedWith(call, INVALID)
        await puppet.tell(b"Ping")
        await self.turns(self.log.ends)

    @run
    async def test_wrongMethodInTheAnswer(self):
        """
        A ticket for another method than C{GET} in the answer to
        C{stream.RequestTicket} is refused.
        """
        puppet, peer = await self.puppet(outOfBandServer=None)
        for change, code in (
            ({"method": b"PUT"}, INVALID),
            ({"url": b"http://127.0.0.1:1/"}, b"OOB_UNTRUSTED"),
            ({"url": b"ftp://127.0.0.1/"}, b"OOB_UNTRUSTED"),
            ({"url": b"https://10.1.2.3/"}, b"OOB_UNTRUSTED"),
            ({"url": b"https://a:b@127.0.0.1/"}, b"OOB_UNTRUSTED"),
            ({"url": b"https://127.0.0.1:0/"}, b"OOB_UNTRUSTED"),
            ({"url": b"https://127.0.0.1:x/"}, b"OOB_UNTRUSTED"),
            ({"url": b"https://[::1/"}, b"OOB_UNTRUSTED"),
            ({"url": b"https:///"}, b"OOB_UNTRUSTED"),
            ({"certificate": b"none"}, b"OOB_UNTRUSTED"),
        ):
            puppet.answer = {
                **self.TICKET,
                "url": b"https://127.0.0.1:1/",
                "method": b"GET",
                "lifetime": 60,
                **change,
            }
            puppet.asked = Deferred()
            id = b"%d" % (100 + len(peer.bodies))
            call = self.announce(puppet, id, **{"body.listens": b"True"})
            self.assertEqual(await puppet.asked, int(id))
            self.assertEqual((await call).errorCode, code, change)
        await puppet.tell(b"Ping")

    @run
    async def test_doesNotListenAfterAll(self):
        """A side that is asked for a ticket and does not listen says so."""
        puppet, peer = Puppet(), Peer()
        await self.tcp(puppet, peer)
        peer.value = VALUE
        answer = await puppet.tell(b"Get")
        self.assertEqual(answer[b"body.listens"], b"False")
        call = puppet.tell(b"stream.RequestTicket", id=answer[b"body"])
        await self.refusedWith(call, b"OOB_NO_SERVER")
        await puppet.tell(b"Ping")

    @run
    async def test_streamInBand(self):
        """There is no ticket for a stream in band."""
        puppet, peer = await self.puppet()
        sending = peer.streams.send(VALUE)
        sending.done.addErrback(lambda _: None)
        call = puppet.tell(b"stream.RequestTicket", id=b"%d" % sending.id)
        await self.refusedWith(call, INVALID)

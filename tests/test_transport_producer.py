# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests for L{amp_stream._transport}, with simulated transports and with real ones."""

from __future__ import annotations

import io

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.policies import ProtocolWrapper
from twisted.trial.unittest import SynchronousTestCase

from amp_stream import Limits, StreamAMP, StreamConfig
from amp_stream._sansio.pacer import BOX, LONGEST
from amp_stream._transport import StreamProducer
from tests.commands import Server, Store
from tests.loopback import LoopbackTestCase, Plain, Watched

CHUNK = bytes(65_535)


class Turns(Clock):
    """A reactor whose turns take a second each."""

    def callLater(self, when, what, *a, **kw):
        return super().callLater(when + 1, what, *a, **kw)


class ProducerTestCase(SynchronousTestCase):
    """Tests of the pump, step by step."""

    def setUp(self):
        self.clock = Turns()
        self.pump = StreamProducer(self.writeNext, self.clock)
        self.left = 0
        self.written = 0
        self.write = lambda: None
        # How long to hold back the next turns, the last one first.
        self.waits = []

    def writeNext(self):
        """Write one of the remaining chunks, or hold it back."""
        if self.waits:
            self.pump.hold(self.waits.pop())
            return True
        if not self.left:
            return False
        self.left -= 1
        self.written += 1
        self.write()
        return True

    def assertStopped(self):
        """Check that the pump has stopped, without a timer."""
        self.pump.resumeProducing()
        self.clock.pump([1] * 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ProducerTests(ProducerTestCase):
    """Transports that say when they have drained."""

    def test_pullProducer(self):
        """The pump is a pull producer, not a push producer."""
        self.assertTrue(IPullProducer.providedBy(self.pump))
        self.assertFalse(IPushProducer.providedBy(self.pump))

    def test_onePerTurn(self):
        """
        The pump registers when there is something to send, writes one chunk each time
        the transport asks, and unregisters when there are no more.
        """
        transport = StringTransport()
        self.pump.start(transport)
        self.assertIsNone(transport.producer)
        self.left = 2
        self.pump.wake()
        self.pump.wake()
        self.assertIs(transport.producer, self.pump)
        self.assertFalse(transport.streaming)
        self.assertEqual(self.written, 0)
        self.pump.resumeProducing()
        self.assertEqual(self.written, 1)
        self.pump.resumeProducing()
        self.assertEqual(self.written, 2)
        self.assertIs(transport.producer, self.pump)
        self.pump.resumeProducing()
        self.assertIsNone(transport.producer)
        self.left = 1
        self.pump.resumeProducing()
        self.assertEqual(self.written, 2)
        self.pump.wake()
        self.pump.resumeProducing()
        self.assertEqual(self.written, 3)

    def test_hold(self):
        """
        A turn that is held back is tried again after its delay, or when the transport
        asks earlier; a pump that stops leaves no timer behind.
        """
        transport = StringTransport()
        self.pump.start(transport)
        self.left = 2
        waits = self.waits = [5.0, 5.0, 5.0]
        self.pump.wake()
        self.pump.resumeProducing()
        self.assertEqual(self.written, 0)
        self.pump.resumeProducing()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(6)
        self.assertEqual((self.written, waits), (0, []))
        self.clock.advance(6)
        self.assertEqual(self.written, 1)
        waits.append(5.0)
        self.pump.resumeProducing()
        self.pump.stopProducing()
        self.assertStopped()

    def test_holdWithoutProducer(self):
        """
        A turn that is held back is written after its delay where the transport
        takes no producer.
        """
        self.pump.start(object())
        self.left = 1
        waits = self.waits = [5.0]
        self.pump.wake()
        self.clock.advance(1)
        self.assertEqual((self.written, waits), (0, []))
        self.clock.advance(5)
        self.assertEqual(self.written, 0)
        self.clock.advance(1)
        self.assertEqual(self.written, 1)

    def test_noTransport(self):
        """
        Without a transport, before its start or after its end, the pump
        writes nothing.
        """
        self.left = 1
        self.pump.wake()
        self.pump.stopProducing()
        self.pump.start(StringTransport())
        self.pump.stopProducing()
        self.pump.wake()
        self.assertStopped()
        self.assertEqual(self.written, 0)

    def test_askedAtOnce(self):
        """
        A transport that asks while the pump registers gets a chunk, or loses the pump
        if there is none.
        """
        transport = AskingTransport()
        self.pump.start(transport)
        self.pump.wake()
        self.assertIsNone(transport.producer)
        self.left = 2
        self.pump.wake()
        self.assertEqual(self.written, 1)
        self.assertIs(transport.producer, self.pump)

    def test_askedWhileWriting(self):
        """
        A transport that asks while a chunk is written gets the next one after that,
        without recursion.
        """
        transport = AskingTransport()
        depth = 0

        def write():
            nonlocal depth
            depth += 1
            self.assertEqual(depth, 1)
            transport.producer.resumeProducing()
            transport.producer.resumeProducing()
            depth -= 1

        self.write = write
        self.left = 10_000
        self.pump.start(transport)
        self.pump.wake()
        self.assertEqual(self.written, 10_000)
        self.assertIsNone(transport.producer)

    def test_kickedWhileWriting(self):
        """
        A chunk that is offered while another is written waits until the
        transport asks.
        """
        transport = StringTransport()
        self.pump.start(transport)
        self.left = 2
        self.write = self.pump.wake
        self.pump.wake()
        self.pump.resumeProducing()
        self.assertEqual(self.written, 1)
        self.assertIs(transport.producer, self.pump)

    def test_stopped(self):
        """A pump that was stopped leaves the transport to another producer."""
        transport = StringTransport()
        self.pump.start(transport)
        self.left = 2
        self.pump.wake()
        self.pump.stopProducing()
        transport.registerProducer(object(), True)
        self.pump.stopProducing()
        self.assertIsNotNone(transport.producer)
        self.assertStopped()
        self.assertEqual(self.written, 0)

    def test_stoppedWhileWriting(self):
        """No chunk follows one that loses the connection."""
        transport = AskingTransport()
        self.pump.start(transport)
        self.write = self.pump.stopProducing
        self.left = 2
        self.pump.wake()
        self.assertEqual(self.written, 1)
        self.assertIsNone(transport.producer)
        self.assertStopped()

    def test_disconnected(self):
        """A pump that registers with a lost transport is stopped."""

        class Disconnected(StringTransport):
            def registerProducer(self, producer, streaming):
                producer.stopProducing()

        self.pump.start(Disconnected())
        self.left = 2
        self.pump.wake()
        self.assertStopped()
        self.assertEqual(self.written, 0)

    def test_mistake(self):
        """An exception of the writer is not mistaken for one of the transport."""
        for error in (AttributeError, RuntimeError):

            def write(error=error):
                raise error

            self.write = write
            self.left = 1
            pump = StreamProducer(self.writeNext, self.clock)
            pump.start(AskingTransport())
            with self.assertRaises(error):
                pump.wake()
            self.assertEqual(self.clock.getDelayedCalls(), [])


class AskingTransport(StringTransport):
    """
    A transport that asks a pull producer as soon as it is registered, as the reactor's
    transports do.
    """

    def registerProducer(self, producer, streaming):
        super().registerProducer(producer, streaming)
        producer.resumeProducing()


class TurnTests(ProducerTestCase):
    """Transports that do not say when they have drained."""

    def transports(self):
        """@return: A transport without producers, and one that has another producer."""

        class Simple:
            pass

        busy = StringTransport()
        busy.registerProducer(object(), True)
        return [Simple(), busy]

    def test_oneInEachTurn(self):
        """
        A transport that takes no producer gets one chunk in each turn of the reactor,
        and keeps the producer that it has.
        """
        for transport in self.transports():
            producer = getattr(transport, "producer", None)
            self.pump.start(transport)
            for _ in range(2):
                self.written = 0
                self.left = 3
                self.pump.wake()
                self.pump.wake()
                self.assertEqual(self.written, 0)
                for count in (1, 2, 3, 3):
                    self.clock.advance(1)
                    self.assertEqual(self.written, count)
                self.assertEqual(self.clock.getDelayedCalls(), [])
            self.assertIs(getattr(transport, "producer", None), producer)

    def test_stoppedBetweenTurns(self):
        """A pump that was stopped has no more turns of the reactor."""
        for transport in self.transports():
            self.pump.start(transport)
            self.left = 3
            self.pump.wake()
            self.pump.stopProducing()
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stoppedInATurn(self):
        """No chunk follows one that loses the connection, in a turn of the reactor."""
        for transport in self.transports():
            self.pump.start(transport)
            self.written = 0
            self.left = 3
            self.write = self.pump.stopProducing
            self.pump.wake()
            self.clock.advance(1)
            self.assertEqual(self.written, 1)
            self.assertStopped()


class Client(Watched, StreamAMP):
    """The client, which records when its connection is lost."""


class WatchedServer(Watched, Server):
    """The server, which records when its connection is lost."""

    def __init__(self):
        super().__init__()
        self.begun = Deferred()

    def takeIt(self, name, body):
        """Take a stream that has no end."""
        body.writeTo(Beginning(self.begun)).addErrback(lambda failure: None)
        return Deferred()


class Beginning(io.RawIOBase):
    """A file with a Deferred that fires when bytes have arrived."""

    def __init__(self, begun):
        self.begun = begun
        self.size = 0

    def write(self, data):
        self.size += len(data)
        if self.size > 1_000_000 and not self.begun.called:
            self.begun.callback(None)
        return len(data)


def endless():
    while True:
        yield CHUNK


def unsent(transport):
    """Return the number of bytes that a transport holds back."""
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    return len(transport.dataBuffer) - transport.offset + transport._tempDataLen


class RealTransportTests(LoopbackTestCase):
    """The transports of the reactor."""

    def watch(self, transport):
        """
        @return: A list that gets, for each turn, how many bytes the transport held
            before, and how many were written.
        """
        turns = []
        write = transport.write

        def watched(data):
            if len(data) > 1000:
                turns.append((unsent(transport), len(data)))
            write(data)

        transport.write = watched
        return turns

    async def test_tcp(self):
        """A TCP transport gets each turn when its buffer is empty."""
        client, server = Client(), WatchedServer()
        await self.tcp(client, server)
        turns = self.watch(client.transport)
        calls = [client.callRemote(Store, name="x", body=CHUNK * 100) for _ in range(3)]
        for call in calls:
            self.assertEqual(await call, {"size": 6_553_500})
        self.assertLess(max(before for before, _ in turns), 1000)
        self.assertLess(max(size for _, size in turns), LONGEST + BOX)
        self.assertGreater(sum(size for _, size in turns), 3 * 6_553_500)
        self.assertIsNone(client.transport.producer)

    async def test_tls(self):
        """A TLS transport gets each turn when the buffer below TLS is empty."""
        for chunk in (65_535, 4096):
            client, server = (
                Client(config=StreamConfig(limits=Limits(chunk=chunk))),
                WatchedServer(),
            )
            await self.tls(client, server)
            turns = self.watch(client.transport)
            call = client.callRemote(Store, name="x", body=CHUNK * 50)
            self.assertEqual(await call, {"size": 3_276_750})
            for before, size in turns:
                self.assertLess(before, 2048)
                self.assertLess(size, LONGEST + BOX)
            self.assertGreater(sum(size for _, size in turns), 3_276_750)
            self.assertIsNone(client.transport.transport.producer)

    async def closes(self, connect, closer="client", reasons=ConnectionDone):
        """
        Close a connection with streams in progress, one that flows and one that is not
        taken, and check that both fail with one of C{reasons}.
        """
        client, server = Client(), WatchedServer()
        await connect(client, server)
        ignored = client.streams.send(endless())
        server.take = server.takeIt
        call = client.callRemote(Store, name="x", body=endless())
        await server.begun
        if closer == "nobody":
            client.transport.dataReceived(b"\x17\x03\x03\x00\x20" + bytes(32))
        else:
            {"client": client, "server": server}[closer].transport.loseConnection()
        await client.lost
        await server.lost
        for deferred in (ignored.done, call):
            try:
                await deferred
            except reasons:
                continue
            self.fail("it goes on without a connection")

    async def test_closesTCP(self):
        """C{loseConnection} closes a TCP connection with streams in progress."""
        await self.closes(self.tcp)

    async def test_closesTLS(self):
        """C{loseConnection} closes a TLS connection with streams in progress."""
        await self.closes(self.tls)

    async def test_peerCloses(self):
        """
        A receiver that closes its TLS connection ends the streams that are
        in progress.
        """
        await self.closes(self.tls, "server", (ConnectionDone, ConnectionLost))

    async def test_errorOfTLS(self):
        """A TLS error in received data ends the streams that are in progress."""
        await self.closes(self.tls, "nobody", SSL.Error)

    async def test_closesUNIX(self):
        """C{loseConnection} closes a UNIX socket with streams in progress."""
        await self.closes(self.unix)

    async def test_register(self):
        """
        The pump unregisters from a real transport when it has nothing to send, and when
        it is stopped.
        """
        client, server = Plain(), Plain()
        await self.tcp(client, server)
        left = 3
        done = Deferred()

        def writeNext():
            nonlocal left
            if not left:
                reactor.callLater(0, done.callback, None)
                return False
            left -= 1
            client.transport.write(CHUNK)
            return True

        pump = StreamProducer(writeNext, reactor)
        pump.start(client.transport)
        pump.wake()
        self.assertIs(client.transport.producer, pump)
        await done
        self.assertIsNone(client.transport.producer)
        left = 3
        pump.wake()
        pump.stopProducing()
        self.assertIsNone(client.transport.producer)
        self.assertEqual(left, 2)

    async def test_transportStops(self):
        """A lost transport stops its pump."""
        for connect in (self.tcp, self.tls):
            client, server = Plain(), Plain()
            await connect(client, server)
            transport = client.transport
            pump = StreamProducer(
                lambda transport=transport: transport.write(CHUNK) or True, reactor
            )
            pump.start(transport)
            pump.wake()
            server.transport.abortConnection()
            await client.lost
            pump.wake()
            self.assertIsNone(getattr(transport, "producer", None))

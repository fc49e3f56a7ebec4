# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The file service as a service: listening, saying where, and stopping."""

from __future__ import annotations

import io
import os
import signal
from typing import Any

from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred, ensureDeferred, fail
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from amp_stream import StreamConfig
from amp_stream.errors import NoOutOfBandServer
from amp_stream.files import (
    FileClient,
    FileServerFactory,
    FileService,
    FileStore,
    connect,
)
from amp_stream.files._client import FileClientProtocol
from amp_stream.files._threads import ThreadedSource
from amp_stream.outofband import OutOfBandServer
from amp_stream.testing import connectInMemory
from tests.commandline import fromThread
from tests.twistdservice import LOCAL, NO_HTTP

reactor: Any = globalReactor


class FactoryTests(SynchronousTestCase):
    """The bound on connections."""

    def test_tooMany(self) -> None:
        """
        A factory refuses a connection beyond maxConnections, and has room again
        when one closes.
        """
        factory = FileServerFactory(FileStore("."), maxConnections=2)
        first, second, third = (factory.buildProtocol(None) for _ in range(3))
        assert first is not None and second is not None and third is not None
        pair = connectInMemory(FileClientProtocol(), first)
        connectInMemory(FileClientProtocol(), second)
        self.assertIsNone(factory.buildProtocol(None))
        pair.lose()
        self.assertIsNotNone(factory.buildProtocol(None))


def endless() -> tuple[ThreadedSource, Deferred[None]]:
    """
    Make a source without an end.

    @return: The source, and a Deferred that fires when some of it has been read.
    """
    begun: Deferred[None] = Deferred()
    tell = fromThread(begun)
    count = 0

    def read(size: int) -> bytes:
        nonlocal count
        count += 1
        if count == 20:
            tell()
        return bytes(size)

    return ThreadedSource(read), begun


@implementer(IStreamServerEndpoint)
class Slow:
    """An endpoint that listens when it is told to."""

    def __init__(self) -> None:
        self.listening: Deferred[IListeningPort] = Deferred()

    def listen(self, protocolFactory: object) -> Deferred[IListeningPort]:
        """Listen later."""
        return self.listening


class ServiceTests(TestCase):
    """L{FileService}"""

    timeout = 30

    def setUp(self) -> None:
        """Make a store."""
        self.root = os.path.abspath(self.mktemp())
        os.makedirs(self.root)
        self.addressFile = os.path.abspath(self.mktemp())
        self.factory = FileServerFactory(FileStore(self.root))
        self.clock = Clock()

    def service(self, *endpoints: Any) -> FileService:
        """
        Make a service.

        @param endpoints: Endpoint strings, or endpoints.
        """
        return FileService(
            [
                serverFromString(reactor, each) if isinstance(each, str) else each
                for each in endpoints
            ],
            self.factory,
            addressFile=self.addressFile,
            reactor=self.clock,
        )

    def addresses(self) -> list[str]:
        """Read the address file."""
        with open(self.addressFile, encoding="utf-8") as file:
            return file.read().splitlines()

    async def connect(self, address: str) -> FileClient:
        """Connect to the service."""
        client = await connect(address)
        self.addCleanup(client.close)
        return client

    def test_everywhere(self) -> Deferred[None]:
        """
        The service serves at each of its endpoints, and the address file leads to each.
        When it has stopped, the address file and the ports are gone.
        """

        async def test() -> None:
            socket = self.mktemp()
            service = self.service("tcp:0:interface=127.0.0.1", f"unix:{socket}")
            service.privilegedStartService()
            service.startService()
            addresses = self.addresses()
            self.assertEqual(
                [line.split(":")[0] for line in addresses], ["tcp", "unix"]
            )
            for address in addresses:
                client = await self.connect(address)
                await client.ping()
                await client.close()
            await service.stopService()
            self.assertFalse(os.path.lexists(self.addressFile))
            for address in addresses:
                await self.assertFailure(connect(address), Exception)

        return ensureDeferred(test())

    def test_cleans(self) -> Deferred[None]:
        """
        When it starts, the service removes the unfinished files of dead
        processes.
        """
        with open(os.path.join(self.root, ".incoming-1"), "wb"):
            pass
        service = self.service()
        service.startService()
        self.assertEqual(os.listdir(self.root), [])
        return service.stopService()

    def test_stopsTransfers(self) -> Deferred[None]:
        """
        A service that has stopped has closed its connections, and unfinished
        uploads have left no file.
        """

        async def test() -> None:
            service = self.service("tcp:0:interface=127.0.0.1")
            service.startService()
            client = await self.connect(self.addresses()[0])
            source, begun = endless()
            putting = client.put("a", source)
            await begun
            stopping = service.stopService()
            await self.assertFailure(putting, ConnectionDone, ConnectionLost)
            await stopping
            self.assertEqual(os.listdir(self.root), [])
            self.assertEqual(self.clock.getDelayedCalls(), [])

        return ensureDeferred(test())

    def test_patience(self) -> Deferred[None]:
        """
        A client that does not take its answers delays the end of the service
        for a short time only.
        """

        async def test() -> None:
            with open(os.path.join(self.root, "a"), "wb") as file:
                file.truncate(100_000_000)
            service = self.service("tcp:0:interface=127.0.0.1")
            service.startService()
            client = await self.connect(self.addresses()[0])
            transport: Any = client.protocol.transport
            answered = self.factoryAnswers()
            getting = client.get("a", io.BytesIO())
            transport.pauseProducing()
            await answered
            stopping = service.stopService()
            self.assertFalse(stopping.called)
            self.clock.advance(2)
            transport.resumeProducing()
            await self.assertFailure(getting, ConnectionDone, ConnectionLost)
            await stopping

        return ensureDeferred(test())

    def factoryAnswers(self) -> Deferred[None]:
        """Tell when the service is about to send its next answer."""
        answered: Deferred[None] = Deferred()
        tell = fromThread(answered)
        inThread = self.factory.inThread

        def noted(*args: Any) -> Deferred[Any]:
            def done(result: Any) -> Any:
                if not answered.called:
                    reactor.callLater(0, tell)
                return result

            return inThread(*args).addCallback(done)

        self.factory.inThread = noted
        return answered

    def test_cannotListen(self) -> Deferred[None]:
        """
        If one of its ports is taken, the service raises, and keeps none of the
        others.
        """

        async def test() -> None:
            taken = self.service("tcp:0:interface=127.0.0.1")
            taken.startService()
            address = self.addresses()[0]
            os.unlink(self.addressFile)
            port = address.rpartition("=")[2]
            service = self.service(
                "tcp:0:interface=127.0.0.1", f"tcp:{port}:interface=127.0.0.1"
            )
            self.assertRaises(CannotListenError, service.privilegedStartService)
            self.assertFalse(os.path.lexists(self.addressFile))
            await service.stopService()
            await taken.stopService()

        return ensureDeferred(test())

    def test_outOfBand(self) -> Deferred[None]:
        """
        The server for out-of-band transfers listens before the service does,
        and stops with it, when the transfers have ended with their connections.
        """

        async def test() -> None:
            oob = OutOfBandServer(LOCAL)
            self.factory.config = StreamConfig(outOfBandServer=oob)
            service = self.service(LOCAL)
            service.privilegedStartService()
            url = oob._urlFor("")
            service.startService()
            self.assertTrue(oob.running)
            self.assertEqual(oob._urlFor(""), url)
            client = await self.connect(self.addresses()[0])
            source, begun = endless()
            putting = client.put("a", source, outOfBand=True)
            await begun
            stopping = service.stopService()
            await self.assertFailure(putting, ConnectionDone, ConnectionLost)
            await stopping
            self.assertEqual(os.listdir(self.root), [])
            self.assertFalse(oob.running)
            self.assertRaises(NoOutOfBandServer, oob._urlFor, "")

        return ensureDeferred(test())

    test_outOfBand.skip = NO_HTTP  # type: ignore[attr-defined]

    def test_outOfBandCannotListen(self) -> Deferred[None]:
        """
        If the port of the service or of its out-of-band server is taken,
        neither listens.
        """

        async def test() -> None:
            taken = self.service(LOCAL)
            taken.startService()
            port = self.addresses()[0].rpartition("=")[2]
            os.unlink(self.addressFile)
            there = f"tcp:{port}:interface=127.0.0.1"
            for oob, main in [(there, LOCAL), (LOCAL, there)]:
                server = OutOfBandServer(oob, plainHTTP=True)
                self.factory.config = StreamConfig(outOfBandServer=server)
                service = self.service(main)
                self.assertRaises(CannotListenError, service.privilegedStartService)
                self.assertFalse(os.path.lexists(self.addressFile))
                self.assertRaises(NoOutOfBandServer, server._urlFor, "")
                await service.stopService()
            self.factory.config = StreamConfig()
            await taken.stopService()

        return ensureDeferred(test())

    def test_outOfBandSlow(self) -> Deferred[None]:
        """
        The service waits until its out-of-band server listens, and can be
        stopped while it waits.
        """
        raised: list[int] = []
        self.patch(signal, "raise_signal", raised.append)

        async def test() -> None:
            slow: Any = Slow()
            server = OutOfBandServer(slow, plainHTTP=True)
            self.factory.config = StreamConfig(outOfBandServer=server)
            service = self.service(LOCAL)
            service.startService()
            self.assertFalse(os.path.lexists(self.addressFile))
            await service.stopService()
            self.assertEqual(raised, [])

        return ensureDeferred(test())

    def test_noAddressFile(self) -> Deferred[None]:
        """A service needs no address file."""
        service = FileService([], self.factory, reactor=self.clock)
        service.startService()
        return service.stopService()

    def test_failsAtOnce(self) -> None:
        """An error of an endpoint that comes at once is raised by startService."""
        endpoint = Slow()
        endpoint.listening = fail(CannotListenError("a", 1, OSError("taken")))
        self.assertRaises(CannotListenError, self.service(endpoint).startService)

    def test_failsLater(self) -> None:
        """If an endpoint fails when the reactor runs, the process gets SIGTERM."""
        raised: list[int] = []
        self.patch(signal, "raise_signal", raised.append)
        endpoint = Slow()
        self.service(endpoint).startService()
        self.assertEqual(raised, [])
        endpoint.listening.errback(CannotListenError("a", 1, OSError("taken")))
        self.assertEqual(raised, [signal.SIGTERM])

    def test_stoppedEarly(self) -> Deferred[None]:
        """The service can be stopped before it listens, and before it was started."""
        raised: list[int] = []
        self.patch(signal, "raise_signal", raised.append)

        async def test() -> None:
            await self.service().stopService()
            service = self.service(Slow())
            service.startService()
            await service.stopService()
            self.assertEqual(raised, [])

        return ensureDeferred(test())

    def test_addressFileElsewhere(self) -> None:
        """If the address file cannot be written, the service does not start."""
        self.addressFile = os.path.join(self.root, "no", "such", "directory")
        service = self.service("tcp:0:interface=127.0.0.1")
        self.assertRaises(FileNotFoundError, service.startService)

    def test_wholeAddressFile(self) -> Deferred[None]:
        """The address file appears whole, by renaming a file that is complete."""
        existed: list[bool] = []
        rename = os.rename

        def noteAndRename(*paths: Any) -> None:
            existed.append(os.path.exists(self.addressFile))
            rename(*paths)

        self.patch(os, "rename", noteAndRename)
        service = self.service("tcp:0:interface=127.0.0.1")
        service.startService()
        self.assertEqual((existed, len(self.addresses())), ([False], 1))
        return service.stopService()

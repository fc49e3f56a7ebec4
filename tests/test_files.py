# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The file service and its client, in memory and over TCP.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, BinaryIO, TypeVar

from twisted.internet import reactor
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    ensureDeferred,
    gatherResults,
    maybeDeferred,
)
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.python.filepath import FilePath
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from amp_stream import fileserver, filetickets, hashed
from amp_stream.addresses import clientEndpoint, clientString
from amp_stream.bulk import startBulk
from amp_stream.client import FileClient, FileClientProtocol, connect
from amp_stream.errors import (
    DigestMismatch,
    NobodyListens,
    SourceFailed,
    StreamAborted,
    StreamError,
    TooManyTickets,
)
from amp_stream.fileerrors import (
    FileTooLarge,
    InvalidName,
    NoSuchFile,
    NoSuchTicket,
    StorageFull,
)
from amp_stream.files import MAX_PAGE, GetFile, ListFiles, Ping, PutBig, PutFile
from amp_stream.fileserver import FileServiceFactory, FileServiceProtocol
from amp_stream.outofband import OutOfBandServer
from amp_stream.storage import FileInfo, FileStore, Incoming
from amp_stream.testing import ConnectedPair, connectInMemory
from amp_stream.transports import TRANSPORTS
from tests.twistdservice import LOCAL, NO_HTTP

_T = TypeVar("_T")

IN_BAND = [name for name, each in TRANSPORTS.items() if not each.outOfBand]
"""
The transports that need nothing but the connection.
"""

SIZES = [0, 1, 65_535, 65_536, 700_000]


def value(size: int) -> bytes:
    """
    Make some bytes.
    """
    return (b"0123456789abcde\n" * (size // 16 + 1))[:size]


class Recorder:
    """
    A L{Progress} that remembers.
    """

    def __init__(self) -> None:
        self.size: int | None = -1
        self.count = 0

    def start(self, size: int | None) -> None:
        """
        Remember the size.
        """
        self.size = size

    def advance(self, count: int) -> None:
        """
        Remember the number.
        """
        self.count += count


class MemoryTestCase(SynchronousTestCase):
    """
    Tests with a client and a service in memory, and no threads.
    """

    maxSize = 1_000_000

    def setUp(self) -> None:
        """
        Connect them.
        """
        self.root: FilePath[str] = FilePath(self.mktemp())
        self.root.makedirs()
        self.store = FileStore(self.root, self.maxSize)
        self.factory = FileServiceFactory(self.store, inThread=maybeDeferred)
        protocol = self.factory.buildProtocol(None)
        assert protocol is not None
        self.pair: ConnectedPair[FileClientProtocol, FileServiceProtocol]
        self.pair = connectInMemory(FileClientProtocol(), protocol)
        self.client = FileClient(self.pair.client, maybeDeferred)

    def tearDown(self) -> None:
        """
        Nothing may be left half written, and no call may have ended the
        connection.
        """
        self.assertEqual(self.hidden(), [])

    def hidden(self) -> list[str]:
        """
        The temporary files in the root.
        """
        return [name for name in os.listdir(self.root.path) if name.startswith(".")]

    def done(self, deferred: Deferred[_T]) -> _T:
        """
        Move all bytes, and take the result.
        """
        self.pair.flush()
        result: _T = self.successResultOf(deferred)
        return result

    def failed(self, deferred: Deferred[Any], *types: type[Exception]) -> Exception:
        """
        Move all bytes, take the error, and see that the connection has survived.
        """
        self.pair.flush()
        error: Exception = self.failureResultOf(deferred, *types).value
        self.assertIsNone(self.done(self.client.ping()))
        return error

    def put(self, name: str, body: bytes, via: str = "stream") -> Any:
        """
        Put a value.
        """
        read = io.BytesIO(body).read
        return self.done(self.client.put(name, read, size=len(body), via=via))

    def get(self, name: str, via: str = "stream") -> tuple[Any, bytes]:
        """
        Get a value.
        """
        gathered = io.BytesIO()
        fetched = self.done(self.client.get(name, gathered.write, via=via))
        return fetched, gathered.getvalue()


class TransferTests(MemoryTestCase):
    """
    Files there and back.
    """

    def test_roundTrip(self) -> None:
        """
        Values of all sizes come back as they were sent, over each transport, with
        the SHA-256 that both ends have computed.
        """
        for via in IN_BAND:
            for size in SIZES:
                body = value(size)
                sha256 = hashlib.sha256(body).digest()
                stored = self.put("a", body, via)
                self.assertEqual(
                    (stored.name, stored.size, stored.sha256), ("a", size, sha256)
                )
                self.assertEqual(self.root.child("a").getContent(), body)
                fetched, back = self.get("a", via)
                self.assertEqual(back, body)
                self.assertEqual(
                    (fetched.name, fetched.size, fetched.sha256), ("a", size, sha256)
                )
                self.assertEqual(fetched.modified, self.store.stat("a").modified)

    def test_unknownSize(self) -> None:
        """
        The size of a value need not be known before it is sent.
        """
        body = value(700_000)
        for via in IN_BAND:
            read = io.BytesIO(body).read
            stored = self.done(self.client.put("a", read, via=via))
            self.assertEqual(stored.size, len(body))
            self.assertEqual(self.get("a")[1], body)

    def test_progress(self) -> None:
        """
        Progress is told the size, and every byte, in both directions.
        """
        for via in IN_BAND:
            up, down = Recorder(), Recorder()
            read = io.BytesIO(b"x" * 500_000).read
            self.done(self.client.put("a", read, size=500_000, via=via, progress=up))
            self.done(self.client.get("a", len, via=via, progress=down))
            for recorder in (up, down):
                self.assertEqual((recorder.size, recorder.count), (500_000, 500_000))

    def test_badNames(self) -> None:
        """
        A name that no file can have is refused, over each transport.
        """
        for via in IN_BAND:
            for name in ("../a", "", ".a"):
                self.failed(
                    self.client.put(name, io.BytesIO().read, via=via), InvalidName
                )
                self.failed(self.client.get(name, len, via=via), InvalidName)

    def test_noSuchFile(self) -> None:
        """
        Reading what is not there says so, over each transport.
        """
        for via in IN_BAND:
            error = self.failed(self.client.get("a", len, via=via), NoSuchFile)
            self.assertIn("'a'", str(error))

    def test_announcedTooLarge(self) -> None:
        """
        A value whose announced size is over the limit is refused before the
        service touches its disk.
        """
        self.put("a", b"old")
        self.patch(Incoming, "write", lambda *ignored: self.fail("written"))
        for via in IN_BAND:
            body = io.BytesIO(bytes(self.maxSize + 1))
            self.failed(
                self.client.put("a", body.read, size=self.maxSize + 1, via=via),
                FileTooLarge,
            )
        self.assertEqual(self.get("a")[1], b"old")

    def test_endless(self) -> None:
        """
        A value that turns out to be over the limit is stopped there, and what was
        there before stays.
        """
        self.put("a", b"old")
        self.failed(self.client.put("a", bytes), FileTooLarge)
        self.assertEqual(self.get("a")[1], b"old")

    def test_diskFull(self) -> None:
        """
        A disk that is full fails the call that needs it, and no other.
        """
        self.put("a", b"old")

        def full(*ignored: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        patcher = self.patch(os, "write", full)
        for via in IN_BAND:
            read = io.BytesIO(value(700_000)).read
            self.failed(self.client.put("a", read, via=via), StorageFull)
        patcher.restore()
        self.assertEqual(self.get("a")[1], b"old")

    def test_diskFullAtTheEnd(self) -> None:
        """
        A disk that turns out to be full when the bytes are forced to it fails the
        call, although all bytes have arrived.
        """

        def full(*ignored: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patcher = self.patch(os, "fsync", full)
        for via in IN_BAND:
            read = io.BytesIO(value(700_000)).read
            self.failed(self.client.put("a", read, via=via), StorageFull)
        patcher.restore()
        self.failed(self.client.get("a", len), NoSuchFile)

    def test_sourceFails(self) -> None:
        """
        An error while the value is read stores nothing.
        """

        def broken(size: int) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

        error = self.failed(self.client.put("a", broken), StreamError)
        self.assertIn("Input/output error", str(error))
        self.failed(self.client.put("a", broken, via="bigstring"), OSError)
        self.failed(self.client.stat("a"), NoSuchFile)

    def test_sourceTooShort(self) -> None:
        """
        A source that ends before its announced size stores nothing.
        """
        read = io.BytesIO(b"short").read
        error = self.failed(self.client.put("a", read, size=10), StreamError)
        self.assertIn("5 bytes too early", str(error))
        self.failed(self.client.stat("a"), NoSuchFile)

    def test_sinkFails(self) -> None:
        """
        An error while the value is written is the error of the call, and stops
        the stream.
        """
        self.put("a", value(900_000))

        def broken(data: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        for via in IN_BAND:
            self.failed(self.client.get("a", broken, via=via), OSError)

    def test_cancelledPut(self) -> None:
        """
        Cancelling a put stops it at both ends.
        """
        putting = self.client.put("a", bytes)
        self.pair.flush(self.hidden)
        putting.cancel()
        self.failed(putting, CancelledError)
        self.assertEqual(self.hidden(), [])
        self.failed(self.client.stat("a"), NoSuchFile)

    def test_cancelledGet(self) -> None:
        """
        Cancelling a get stops it at both ends, and the service closes its file.
        """
        self.put("a", value(900_000))
        files = self.openedFiles()
        written: list[bytes] = []
        getting = self.client.get("a", written.append)
        self.pair.flush(lambda: written)
        getting.cancel()
        self.failed(getting, CancelledError, StreamAborted)
        self.assertEqual([file.closed for file in files], [True])

    def test_closesFiles(self) -> None:
        """
        The service closes each file that it has sent.
        """
        self.put("a", value(100_000))
        files = self.openedFiles()
        self.get("a")
        self.get("a", "bigstring")
        self.assertEqual([file.closed for file in files], [True, True])

    def test_lostWhilePutting(self) -> None:
        """
        A connection that is lost in the middle of a put leaves nothing behind,
        and what was there before stays.
        """
        self.put("a", b"old")
        putting = self.client.put("a", bytes)
        self.pair.flush(self.hidden)
        self.pair.lose()
        self.failureResultOf(putting, ConnectionDone)
        self.assertEqual(self.root.child("a").getContent(), b"old")
        self.successResultOf(self.factory.settled())

    def test_replacedWhileReading(self) -> None:
        """
        Whoever is reading a value gets all of it, even if its name is given
        another one meanwhile.
        """
        old = value(900_000)
        self.put("a", old)
        gathered = io.BytesIO()
        getting = self.client.get("a", gathered.write)
        self.pair.flush(gathered.getvalue)
        self.store.remove("a")
        incoming = self.store.receive("a")
        incoming.write(b"new")
        incoming.commit()
        self.done(getting)
        self.assertEqual(gathered.getvalue(), old)
        self.assertEqual(self.get("a")[1], b"new")

    def test_lostWhileOpening(self) -> None:
        """
        A file that is opened for a connection that is gone meanwhile is closed.
        """
        self.put("a", value(100_000))
        files = self.openedFiles()
        opening: list[Callable[[], None]] = []

        def later(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
            result: Deferred[Any] = Deferred()
            opening.append(lambda: result.callback(function(*args)))
            return result

        self.factory.inThread = later
        getting = self.client.get("a", len)
        self.pair.flush()
        self.pair.lose()
        self.failureResultOf(getting, ConnectionDone)
        while opening:
            opening.pop()()
        self.assertEqual([file.closed for file in files], [True])

    def openedFiles(self) -> list[BinaryIO]:
        """
        Remember the files that the service opens from now on.
        """
        files: list[BinaryIO] = []
        opened = self.store.open

        def remember(name: str) -> tuple[BinaryIO, FileInfo]:
            file, info = opened(name)
            files.append(file)
            return file, info

        self.patch(self.store, "open", remember)
        return files


class DamageTests(MemoryTestCase):
    """
    What a bad network card, or a bad peer, does to a value is noticed.
    """

    def test_stored(self) -> None:
        """
        A put fails if the service has stored something else than was sent.
        """
        self.patch(Incoming, "sha256", b"something else")
        error = self.failed(self.client.put("a", io.BytesIO(b"x").read), DigestMismatch)
        self.assertIn("'a'", str(error))

    def test_sentInABox(self) -> None:
        """
        The service stores nothing that has not the SHA-256 that was sent with it.
        """

        async def call() -> None:
            await self.pair.client.callRemote(
                PutBig, name="a", body=b"x", sha256=hashlib.sha256(b"y").digest()
            )

        self.failed(ensureDeferred(call()), DigestMismatch)
        self.failed(self.client.stat("a"), NoSuchFile)

    def test_gotInABox(self) -> None:
        """
        A get fails if the value has not the SHA-256 that came with it.
        """
        self.put("a", b"x")

        def damaged(store: FileStore, name: str) -> dict[str, Any]:
            return {
                "body": b"y",
                "sha256": hashlib.sha256(b"x").digest(),
                "modified": store.stat(name).modified,
            }

        self.patch(fileserver, "_readBig", damaged)
        self.failed(self.client.get("a", len, via="bigstring"), DigestMismatch)


class BigTests(MemoryTestCase):
    """
    The bound on what one box may carry.
    """

    def setUp(self) -> None:
        """
        Make it small.
        """
        super().setUp()
        for module in (hashed, fileserver):
            self.patch(module, "MAX_BIG", 1000)

    def test_put(self) -> None:
        """
        A larger file is not sent, whether or not its size is known.
        """
        for size in (1001, None):
            putting = self.client.put(
                "a", io.BytesIO(bytes(1001)).read, size=size, via="bigstring"
            )
            error = self.failed(putting, FileTooLarge)
            self.assertIn("put it over a stream", str(error))
        self.put("a", bytes(1000), "bigstring")

    def test_get(self) -> None:
        """
        The service does not read a larger one into its memory.
        """
        self.put("a", bytes(1001))
        error = self.failed(self.client.get("a", len, via="bigstring"), FileTooLarge)
        self.assertIn("get it over a stream", str(error))
        self.put("a", bytes(1000))
        self.assertEqual(len(self.get("a", "bigstring")[1]), 1000)


class NoServerTests(MemoryTestCase):
    """
    Out of band, where nobody listens.
    """

    def test_transfers(self) -> None:
        """
        The calls fail with an error that says what to do, nothing is left, and the
        connection survives.
        """
        self.put("a", b"x")
        read = io.BytesIO(b"y").read
        for calling in (
            self.client.put("a", read, via="oob"),
            self.client.get("a", len, via="oob"),
            self.client.ticket("a"),
        ):
            error = self.failed(calling, NobodyListens)
            self.assertIn("--bulk", str(error))
        self.assertEqual(self.root.child("a").getContent(), b"x")

    def test_noTicket(self) -> None:
        """
        Nobody can wait for a ticket that was not issued.
        """
        self.failed(self.client.ticketUsed(1), NoSuchTicket)


class DirectoryTests(MemoryTestCase):
    """
    Listing, describing and removing.
    """

    def test_empty(self) -> None:
        """
        There may be no files.
        """
        self.assertEqual(self.done(self.client.listFiles()), [])

    def test_fullPage(self) -> None:
        """
        A page of the longest names and sizes fits into the answer, and the client
        asks for the next pages.
        """
        names = sorted(f"{number:03}" + "é" * 126 for number in range(MAX_PAGE + 10))
        for name in names:
            with open(self.root.child(name).path, "wb") as file:
                file.truncate(2**42)
        files = self.done(self.client.listFiles())
        self.assertEqual([info.name for info in files], names)
        self.assertEqual({info.size for info in files}, {2**42})

    def test_limit(self) -> None:
        """
        A page has at least one file and at most a full page, whatever is asked.
        """
        for number in range(MAX_PAGE + 1):
            self.root.child(f"{number:03}").setContent(b"")
        for limit, count in [(-1, 1), (0, 1), (2, 2), (10**9, MAX_PAGE)]:
            calling = self.pair.client.callRemote(ListFiles, after="", limit=limit)
            answer = self.done(calling)
            self.assertEqual((len(answer["files"]), answer["more"]), (count, True))

    def test_pageVanishes(self) -> None:
        """
        A page whose files have all gone meanwhile does not end the list.
        """
        self.put("a", b"x")
        pages = iter([([], True), ([self.store.stat("a")], False)])
        self.patch(self.store, "page", lambda after, limit: next(pages))
        files = self.done(self.client.listFiles())
        self.assertEqual([info.name for info in files], ["a"])

    def test_stat(self) -> None:
        """
        A file is described as it is.
        """
        self.put("a", b"12345")
        info = self.done(self.client.stat("a"))
        self.assertEqual(info, self.store.stat("a"))
        self.assertEqual(info.modified.utcoffset(), timedelta(0))
        self.failed(self.client.stat("b"), NoSuchFile)

    def test_remove(self) -> None:
        """
        A file that was removed is gone.
        """
        self.put("a", b"x")
        self.assertIsNone(self.done(self.client.remove("a")))
        self.failed(self.client.remove("a"), NoSuchFile)
        self.failed(self.client.remove("../a"), InvalidName)

    def test_ping(self) -> None:
        """
        A ping brings back what it took there.
        """
        calling = self.pair.client.callRemote(Ping, payload=b"x" * 1000)
        self.assertEqual(self.done(calling), {"payload": b"x" * 1000})

    def test_disconnect(self) -> None:
        """
        The client can close the connection, and learns when it is closed.
        """
        self.assertIsNone(self.done(self.client.disconnect()))


class FactoryTests(SynchronousTestCase):
    """
    The bound on connections.
    """

    def test_tooMany(self) -> None:
        """
        A connection too many is refused, and there is room again when one closes.
        """
        factory = FileServiceFactory(FileStore("."), maxConnections=2)
        first, second, third = (factory.buildProtocol(None) for _ in range(3))
        assert first is not None and second is not None and third is not None
        pair = connectInMemory(FileClientProtocol(), first)
        connectInMemory(FileClientProtocol(), second)
        self.assertIsNone(factory.buildProtocol(None))
        pair.lose()
        self.assertIsNotNone(factory.buildProtocol(None))


@implementer(IStreamClientEndpoint)
class Sleepy:
    """
    An endpoint that connects when it is told to, or never.
    """

    def __init__(self, stubborn: bool) -> None:
        # One that is stubborn connects even after it was told not to.
        self.connecting: Deferred[Any] = Deferred(
            lambda deferred: deferred.callback("connected") if stubborn else None
        )

    def connect(self, protocolFactory: object) -> Deferred[Any]:
        """
        Connect some time.
        """
        return self.connecting


class ConnectTests(SynchronousTestCase):
    """
    L{connect}
    """

    def test_never(self) -> None:
        """
        A connection that takes too long is given up, with a message that says so.
        """
        clock = Clock()
        connecting = connect(clock, Sleepy(stubborn=False), 30)
        clock.advance(29)
        self.assertNoResult(connecting)
        clock.advance(1)
        failure = self.failureResultOf(connecting, TimeoutError)
        self.assertEqual(str(failure.value), "no answer within 30 s")

    def test_justInTime(self) -> None:
        """
        A connection that is there when it would be given up is used.
        """
        clock = Clock()
        connecting = connect(clock, Sleepy(stubborn=True), 30)
        clock.advance(30)
        self.assertIsInstance(self.successResultOf(connecting), FileClient)


class NetworkTestCase(TestCase):
    """
    Tests over TCP, with threads.
    """

    timeout = 60

    async def serve(
        self, maxSize: int = 2**30, bulkServer: OutOfBandServer | None = None
    ) -> Callable[[], Deferred[FileClient]]:
        """
        Start a service.

        @return: What connects to it.
        """
        self.root: FilePath[str] = FilePath(self.mktemp())
        self.root.makedirs()
        store = FileStore(self.root, maxSize)
        factory = FileServiceFactory(store, bulkServer=bulkServer)
        description = "tcp:0:interface=127.0.0.1"
        port = await serverFromString(reactor, description).listen(factory)
        self.addCleanup(factory.settled)
        self.addCleanup(port.stopListening)
        address = clientString(description, port.getHost())

        def connected(client: FileClient) -> FileClient:
            self.addCleanup(client.disconnect)
            return client

        def connectOne() -> Deferred[FileClient]:
            endpoint = clientEndpoint(reactor, address, 30)
            clock: Any = reactor
            return connect(clock, endpoint, 30).addCallback(connected)

        return connectOne


class NetworkTests(NetworkTestCase):
    """
    Files there and back, over TCP.
    """

    def test_manyAtOnce(self) -> Deferred[None]:
        """
        Several files, both ways, over one connection and with small calls between
        them, all arrive whole.
        """

        async def test() -> None:
            client = await (await self.serve())()
            bodies = {f"{number}": os.urandom(300_000 * number) for number in range(8)}
            pings = [client.ping() for _ in range(20)]
            await gatherResults(
                client.put(
                    name,
                    io.BytesIO(body).read,
                    via="bigstring" if name == "5" else "stream",
                )
                for name, body in bodies.items()
            )
            gathered = {name: io.BytesIO() for name in bodies}
            await gatherResults(
                client.get(name, gathered[name].write) for name in bodies
            )
            await gatherResults(pings)
            for name, body in bodies.items():
                self.assertEqual(gathered[name].getvalue(), body)

        return ensureDeferred(test())

    def test_sameName(self) -> Deferred[None]:
        """
        When several clients put one name at once, it holds one of their values,
        whole.
        """

        async def test() -> None:
            connectOne = await self.serve()
            bodies = [bytes([number]) * 2_000_000 for number in range(4)]
            clients = [await connectOne() for _ in bodies]
            await gatherResults(
                client.put("a", io.BytesIO(body).read)
                for client, body in zip(clients, bodies, strict=True)
            )
            self.assertIn(self.root.child("a").getContent(), bodies)
            self.assertEqual(os.listdir(self.root.path), ["a"])

        return ensureDeferred(test())

    def test_clientGoesAway(self) -> Deferred[None]:
        """
        A client that closes its connection in the middle of a put leaves nothing.
        """

        async def test() -> None:
            # After all other cleaning up:
            self.addCleanup(lambda: self.assertEqual(os.listdir(self.root.path), []))
            client = await (await self.serve())()
            begun: Deferred[None] = Deferred()
            pieces = 0

            def read(size: int) -> bytes:
                nonlocal pieces
                pieces += 1
                if pieces == 20:
                    clock: Any = reactor
                    clock.callFromThread(begun.callback, None)
                return bytes(size)

            putting = client.put("a", read)
            await begun
            self.assertEqual(len(os.listdir(self.root.path)), 1)
            await client.disconnect()
            await self.assertFailure(putting, ConnectionDone)

        return ensureDeferred(test())

    def test_stream(self) -> Deferred[None]:
        """
        The Commands are ordinary AMP Commands with streams in them: any source
        can be put, and what is got can be collected.
        """

        async def test() -> None:
            client = await (await self.serve())()
            protocol = client.protocol
            answer = await protocol.callRemote(
                PutFile, name="a", body=(b"x" * 1000 for _ in range(1000))
            )
            self.assertEqual(answer["size"], 1_000_000)
            answer = await protocol.callRemote(GetFile, name="a")
            self.assertEqual(await answer["body"].collect(), b"x" * 1_000_000)

        return ensureDeferred(test())


class OutOfBandTests(NetworkTestCase):
    """
    Files there and back, out of band.
    """

    skip = NO_HTTP

    async def client(self, **options: Any) -> FileClient:
        """
        Start a service with such a server.

        @return: A client of it.
        """
        bulk = OutOfBandServer(LOCAL)
        self.addCleanup(bulk.stopService)
        await startBulk(bulk)
        connectOne = await self.serve(bulkServer=bulk, **options)
        return await connectOne()

    def test_roundTrip(self) -> Deferred[None]:
        """
        Values of all sizes come back as they were sent, whether or not their size was
        known, with the SHA-256 that both ends have computed, and progress is told of
        each byte.
        """

        async def test() -> None:
            client = await self.client()
            for size in SIZES:
                body = value(size)
                sha256 = hashlib.sha256(body).digest()
                for announced in (size, None):
                    up, down = Recorder(), Recorder()
                    stored = await client.put(
                        *("a", io.BytesIO(body).read),
                        size=announced,
                        via="oob",
                        progress=up,
                    )
                    self.assertEqual((stored.size, stored.sha256), (size, sha256))
                    self.assertEqual(self.root.child("a").getContent(), body)
                    gathered = io.BytesIO()
                    fetched = await client.get(
                        "a", gathered.write, via="oob", progress=down
                    )
                    self.assertEqual(gathered.getvalue(), body)
                    self.assertEqual((fetched.size, fetched.sha256), (size, sha256))
                    self.assertEqual((up.size, up.count), (announced, size))
                    self.assertEqual((down.size, down.count), (size, size))

        return ensureDeferred(test())

    def test_failures(self) -> Deferred[None]:
        """
        What fails leaves the old value, and says why; the connection survives.
        """

        async def test() -> None:
            client = await self.client(maxSize=1_000_000)
            await client.put("a", io.BytesIO(b"old").read)

            def broken(data: object) -> bytes:
                raise OSError(errno.EIO, "Input/output error")

            for putting, reason in [
                (client.put("a", bytes, size=1_000_001, via="oob"), FileTooLarge),
                (client.put("a", bytes, via="oob"), FileTooLarge),
                (client.put("a", broken, via="oob"), SourceFailed),
                (client.put("../a", bytes, via="oob"), InvalidName),
                (client.get("b", len, via="oob"), NoSuchFile),
                (client.get("a", broken, via="oob"), OSError),
            ]:
                await self.assertFailure(putting, reason)
                await client.ping()
            self.assertEqual(self.root.child("a").getContent(), b"old")
            self.assertEqual(os.listdir(self.root.path), ["a"])

        return ensureDeferred(test())

    def test_awaitedOnce(self) -> Deferred[None]:
        """
        The end of a ticket is told once, and of none that there is not.
        """

        async def test() -> None:
            client = await self.client()
            await client.put("a", io.BytesIO(b"x").read)
            granted = await client.ticket("a")
            self.assertEqual(granted.info, await client.stat("a"))
            self.assertEqual(granted.ticket.maxSize, 1)
            waiting = client.ticketUsed(granted.number)
            await self.assertFailure(client.ticketUsed(granted.number), NoSuchTicket)
            await self.assertFailure(client.ticketUsed(99), NoSuchTicket)
            await client.disconnect()
            await self.assertFailure(waiting, ConnectionDone)

        return ensureDeferred(test())

    def test_tooMany(self) -> Deferred[None]:
        """
        One connection has a bounded number of tickets, and a file that is not there
        takes the place of none.
        """

        async def test() -> None:
            self.patch(filetickets, "MAX_TICKETS", 2)
            client = await self.client()
            await client.put("a", io.BytesIO(b"x").read)
            for _ in range(3):
                await self.assertFailure(client.ticket("b"), NoSuchFile)
            numbers = {(await client.ticket("a")).number for _ in range(2)}
            self.assertEqual(len(numbers), 2)
            await self.assertFailure(client.ticket("a"), TooManyTickets)
            await client.ping()

        return ensureDeferred(test())

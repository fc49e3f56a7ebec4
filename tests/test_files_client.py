# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The file service and its client, in memory and over TCP."""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
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

from amp_stream import StreamConfig
from amp_stream.errors import (
    DigestMismatch,
    NoOutOfBandServer,
    SourceFailed,
    StreamAborted,
    StreamError,
    UsageError,
)
from amp_stream.files import (
    FileClient,
    FileInfo,
    FileServerFactory,
    FileStore,
    FileTooLarge,
    GetFile,
    InvalidName,
    ListFiles,
    NoSuchFile,
    NoSuchOffer,
    Ping,
    PutFile,
    StorageFull,
    _server,
    connect,
)
from amp_stream.files._client import FileClientProtocol
from amp_stream.files._commands import MAX_PAGE, AwaitOffer
from amp_stream.files._endpoints import clientString
from amp_stream.files._server import FileServerProtocol, startOutOfBand
from amp_stream.files._storage import Upload
from amp_stream.files._threads import ThreadedSource
from amp_stream.outofband import OutOfBandServer
from amp_stream.testing import ConnectedPair, connectInMemory
from tests.codes import classOf
from tests.twistdservice import LOCAL, NO_HTTP

_T = TypeVar("_T")

SIZES = [0, 1, 65_535, 65_536, 700_000]


def value(size: int) -> bytes:
    """Make some bytes."""
    return (b"0123456789abcde\n" * (size // 16 + 1))[:size]


class Recorder:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.size: int | None = -1
        self.counts: list[int] = []

    def __call__(self, moved: int, size: int | None) -> None:
        self.counts.append(moved)
        self.size = size


class MemoryTestCase(SynchronousTestCase):
    """Tests with a client and a service in memory, and no threads."""

    maxSize = 1_000_000

    def setUp(self) -> None:
        """Connect them."""
        self.root: FilePath[str] = FilePath(self.mktemp())
        self.root.makedirs()
        self.store = FileStore(self.root, maxFileSize=self.maxSize)
        self.factory = FileServerFactory(self.store, inThread=maybeDeferred)
        protocol = self.factory.buildProtocol(None)
        assert protocol is not None
        self.pair: ConnectedPair[FileClientProtocol, FileServerProtocol]
        self.pair = connectInMemory(FileClientProtocol(), protocol)
        self.client = FileClient(self.pair.client, inThread=maybeDeferred)

    def tearDown(self) -> None:
        """
        Nothing may be left half written, and no call may have ended the
        connection.
        """
        self.assertEqual(self.hidden(), [])

    def hidden(self) -> list[str]:
        """The temporary files in the root."""
        return [name for name in os.listdir(self.root.path) if name.startswith(".")]

    def done(self, deferred: Deferred[_T]) -> _T:
        """Move all bytes, and take the result."""
        self.pair.flush()
        result: _T = self.successResultOf(deferred)
        return result

    def failed(self, deferred: Deferred[Any], *types: type[Exception]) -> Exception:
        """Move all bytes, take the error, and see that the connection has survived."""
        self.pair.flush()
        error: Exception = self.failureResultOf(deferred, *types).value
        self.assertIsNone(self.done(self.client.ping()))
        return error

    def put(self, name: str, body: bytes) -> FileInfo:
        """Put a file."""
        return self.done(self.client.put(name, body))

    def get(self, name: str) -> tuple[FileInfo, bytes]:
        """Get a file."""
        gathered = io.BytesIO()
        info = self.done(self.client.get(name, gathered))
        return info, gathered.getvalue()


class Broken:
    """A file that can be neither read nor written."""

    def read(self, size: int) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    def write(self, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


class Endless:
    """A file that never ends."""

    def read(self, size: int) -> bytes:
        return bytes(size)


async def asynchronously(pieces: list[bytes]) -> AsyncIterator[bytes]:
    """Make an async iterable."""
    for piece in pieces:
        yield piece


class TransferTests(MemoryTestCase):
    """Files there and back."""

    def test_roundTrip(self) -> None:
        """
        Files of all sizes come back as they were sent, with the SHA-256 that both ends
        have computed and the time at which the service has stored them.
        """
        for size in SIZES:
            body = value(size)
            sha256 = hashlib.sha256(body).digest()
            stored = self.put("a", body)
            modified = self.store.stat("a").modified
            self.assertEqual(stored, FileInfo("a", size, modified, sha256))
            self.assertEqual(self.root.child("a").getContent(), body)
            self.assertEqual(self.get("a"), (stored, body))

    def test_sources(self) -> None:
        """
        A file can be put from bytes, a path, a binary file, an iterable or
        an async iterable; its size need not be known.
        """
        body = value(700_000)
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(body)
        pieces = [body[:1], body[1:300_000], body[300_000:]]
        opened = open(path, "rb")  # noqa: SIM115 - the client closes it
        producer = ThreadedSource(io.BytesIO(body).read, None, maybeDeferred)
        for source, size in [
            (body, len(body)),
            (bytearray(body), len(body)),
            (memoryview(body), len(body)),
            (FilePath(path), len(body)),
            (Path(path), len(body)),
            (opened, None),
            (io.BytesIO(body), len(body)),
            (producer, None),
            (pieces, None),
            (asynchronously(pieces), None),
        ]:
            progress = Recorder()
            stored = self.done(self.client.put("a", source, progress=progress))
            self.assertEqual(stored.sha256, hashlib.sha256(body).digest())
            self.assertEqual(self.root.child("a").getContent(), body)
            self.assertEqual(progress.size, size, source)
            self.assertEqual(progress.counts[0], 0)
            self.assertEqual(progress.counts[-1], len(body))
            self.assertEqual(progress.counts, sorted(progress.counts))
        self.assertTrue(opened.closed)

    def test_sinks(self) -> None:
        """
        A file can be got into a path or a binary file, and progress is told its size
        and every byte.
        """
        body = value(700_000)
        stored = self.put("a", body)
        path = FilePath(self.mktemp())
        buffer = io.BytesIO()
        for sink, content in [
            (path, path.getContent),
            (Path(path.path), path.getContent),
            (buffer, buffer.getvalue),
        ]:
            progress = Recorder()
            got = self.done(self.client.get("a", sink, progress=progress))
            self.assertEqual(got, stored)
            self.assertEqual(content(), body)
            self.assertEqual(progress.size, len(body))
            self.assertEqual((progress.counts[0], progress.counts[-1]), (0, len(body)))
        self.assertFalse(buffer.closed)

    def test_notBytes(self) -> None:
        """
        A file cannot be put from a text, a number or a Deferred, nor got into a
        number.
        """
        for source in ("text", io.StringIO("text"), 7, Deferred()):
            calling = self.client.put("a", source)  # type: ignore[arg-type]
            error = self.failed(calling, UsageError)
            self.assertIn("a file is made from bytes", str(error))
        self.put("a", b"x")
        error = self.failed(self.client.get("a", 7), UsageError)  # type: ignore[arg-type]
        self.assertIn("a file is written to a path", str(error))

    def test_badNames(self) -> None:
        """The service refuses a name that a file cannot have."""
        for name in ("../a", "", ".a"):
            self.failed(self.client.put(name, b""), InvalidName)
            self.failed(self.client.get(name, io.BytesIO()), InvalidName)

    def test_noSuchFile(self) -> None:
        """Getting a file that is not there fails with an error that names it."""
        error = self.failed(self.client.get("a", io.BytesIO()), NoSuchFile)
        self.assertIn("'a'", str(error))

    def test_announcedTooLarge(self) -> None:
        """
        A file whose announced size is over the limit is refused before the
        service touches its disk.
        """
        self.put("a", b"old")
        self.patch(Upload, "write", lambda *ignored: self.fail("written"))
        self.failed(self.client.put("a", bytes(self.maxSize + 1)), FileTooLarge)
        self.assertEqual(self.get("a")[1], b"old")

    def test_endless(self) -> None:
        """
        A file that turns out to be over the limit is stopped there, and the older
        file of the name stays.
        """
        self.put("a", b"old")
        self.failed(self.client.put("a", Endless()), FileTooLarge)  # type: ignore[arg-type]
        self.assertEqual(self.get("a")[1], b"old")

    def test_diskFull(self) -> None:
        """A disk that is full fails the call that needs it, and no other."""
        self.put("a", b"old")

        def full(*ignored: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        patcher = self.patch(os, "write", full)
        self.failed(self.client.put("a", value(700_000)), StorageFull)
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
        self.failed(self.client.put("a", value(700_000)), StorageFull)
        patcher.restore()
        self.failed(self.client.get("a", io.BytesIO()), NoSuchFile)

    def test_sourceFails(self) -> None:
        """
        An error while a file is read fails the put, and the service stores
        nothing.
        """
        error = self.failed(self.client.put("a", Broken()), StreamError)  # type: ignore[arg-type]
        self.assertIn("Input/output error", str(error))
        self.failed(self.client.stat("a"), NoSuchFile)

    def test_sourceTooShort(self) -> None:
        """A source that ends before its announced size stores nothing."""
        source = ThreadedSource(io.BytesIO(b"short").read, 10, maybeDeferred)
        error = self.failed(self.client.put("a", source), StreamError)
        self.assertIn("5 bytes too early", str(error))
        self.failed(self.client.stat("a"), NoSuchFile)

    def test_noSource(self) -> None:
        """A path that cannot be opened fails the put."""
        self.failed(self.client.put("a", FilePath("no/such/file")), FileNotFoundError)

    def test_sinkFails(self) -> None:
        """
        An error while a file is written is the error of the get, and stops the
        stream.
        """
        self.put("a", value(900_000))
        self.failed(self.client.get("a", Broken()), OSError)

    def test_sinkKeepsTheOldFile(self) -> None:
        """A get that fails leaves the older file at its path, and no temporary file."""
        self.put("a", value(900_000))
        directory = FilePath(self.mktemp())
        directory.makedirs()
        path = directory.child("a")
        path.setContent(b"old")

        def full(*ignored: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        patcher = self.patch(os, "write", full)
        self.failed(self.client.get("a", path), OSError)
        patcher.restore()
        self.assertEqual(directory.listdir(), ["a"])
        self.assertEqual(path.getContent(), b"old")

    def test_cancelledPut(self) -> None:
        """Cancelling a put stops it at both ends."""
        putting = self.client.put("a", Endless())  # type: ignore[arg-type]
        self.pair.flush(self.hidden)
        putting.cancel()
        self.failed(putting, CancelledError)
        self.assertEqual(self.hidden(), [])
        self.failed(self.client.stat("a"), NoSuchFile)

    def test_cancelledGet(self) -> None:
        """Cancelling a get stops it at both ends, and the service closes its file."""
        self.put("a", value(900_000))
        files = self.openedFiles()
        gathered = io.BytesIO()
        getting = self.client.get("a", gathered)
        self.pair.flush(gathered.getvalue)
        getting.cancel()
        self.failed(getting, CancelledError, StreamAborted)
        self.assertEqual([file.closed for file in files], [True])

    def test_closesFiles(self) -> None:
        """The service closes a file that it has sent."""
        self.put("a", value(100_000))
        files = self.openedFiles()
        self.get("a")
        self.assertEqual([file.closed for file in files], [True])

    def test_lostWhilePutting(self) -> None:
        """
        A connection that is lost in the middle of a put leaves no temporary
        file, and the older file of the name stays.
        """
        self.put("a", b"old")
        putting = self.client.put("a", Endless())  # type: ignore[arg-type]
        self.pair.flush(self.hidden)
        self.pair.lose()
        self.failureResultOf(putting, ConnectionDone)
        self.assertEqual(self.root.child("a").getContent(), b"old")
        self.successResultOf(self.factory.settled())

    def test_replacedWhileReading(self) -> None:
        """
        A client that reads a file gets all of it, even if its name is given
        another one meanwhile.
        """
        old = value(900_000)
        self.put("a", old)
        gathered = io.BytesIO()
        getting = self.client.get("a", gathered)
        self.pair.flush(gathered.getvalue)
        self.store.remove("a")
        upload = self.store.receive("a")
        upload.write(b"new")
        upload.commit()
        self.done(getting)
        self.assertEqual(gathered.getvalue(), old)
        self.assertEqual(self.get("a")[1], b"new")

    def test_lostWhileOpening(self) -> None:
        """
        A file that the service opens for a connection that is lost meanwhile is
        closed.
        """
        self.put("a", value(100_000))
        files = self.openedFiles()
        opening: list[Callable[[], None]] = []

        def later(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
            result: Deferred[Any] = Deferred()
            opening.append(lambda: result.callback(function(*args)))
            return result

        self.factory.inThread = later
        getting = self.client.get("a", io.BytesIO())
        self.pair.flush()
        self.pair.lose()
        self.failureResultOf(getting, ConnectionDone)
        while opening:
            opening.pop()()
        self.assertEqual([file.closed for file in files], [True])

    def openedFiles(self) -> list[BinaryIO]:
        """Remember the files that the service opens from now on."""
        files: list[BinaryIO] = []
        opened = self.store.open

        def remember(name: str) -> tuple[BinaryIO, FileInfo]:
            file, info = opened(name)
            files.append(file)
            return file, info

        self.patch(self.store, "open", remember)
        return files


class DamageTests(MemoryTestCase):
    """A peer that damages a file."""

    def test_stored(self) -> None:
        """A put fails if the service has stored other bytes than were sent."""
        self.patch(Upload, "sha256", b"something else")
        error = self.failed(self.client.put("a", b"x"), DigestMismatch)
        self.assertIn("'a'", str(error))


class NoServerTests(MemoryTestCase):
    """Out of band, where neither side listens."""

    def test_transfers(self) -> None:
        """
        Where neither side listens for out-of-band transfers, put, get and offer fail
        with an error that names the option of the service.
        """
        self.put("a", b"x")
        for calling in (
            self.client.put("a", b"y", outOfBand=True),
            self.client.get("a", io.BytesIO(), outOfBand=True),
            self.client.offer("a"),
        ):
            error = self.failed(calling, NoOutOfBandServer)
            self.assertIn("--oob-listen", str(error))
        self.assertEqual(self.root.child("a").getContent(), b"x")

    def test_noOffer(self) -> None:
        """A client cannot wait for an offer that was not made."""

        async def wait() -> None:
            await self.pair.client.callRemote(AwaitOffer, number=1)

        self.failed(ensureDeferred(wait()), NoSuchOffer)


class DirectoryTests(MemoryTestCase):
    """Listing, describing and removing."""

    def test_empty(self) -> None:
        """The list of an empty store is empty."""
        self.assertEqual(self.done(self.client.list()), [])

    def test_fullPage(self) -> None:
        """
        A page of the longest names and sizes fits into the answer, and the client
        asks for the next pages.
        """
        names = sorted(f"{number:03}" + "é" * 126 for number in range(MAX_PAGE + 10))
        for name in names:
            with open(self.root.child(name).path, "wb") as file:
                file.truncate(2**42)
        files = self.done(self.client.list())
        self.assertEqual([info.name for info in files], names)
        self.assertEqual({info.size for info in files}, {2**42})

    def test_limit(self) -> None:
        """
        A page of a list has at least one file and at most a full page, whatever
        limit the client asks for.
        """
        for number in range(MAX_PAGE + 1):
            self.root.child(f"{number:03}").setContent(b"")
        for limit, count in [(-1, 1), (0, 1), (2, 2), (10**9, MAX_PAGE)]:
            calling = self.pair.client.callRemote(ListFiles, after="", limit=limit)
            answer = self.done(calling)
            self.assertEqual((len(answer["files"]), answer["more"]), (count, True))

    def test_pageVanishes(self) -> None:
        """
        A page of a list whose files have all gone meanwhile does not end the
        list.
        """
        self.put("a", b"x")
        pages = iter([([], True), ([self.store.stat("a")], False)])
        self.patch(self.store, "page", lambda after, limit: next(pages))
        files = self.done(self.client.list())
        self.assertEqual([info.name for info in files], ["a"])

    def test_stat(self) -> None:
        """stat describes a file as the store does."""
        self.put("a", b"12345")
        info = self.done(self.client.stat("a"))
        self.assertEqual(info, self.store.stat("a"))
        self.assertEqual(info.modified.utcoffset(), timedelta(0))
        self.failed(self.client.stat("b"), NoSuchFile)

    def test_remove(self) -> None:
        """A file that was removed is gone."""
        self.put("a", b"x")
        self.assertIsNone(self.done(self.client.remove("a")))
        self.failed(self.client.remove("a"), NoSuchFile)
        self.failed(self.client.remove("../a"), InvalidName)

    def test_ping(self) -> None:
        """The answer to a ping has the payload of the ping."""
        calling = self.pair.client.callRemote(Ping, payload=b"x" * 1000)
        self.assertEqual(self.done(calling), {"payload": b"x" * 1000})

    def test_close(self) -> None:
        """close() of a client fires when the connection is closed."""
        self.assertIsNone(self.done(self.client.close()))


@implementer(IStreamClientEndpoint)
class Sleepy:
    """An endpoint that connects when it is told to, or never."""

    def __init__(self, stubborn: bool) -> None:
        # One that is stubborn connects even after it was told not to.
        protocol = FileClientProtocol()
        self.connecting: Deferred[Any] = Deferred(
            lambda deferred: deferred.callback(protocol) if stubborn else None
        )
        protocol.ready.callback(protocol)

    def connect(self, protocolFactory: object) -> Deferred[Any]:
        """Return a Deferred that the test fires, or never."""
        return self.connecting


class ConnectTests(SynchronousTestCase):
    """L{connect}"""

    def test_never(self) -> None:
        """
        A connection that takes longer than connectTimeout fails with a message
        that says so.
        """
        clock = Clock()
        connecting = connect(Sleepy(stubborn=False), reactor=clock)
        clock.advance(29)
        self.assertNoResult(connecting)
        clock.advance(1)
        failure = self.failureResultOf(connecting, TimeoutError)
        self.assertEqual(str(failure.value), "no answer within 30 s")

    def test_justInTime(self) -> None:
        """A connection that is made at the moment of connectTimeout is used."""
        clock = Clock()
        connecting = connect(Sleepy(stubborn=True), reactor=clock)
        clock.advance(30)
        self.assertIsInstance(self.successResultOf(connecting), FileClient)


class NetworkTestCase(TestCase):
    """Tests over TCP, with threads."""

    timeout = 60

    async def serve(
        self, maxSize: int = 2**30, outOfBandServer: OutOfBandServer | None = None
    ) -> Callable[[], Deferred[FileClient]]:
        """
        Start a service.

        @return: What connects to it.
        """
        self.root: FilePath[str] = FilePath(self.mktemp())
        self.root.makedirs()
        store = FileStore(self.root, maxFileSize=maxSize)
        factory = FileServerFactory(
            store, config=StreamConfig(outOfBandServer=outOfBandServer)
        )
        description = "tcp:0:interface=127.0.0.1"
        endpoint = serverFromString(reactor, description)
        port = await endpoint.listen(factory)
        self.addCleanup(factory.settled)
        self.addCleanup(port.stopListening)
        address = clientString(endpoint, port.getHost())

        def connected(client: FileClient) -> FileClient:
            self.addCleanup(client.close)
            return client

        def connectOne() -> Deferred[FileClient]:
            return connect(address).addCallback(connected)

        return connectOne


class NetworkTests(NetworkTestCase):
    """Files there and back, over TCP."""

    def test_manyAtOnce(self) -> Deferred[None]:
        """
        Several files, both ways, over one connection and with small calls
        between them, all arrive whole.
        """

        async def test() -> None:
            client = await (await self.serve())()
            bodies = {f"{number}": os.urandom(300_000 * number) for number in range(8)}
            pings = [client.ping() for _ in range(20)]
            await gatherResults(client.put(name, body) for name, body in bodies.items())
            gathered = {name: io.BytesIO() for name in bodies}
            await gatherResults(client.get(name, gathered[name]) for name in bodies)
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
                client.put("a", body)
                for client, body in zip(clients, bodies, strict=True)
            )
            self.assertIn(self.root.child("a").getContent(), bodies)
            self.assertEqual(os.listdir(self.root.path), ["a"])

        return ensureDeferred(test())

    def test_clientGoesAway(self) -> Deferred[None]:
        """
        A client that closes its connection in the middle of a put leaves no
        file.
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

            putting = client.put("a", ThreadedSource(read))
            await begun
            self.assertEqual(len(os.listdir(self.root.path)), 1)
            await client.close()
            await self.assertFailure(putting, ConnectionDone)

        return ensureDeferred(test())

    def test_stream(self) -> Deferred[None]:
        """
        The Commands are ordinary AMP Commands with streams in them: any source
        can be put, and the body of an answer can be collected.
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
    """Files there and back, out of band."""

    skip = NO_HTTP

    async def client(self, **options: Any) -> FileClient:
        """
        Start a service with such a server.

        @return: A client of it.
        """
        server = OutOfBandServer(LOCAL)
        self.addCleanup(server.stopService)
        await startOutOfBand(server)
        connectOne = await self.serve(outOfBandServer=server, **options)
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
                unknown = ThreadedSource(io.BytesIO(body).read)
                for source, announced in [(body, size), (unknown, None)]:
                    up, down = Recorder(), Recorder()
                    stored = await client.put("a", source, outOfBand=True, progress=up)
                    self.assertEqual((stored.size, stored.sha256), (size, sha256))
                    self.assertEqual(self.root.child("a").getContent(), body)
                    gathered = io.BytesIO()
                    got = await client.get("a", gathered, outOfBand=True, progress=down)
                    self.assertEqual(gathered.getvalue(), body)
                    self.assertEqual(got, stored)
                    self.assertEqual((up.size, up.counts[-1]), (announced, size))
                    self.assertEqual((down.size, down.counts[-1]), (size, size))

        return ensureDeferred(test())

    def test_failures(self) -> Deferred[None]:
        """
        A transfer that fails tells why, leaves the older file in place, and does not
        end the connection.
        """

        async def test() -> None:
            client = await self.client(maxSize=1_000_000)
            await client.put("a", b"old")
            endless = ThreadedSource(bytes)
            announced = ThreadedSource(bytes, 1_000_001)
            broken: Any = Broken()
            for calling, reason in [
                (partial(client.put, "a", announced), FileTooLarge),
                (partial(client.put, "a", endless), FileTooLarge),
                (partial(client.put, "a", broken), SourceFailed),
                (partial(client.put, "../a", b"x"), InvalidName),
                (partial(client.get, "b", io.BytesIO()), NoSuchFile),
                (partial(client.get, "a", broken), OSError),
            ]:
                await self.assertFailure(calling(outOfBand=True), reason)
                await client.ping()
            self.assertEqual(self.root.child("a").getContent(), b"old")
            self.assertEqual(os.listdir(self.root.path), ["a"])

        return ensureDeferred(test())

    def test_awaitedOnce(self) -> Deferred[None]:
        """
        A client can wait once for the end of an offer, and only for one that
        was made.
        """

        async def test() -> None:
            client = await self.client()
            await client.put("a", b"x")
            offer = await client.offer("a")
            self.assertEqual(offer.info, await client.stat("a"))
            self.assertEqual(offer.ticket.maxSize, 1)
            waiting = offer.whenUsed()
            await self.assertFailure(offer.whenUsed(), NoSuchOffer)
            await client.close()
            await self.assertFailure(waiting, ConnectionDone)

        return ensureDeferred(test())

    def test_tooMany(self) -> Deferred[None]:
        """
        One connection has a bounded number of offers, and an offer of a file that is
        not there does not count.
        """

        async def test() -> None:
            self.patch(_server, "MAX_OFFERS", 2)
            client = await self.client()
            await client.put("a", b"x")
            for _ in range(3):
                await self.assertFailure(client.offer("b"), NoSuchFile)
            tokens = {(await client.offer("a")).ticket.token for _ in range(2)}
            self.assertEqual(len(tokens), 2)
            await self.assertFailure(client.offer("a"), classOf(b"OOB_TICKETS"))
            await client.ping()

        return ensureDeferred(test())

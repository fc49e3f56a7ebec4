# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Processes that are killed in the middle of a put: a name holds the whole of a
value, or the whole of the one before it, and never a part.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable
from threading import Event
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import (
    ConnectionDone,
    ConnectionLost,
    ProcessExitedAlready,
    ProcessTerminated,
)

from amp_stream.files import FileClient, connect
from amp_stream.files._threads import ThreadedSource
from tests.commandline import ServedTestCase, command, fromThread, reactor
from tests.twistdservice import TwistdChild

OLD = b"the value before" * 1000
NEW = os.urandom(4_000_000)

SUICIDE = """
import os, signal
from amp_stream.files import _storage as module

def die(*args):
    os.kill(os.getpid(), signal.SIGKILL)

def before(function):
    return die

def after(function):
    def call(*args):
        function(*args)
        die()
    return call

def commitAndDie(self, name):
    if name == b"value":
        {point}
    return commit(self, name)

commit = module.WholeFile.commit
module.WholeFile.commit = commitAndDie
"""

POINTS = {
    "before the bytes are forced to the disk": ("os.fsync = before(os.fsync)", OLD),
    "before the rename": ("os.replace = before(os.replace)", OLD),
    "after the rename": ("os.replace = after(os.replace)", NEW),
    "before the answer": ("module._syncDirectory = after(module._syncDirectory)", NEW),
}


class KilledServiceTests(ServedTestCase):
    """The service is killed."""

    timeout = 120

    def setUp(self) -> None:
        """Make its directory."""
        self.directory = self.makeDirectory()
        self.root = os.path.join(self.directory, "root")
        os.mkdir(self.root)
        self.put("value", OLD)

    async def connect(self, child: TwistdChild) -> FileClient:
        """Connect to a service."""
        client = await connect(await child.listening)
        self.addCleanup(client.close)
        return client

    async def restart(self, expected: bytes) -> None:
        """Start the service again, and look at what it finds."""
        child = TwistdChild(reactor, self.directory)
        self.addCleanup(child.stop)
        client = await self.connect(child)
        self.assertEqual(os.listdir(self.root), ["value"])
        gathered = io.BytesIO()
        info = await client.get("value", gathered)
        self.assertEqual(info.size, len(expected))
        self.assertEqual(gathered.getvalue(), expected)
        self.assertEqual([info.name for info in await client.list()], ["value"])
        await child.stop()

    def test_whileReceiving(self) -> Deferred[None]:
        """
        A service that is killed while bytes arrive leaves the old file under
        the name, and the next one removes its temporary file.
        """

        async def killAt(size: int) -> None:
            child = TwistdChild(reactor, self.directory)
            self.addCleanup(child.stop)
            client = await self.connect(child)
            transport: Any = child.transport
            sent = 0

            def read(most: int) -> bytes:
                nonlocal sent
                if sent >= size:
                    reactor.callFromThread(kill)
                data = NEW[sent : sent + most]
                sent += len(data)
                return data

            def kill() -> None:
                # The client reads ahead of the service by its window and its
                # buffers, so the service has got most of what was read.
                with contextlib.suppress(ProcessExitedAlready):
                    transport.signalProcess("KILL")

            putting = client.put("value", ThreadedSource(read))
            await self.assertFailure(putting, ConnectionDone, ConnectionLost)
            await child.ended
            self.assertEqual(self.content("value"), OLD)

        async def test() -> None:
            for size in (0, 1, 2_000_000, 3_500_000):
                await killAt(size)
            hidden = set(os.listdir(self.root)) - {"value"}
            self.assertTrue(hidden)
            self.assertTrue(all(name.startswith(".incoming-") for name in hidden))
            await self.restart(OLD)

        return ensureDeferred(test())

    def test_whileCommitting(self) -> Deferred[None]:
        """
        A service that is killed at any step between the last byte and the
        answer leaves the old or the new file, whole.
        """

        async def test() -> None:
            for point, (change, expected) in POINTS.items():
                self.put("value", OLD)

                class Suicidal(TwistdChild):
                    program = TwistdChild.program.replace(
                        "from twisted", SUICIDE.format(point=change) + "\nfrom twisted"
                    )

                child = Suicidal(reactor, self.directory)
                self.addCleanup(child.stop)
                client = await self.connect(child)
                putting = client.put("value", NEW)
                await self.assertFailure(putting, ConnectionDone, ConnectionLost)
                await child.ended
                self.assertEqual(self.content("value"), expected, point)
            await self.restart(NEW)

        return ensureDeferred(test())


class KilledClientTests(ServedTestCase):
    """The client is killed."""

    timeout = 120

    def test_whileSending(self) -> Deferred[None]:
        """
        When a client is killed before its last byte has arrived, the old file
        stays under the name, and the service removes the unfinished one.
        """

        async def test() -> None:
            endpoint = await self.serve()
            self.put("value", OLD)
            for size in (1, 1_000_000, 3_000_000):
                arrived: Deferred[None] = Deferred()
                tell = fromThread(arrived)

                def written(
                    count: int, size: int = size, tell: Callable[[], None] = tell
                ) -> None:
                    if count >= size:
                        tell()

                self.store.written = written
                child = command("put", endpoint, "-", "--as", "value", input=None)
                process: Any = child.process  # type: ignore[attr-defined]
                process.write(NEW[: size + 500_000])
                await arrived
                self.assertEqual(len(os.listdir(self.root)), 2)
                process.signalProcess("KILL")
                await self.assertFailure(child.ended, ProcessTerminated)
                await self.factory.settled()
                self.assertEqual(os.listdir(self.root), ["value"])
                self.assertEqual(self.content("value"), OLD)

        return ensureDeferred(test())

    def test_whileWaiting(self) -> Deferred[None]:
        """
        When a client is killed after its last byte has arrived, the new file
        gets the name.
        """

        async def test() -> None:
            endpoint = await self.serve()
            self.put("value", OLD)
            arrived: Deferred[None] = Deferred()
            dead = Event()
            tell = fromThread(arrived)

            def waitForItsDeath() -> None:
                tell()
                dead.wait(60)

            self.addCleanup(dead.set)
            self.store.committing = waitForItsDeath
            child = command("put", endpoint, "-", "--as", "value", input=NEW)
            await arrived
            child.process.signalProcess("KILL")  # type: ignore[attr-defined]
            await self.assertFailure(child.ended, ProcessTerminated)
            self.assertEqual(self.content("value"), OLD)
            dead.set()
            await self.factory.settled()
            self.assertEqual(os.listdir(self.root), ["value"])
            self.assertEqual(self.content("value"), NEW)

        return ensureDeferred(test())

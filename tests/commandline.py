# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The C{amp-stream} command as a process, and services for it to talk to."""

from __future__ import annotations

import os
import site
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.trial.unittest import TestCase

import amp_stream
from amp_stream.files._endpoints import clientString
from amp_stream.files._server import FileServerFactory
from amp_stream.files._storage import FileInfo, FileStore, Upload, WholeFile
from tests.processes import Child

reactor: Any = globalReactor

WHERE = os.path.dirname(os.path.dirname(os.path.abspath(amp_stream.__file__)))
"""
The directory that holds C{amp_stream}.
"""


def environment(**more: str) -> dict[str, str]:
    """
    Make an environment in which a child process finds C{amp_stream}, from any
    directory, where the tests have found it.
    """
    environ = {**os.environ, **more}
    if WHERE not in site.getsitepackages():
        path = [WHERE, *filter(None, [environ.get("PYTHONPATH")])]
        environ["PYTHONPATH"] = os.pathsep.join(path)
    return environ


def spawn(
    *arguments: str,
    input: bytes | None = b"",
    terminal: bool = False,
    where: str | None = None,
    **environ: str,
) -> Child:
    """
    Run the Python of the tests.

    @param arguments: Its arguments.

    @param input: What it finds on its standard input; L{None} leaves it open.

    @param terminal: Whether it runs on a terminal.

    @param where: Its working directory.

    @param environ: More environment variables.
    """
    child = Child()
    process = child.process = reactor.spawnProcess(  # type: ignore[attr-defined]
        child,
        sys.executable,
        [sys.executable, *arguments],
        env=environment(**environ),
        path=where,
        usePTY=terminal,
    )
    if not terminal and input is not None:
        process.write(input)
        process.closeStdin()
    return child


def command(*arguments: str, **options: Any) -> Child:
    """
    Run C{amp-stream}.

    @param options: See L{spawn}.
    """
    return spawn("-m", "amp_stream", *arguments, **options)


class WatchedStore(FileStore):
    """
    A store that tells what happens in it, while it happens: in its thread, which
    waits.

    @ivar written: Called when a value has got so many bytes.

    @ivar committing: Called when a value is about to get its name.
    """

    written: Callable[[int], object] = staticmethod(lambda size: None)
    committing: Callable[[], object] = staticmethod(lambda: None)

    def receive(self, name: str, size: int | None = None) -> Upload:
        """See L{FileStore.receive}."""
        upload = super().receive(name, size)
        write, commit = upload.write, upload.commit

        def noteWrite(data: bytes) -> None:
            write(data)
            self.written(upload.size)

        def noteCommit() -> FileInfo:
            self.committing()
            return commit()

        upload.write = noteWrite  # type: ignore[method-assign]
        upload.commit = noteCommit  # type: ignore[method-assign]
        return upload


class ServedTestCase(TestCase):
    """
    Tests with a file service in the process of the tests.

    @ivar here: An empty directory for the files of a test.
    """

    timeout = 60

    def setUp(self) -> None:
        """Make the directory."""
        self.here = self.makeDirectory()

    def makeDirectory(self) -> str:
        """
        Make an empty directory.

        @return: Its path.
        """
        path: str = os.path.abspath(self.mktemp())
        os.makedirs(path)
        return path

    def path(self, name: str) -> str:
        """The path of a file in the directory C{here}."""
        return os.path.join(self.here, name)

    def write(self, name: str, body: bytes) -> str:
        """
        Make a file in the directory C{here}.

        @return: Its path.
        """
        with open(self.path(name), "wb") as file:
            file.write(body)
        return self.path(name)

    def read(self, name: str) -> bytes:
        """Read a file in the directory C{here}."""
        with open(self.path(name), "rb") as file:
            return file.read()

    async def serve(self, maxSize: int = 2**30) -> str:
        """
        Start a service with an empty store.

        @return: Its endpoint string.
        """
        self.root = self.makeDirectory()
        self.store = WatchedStore(self.root, maxFileSize=maxSize)
        self.factory = FileServerFactory(self.store)
        self.addCleanup(self.factory.settled)
        self.addCleanup(self.factory.abortConnections)
        return await self.listen(self.factory)

    async def serveProtocol(self, protocol: Callable[[], Any]) -> str:
        """
        Start a service that consists of some protocol.

        @return: Its endpoint string.
        """
        made: list[Any] = []

        def remember() -> Any:
            made.append(protocol())
            return made[-1]

        def hangUp() -> None:
            for each in made:
                if each.transport is not None:
                    each.transport.abortConnection()

        self.addCleanup(hangUp)
        return await self.listen(Factory.forProtocol(remember))

    async def listen(
        self,
        factory: IProtocolFactory,
        description: str = "tcp:0:interface=127.0.0.1",
    ) -> str:
        """
        Listen on a free port.

        @return: An endpoint string that leads there.
        """
        endpoint = serverFromString(reactor, description)
        port = await endpoint.listen(factory)
        self.addCleanup(maybeDeferred, port.stopListening)
        return clientString(endpoint, port.getHost())

    async def result(self, child: Child) -> tuple[int, bytes, bytes]:
        """
        Wait for the end of a process.

        @return: Its exit status, its standard output and its standard error.
        """
        status: int = await child.ended
        return status, child.output, child.errors

    async def succeed(self, *arguments: str, **options: Any) -> bytes:
        """
        Run C{amp-stream}, which succeeds and does not complain.

        @return: Its standard output.
        """
        status, output, errors = await self.result(command(*arguments, **options))
        self.assertEqual((status, errors), (0, b""))
        return output

    async def complain(self, status: int, *arguments: str, **options: Any) -> str:
        """
        Run C{amp-stream}, which fails: with one line, and no more.

        @return: The line.
        """
        found, output, errors = await self.result(command(*arguments, **options))
        line = errors.decode("utf-8")
        self.assertEqual((found, output), (status, b""), line)
        self.assertEqual(line.count("\n"), 1, line)
        self.assertTrue(line.startswith("amp-stream: "), line)
        return line

    def put(self, name: str, body: bytes) -> None:
        """Put a value into the store."""
        file = WholeFile(self.root)
        file.write(body)
        file.commit(name.encode("utf-8"))

    def content(self, name: str) -> bytes:
        """Take a value from the store."""
        with open(os.path.join(self.root, name), "rb") as file:
            return file.read()


def fromThread(deferred: Deferred[None]) -> Callable[..., None]:
    """Make a function that fires a Deferred, once, and can be called in a thread."""

    def fire(*ignored: object) -> None:
        if not deferred.called:
            deferred.callback(None)

    return lambda *ignored: reactor.callFromThread(fire)

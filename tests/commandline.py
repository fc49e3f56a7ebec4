# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The C{amp-stream} command, as a process or in a thread of the tests, and services for it
to talk to.
"""

from __future__ import annotations

import io
import os
import site
import sys
import warnings
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.logger import LogBeginner, LogPublisher
from twisted.trial.unittest import TestCase

import amp_stream
from amp_stream.files import _cli, _client, _console
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


class Session:
    """
    The C{amp-stream} command without a process, which saves the start of Python.

    It is the whole command but for L{run <amp_stream.files._console.run>}: it uses the
    reactor of the tests, and leaves signals alone.

    @ivar output: What it has written to its standard output.

    @ivar errors: What it has written to its standard error.
    """

    def __init__(self, test: TestCase, *arguments: str) -> None:
        self._clients: list[_client.FileClient] = []
        self._output, self._errors = io.BytesIO(), io.BytesIO()
        logs = LogBeginner(LogPublisher(), io.StringIO(), sys, warnings)
        self._patches = [
            test.patch(where, name, value)
            for where, name, value in [
                (sys, "argv", ["amp-stream", *arguments]),
                (sys, "stdout", io.TextIOWrapper(self._output, "utf-8")),
                (sys, "stderr", io.TextIOWrapper(self._errors, "utf-8")),
                (_console, "globalLogBeginner", logs),
                (_console, "connect", self._connect),
                (_console, "run", self._run),
            ]
        ]

    @property
    def output(self) -> bytes:
        """See L{Session}."""
        return self._output.getvalue()

    @property
    def errors(self) -> bytes:
        """See L{Session}."""
        return self._errors.getvalue()

    def main(self) -> int:
        """
        Run it: in a thread, or where it ends before it needs the reactor.

        @return: Its exit status.
        """
        try:
            _cli.main()
        except SystemExit as ended:
            status: int = ended.code  # type: ignore[assignment]
            return status
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for each in self._patches:
                each.restore()

    async def ended(self) -> int:
        """
        Run it in a thread, and close its connection, as the end of a process does.

        @return: Its exit status.
        """
        status: int = await deferToThread(self.main)
        for client in self._clients:
            await client.close()
        return status

    async def _connect(self, *arguments: Any, **options: Any) -> _client.FileClient:
        client = await _client.connect(*arguments, **options)
        self._clients.append(client)
        return client

    def _run(self, work: Callable[[Any], Any]) -> Any:
        async def doWork() -> Any:
            return await work(reactor)

        return blockingCallFromThread(reactor, lambda: ensureDeferred(doWork()))


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
        self, factory: IProtocolFactory, description: str = "tcp:0:interface=127.0.0.1"
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

    async def perform(
        self, *arguments: str, alone: bool = False, **options: Any
    ) -> tuple[int, bytes, bytes]:
        """
        Run C{amp-stream} to its end: in a process if it is to be alone, or has options
        that need one, and else in this process.

        @param options: See L{spawn}.

        @return: Its exit status, its standard output and its standard error.
        """
        if alone or options.keys() - {"where"}:
            return await self.result(command(*arguments, **options))
        before = os.getcwd()
        session = Session(self, *arguments)
        try:
            os.chdir(options.get("where") or before)
            status = await session.ended()
        finally:
            os.chdir(before)
        return status, session.output, session.errors

    async def succeed(self, *arguments: str, **options: Any) -> bytes:
        """
        Run C{amp-stream}, which succeeds and does not complain.

        @param options: See L{perform}.

        @return: Its standard output.
        """
        status, output, errors = await self.perform(*arguments, **options)
        self.assertEqual((status, errors), (0, b""))
        return output

    async def complain(self, status: int, *arguments: str, **options: Any) -> str:
        """
        Run C{amp-stream}, which fails: with one line, and no more.

        @param options: See L{perform}.

        @return: The line.
        """
        return self.line(status, await self.perform(*arguments, **options))

    def refused(self, *arguments: str) -> str:
        """
        Run C{amp-stream} with wrong usage, which ends before there is anything to wait
        for: with status 2 and one line.

        @return: The line.
        """
        session = Session(self, *arguments)
        return self.line(2, (session.main(), session.output, session.errors))

    def line(self, status: int, found: tuple[int, bytes, bytes]) -> str:
        """
        See that a command has failed with one line.

        @return: The line.
        """
        line = found[2].decode("utf-8")
        self.assertEqual(found[:2], (status, b""), line)
        self.assertEqual(line.count("\n"), 1, line)
        self.assertTrue(line.startswith("amp-stream: "), line)
        return line

    async def interruptPut(self, endpoint: str, *options: str) -> None:
        """
        Interrupt a put, in a process, that waits for its input: its status is 130, and
        the service, which is in this process, keeps nothing.
        """
        arrived: Deferred[None] = Deferred()
        self.store.written = fromThread(arrived)
        child = command("put", endpoint, "-", "--as", "a", *options, input=None)
        child.process.write(b"x" * 1000)  # type: ignore[attr-defined]
        await arrived
        child.process.signalProcess("INT")  # type: ignore[attr-defined]
        self.assertEqual(
            await self.result(child), (130, b"", b"amp-stream: interrupted by SIGINT\n")
        )
        await self.factory.settled()
        self.assertEqual(os.listdir(self.root), [])

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

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests that run the examples, and the one in the README, as processes."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path

from twisted.internet.defer import inlineCallbacks
from twisted.internet.error import ProcessTerminated
from twisted.trial.unittest import TestCase

from tests.processes import spawnPython

ROOT = Path(__file__).resolve().parent.parent


class ExampleTests(TestCase):
    """The example server, and its clients."""

    timeout = 60

    @inlineCallbacks
    def setUp(self):
        self.directory = os.path.abspath(self.mktemp())
        os.makedirs(self.directory)
        self.server = self.example(
            "server.py", self.directory, "tcp:0:interface=127.0.0.1"
        )
        self.addCleanup(self.stop, self.server)
        match = yield self.server.expect(rb"port=(\d+)")
        self.endpoint = f"tcp:127.0.0.1:{match[1].decode()}"
        self.value = os.urandom(1_500_000)
        self.source = os.path.abspath(self.mktemp())
        Path(self.source).write_bytes(self.value)

    def example(self, name, *arguments):
        return spawnPython(str(ROOT / "examples" / name), *arguments)

    @inlineCallbacks
    def stop(self, child):
        child.process.signalProcess(signal.SIGTERM)
        with contextlib.suppress(ProcessTerminated):
            yield child.ended

    @inlineCallbacks
    def succeed(self, name, *arguments):
        child = self.example(name, *arguments)
        status = yield child.ended
        self.assertEqual((status, child.errors), (0, b""))
        return child.output

    @inlineCallbacks
    def test_uploadAndDownload(self):
        """An uploaded file is stored whole, and downloaded whole."""
        output = yield self.succeed("upload.py", self.endpoint, self.source)
        self.assertEqual(output, b"stored 1500000 bytes\n")
        name = os.path.basename(self.source)
        self.assertEqual(os.listdir(self.directory), [name])
        target = self.source + ".back"
        yield self.succeed("download.py", self.endpoint, name, target)
        self.assertEqual(Path(target).read_bytes(), self.value)

    @inlineCallbacks
    def test_stopAndWait(self):
        """A client that is a stock C{amp.AMP} uploads without this package."""
        example = ROOT / "examples" / "stop_and_wait.py"
        self.assertNotIn("import amp_stream", example.read_text())
        self.assertNotIn("from amp_stream", example.read_text())
        for size in (0, 65_535, len(self.value)):
            Path(self.source).write_bytes(self.value[:size])
            output = yield self.succeed("stop_and_wait.py", self.endpoint, self.source)
            self.assertEqual(output, b"stored %d bytes\n" % size)
            stored = Path(self.directory, os.path.basename(self.source))
            self.assertEqual(stored.read_bytes(), self.value[:size])

    @inlineCallbacks
    def test_missing(self):
        """Downloading a file that the server does not have fails with a clear error."""
        child = self.example("download.py", self.endpoint, "nothing", self.source)
        status = yield child.ended
        self.assertEqual((status, child.errors), (1, b"the server has no nothing\n"))


class ReadmeTests(TestCase):
    """The example in the README."""

    timeout = 60

    @inlineCallbacks
    def test_runs(self):
        """
        The README's example has at most 20 lines of code and does what the
        text says.
        """
        text = (ROOT / "README.md").read_text()
        (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        lines = [line for line in code.splitlines() if line.strip()]
        self.assertLessEqual(len(lines), 20)
        path = Path(self.mktemp())
        path.write_text(code)
        child = spawnPython(str(path))
        status = yield child.ended
        self.assertEqual((status, child.errors), (0, b""))
        (expected,) = re.findall(r"It prints `(.*?)`", text)
        self.assertEqual(child.output.decode().strip(), expected)

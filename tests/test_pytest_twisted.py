# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The package under pytest-twisted, with which many users test."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

THEIR_TEST = """
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.endpoints import (
    clientFromString, connectProtocol, serverFromString
)
from twisted.internet.protocol import Factory
from twisted.protocols import amp

from amp_stream import BigString, Stream, StreamAMP

class Double(amp.Command):
    arguments = [(b"body", Stream()), (b"note", BigString())]
    response = [(b"body", Stream()), (b"note", BigString())]

class Server(StreamAMP):
    @Double.responder
    async def double(self, body, note):
        return {"body": 2 * await body.collect(), "note": 2 * note}

@pytest_twisted.async_yield_fixture
async def client():
    listening = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(
        Factory.forProtocol(Server)
    )
    port = listening.getHost().port
    client = await connectProtocol(
        clientFromString(reactor, f"tcp:127.0.0.1:{port}"), StreamAMP()
    )
    yield client
    client.transport.loseConnection()
    await listening.stopListening()

@pytest_twisted.ensureDeferred
async def test_double(client):
    answer = await client.callRemote(Double, body=b"b" * 300_000, note=b"n" * 100_000)
    assert await answer["body"].collect() == b"b" * 600_000
    assert answer["note"] == b"n" * 200_000
"""


class PytestTwistedTests(SynchronousTestCase):
    """A user's test module."""

    if find_spec("pytest_twisted") is None:
        skip = "pytest-twisted is not installed"

    def test_coroutines(self) -> None:
        """Coroutine tests and fixtures can use the package over a real connection."""
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "test_theirs.py").write_text(THEIR_TEST, encoding="utf-8")
        (directory / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        result = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-p",
                "no:cacheprovider",
                "test_theirs.py",
            ],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
        )
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertIn("1 passed", result.stdout)

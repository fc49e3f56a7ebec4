# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Tests of the documentation.
"""

from __future__ import annotations

import os
import re
import runpy
import socket
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ProcessTerminated
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.processes import spawnPython

ROOT = Path(__file__).resolve().parent.parent


class DocumentationTests(SynchronousTestCase):
    """
    The pages, against what they are about.
    """

    def test_states(self):
        """
        The diagrams are those of the tables.
        """
        script = runpy.run_path(str(ROOT / "docs" / "make_states.py"))
        self.assertEqual((ROOT / "docs" / "states.md").read_text(), script["page"]())

    def test_links(self):
        """
        Every relative link leads to a file.
        """
        for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
            for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
                self.assertTrue((page.parent / target).exists(), (page, target))


def blocksOf(page: str) -> list[str]:
    """Find the blocks of Python in a page."""
    text = (ROOT / "docs" / page).read_text()
    return re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def freePorts(count: int) -> list[int]:
    """Find TCP ports of the loopback interface that nothing listens on."""
    with ExitStack() as stack:
        made = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            for _ in range(count)
        ]
        return [each.getsockname()[1] for each in made]


class SnippetTests(TestCase):
    """The programs in the pages run."""

    timeout = 60

    def test_outOfBand(self) -> Deferred[None]:
        """The client of the page about out of band stores a value at its server."""

        async def test() -> None:
            where = self.mktemp()
            os.mkdir(where)
            here, there = (str(port) for port in freePorts(2))
            programs = [
                block.replace("4321", here).replace("8443", there)
                for block in blocksOf("outofband.md")
            ]
            serverCode, clientCode = programs
            server = spawnPython("-c", serverCode, cwd=where)
            await server.expect(b"ready")
            client = spawnPython("-c", clientCode, cwd=where)
            self.assertEqual(await client.ended, 0, client.errors)
            self.assertIn(b"{'size': 5000000}", client.output)
            server.process.signalProcess("TERM")
            await server.ended.addErrback(lambda gone: gone.trap(ProcessTerminated))
            stored = Path(where, "stored").read_bytes()
            self.assertEqual(stored, b"x" * 5_000_000)

        return ensureDeferred(test())

    if find_spec("cryptography") is None or find_spec("OpenSSL") is None:
        test_outOfBand.skip = "the extra http is not installed"  # type: ignore[attr-defined]

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests of the documentation."""

from __future__ import annotations

import ast
import os
import re
import runpy
import signal
import socket
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

from twisted.internet.defer import Deferred, ensureDeferred, inlineCallbacks
from twisted.internet.error import ProcessTerminated
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.processes import spawnPython

ROOT = Path(__file__).resolve().parent.parent

# test_examples runs README.md; the tests below run these two pages as processes.
SNIPPETS_RUN_ELSEWHERE = {"outofband.md", "tutorial.md"}


def pages() -> list[Path]:
    """Find all pages, at the root and in C{docs}."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def blocksIn(page: Path, language: str) -> list[str]:
    """Find the code blocks of a page that are in one language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def definitionsIn(tree: ast.Module) -> set[str]:
    """Find the names of the functions and methods of a module."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = {node.name for node in tree.body if isinstance(node, kinds)}
    for outer in tree.body:
        if isinstance(outer, ast.ClassDef):
            for node in outer.body:
                if isinstance(node, kinds):
                    found.add(f"{outer.name}.{node.name}")
    return found


class DocumentationTests(SynchronousTestCase):
    """The pages agree with the code and the files."""

    def test_states(self):
        """The diagrams in docs/states.md are made from the state tables."""
        script = runpy.run_path(str(ROOT / "docs" / "make_states.py"))
        self.assertEqual((ROOT / "docs" / "states.md").read_text(), script["page"]())

    def test_links(self):
        """Every relative link in a page leads to a file."""
        for page in pages():
            for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
                self.assertTrue((page.parent / target).exists(), (page, target))

    def test_paths(self):
        """Every file of the checkout that a page names exists."""
        directories = "amp_stream|benchmarks|docs|examples|tests|twisted"
        for page in pages():
            for path in re.findall(rf"`((?:{directories})/[\w./]+)`", page.read_text()):
                if "/_build/" not in path:
                    self.assertTrue((ROOT / path).exists(), (page, path))

    def test_architecture(self):
        """docs/architecture.md lists every module, and functions that exist."""
        package = ROOT / "amp_stream"
        page = (ROOT / "docs" / "architecture.md").read_text()
        modules = sorted(str(path.relative_to(ROOT)) for path in package.rglob("*.py"))
        listed = re.findall(r"^\| `([^`]*)` \|", page, re.MULTILINE)
        self.assertEqual(sorted(listed), modules)
        for path, name in re.findall(r"`([\w/]+\.py)`\s+`([\w.]+)`", page):
            tree = ast.parse((package / path).read_text())
            self.assertIn(name, definitionsIn(tree), path)

    def test_contents(self):
        """Every page in docs/ has a place in the table of contents."""
        index = ROOT / "docs" / "index.md"
        listed = {
            line
            for tree in blocksIn(index, "{toctree}")
            for line in tree.splitlines()
            if line and not line.startswith(":")
        }
        there = {
            str(page.relative_to(index.parent).with_suffix(""))
            for page in index.parent.rglob("*.md")
        }
        self.assertEqual(listed, there - {"index"})

    def test_snippets(self):
        """The Python snippets of a page run, one after the other, in one namespace."""
        for page in (ROOT / "docs").glob("*.md"):
            if page.name not in SNIPPETS_RUN_ELSEWHERE:
                namespace = {"__name__": page.stem}
                for code in blocksIn(page, "python"):
                    exec(compile(code, page.name, "exec"), namespace)


class TutorialTests(TestCase):
    """The two programs of the tutorial."""

    timeout = 60

    @inlineCallbacks
    def test_runs(self):
        """The tutorial's client prints the output that the tutorial shows."""
        page = ROOT / "docs" / "tutorial.md"
        directory = Path(self.mktemp())
        directory.mkdir()
        for code in blocksIn(page, "python"):
            # A socket in that directory, whichever process listens on the port.
            local, addresses = re.subn('"tcp:.*4321.*"', '"unix:socket"', code)
            self.assertEqual(addresses, 1)
            (directory / code.split()[1]).write_text(local)
        with (directory / "big").open("wb") as file:
            file.truncate(100 << 20)
        server = spawnPython("server.py", cwd=str(directory))
        yield server.expect(b"listening\n")
        client = spawnPython("client.py", "big", cwd=str(directory))
        yield client.ended
        server.process.signalProcess(signal.SIGTERM)
        yield server.ended
        self.assertEqual((client.errors, server.errors), (b"", b""))
        self.assertEqual([client.output.decode()], blocksIn(page, "text"))


def freePorts(count: int) -> list[int]:
    """Find TCP ports of the loopback interface on which no process listens."""
    with ExitStack() as stack:
        made = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            for _ in range(count)
        ]
        return [each.getsockname()[1] for each in made]


class OutOfBandTests(TestCase):
    """The two programs of the page about out of band."""

    timeout = 60

    def test_outOfBand(self) -> Deferred[None]:
        """The client of the out-of-band page stores a value at its server."""

        async def test() -> None:
            where = self.mktemp()
            os.mkdir(where)
            here, there = (str(port) for port in freePorts(2))
            programs = [
                block.replace("4321", here).replace("8443", there)
                for block in blocksIn(ROOT / "docs" / "outofband.md", "python")
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

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests for L{amp_stream.files._measure}: C{amp-stream demo}, as a real process."""

from __future__ import annotations

import json
import os
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from amp_stream.files import _measure
from amp_stream.files._measure import (
    ChildService,
    Latencies,
    Row,
    ServiceDied,
    Skipped,
    demoTable,
)
from tests.commandline import ServedTestCase, command, reactor, spawn

WAYS = ["stream", "argument", "bigstring", "oob"]

# The idle time is for people; nothing here depends on it.
QUICKLY = """
from amp_stream.files import _cli, _client, _measure
_measure._IDLE = 0.05
{changes}
_cli.main()
"""

DAMAGE = """
hash = _client._Tally.hash
def damaged(self, data):
    hash(self, data[1:])
_client._Tally.hash = damaged
"""

TINY_BOXES = """
from attrs import evolve
_measure._WAYS[:] = [
    evolve(way, maxSize=2**20) if way.name == "bigstring" else way
    for way in _measure._WAYS
]
"""

NO_HTTP_CLIENT = """
import sys
sys.modules["cryptography"] = None
"""

NO_SERVICE = """
_measure.ChildService.program = "raise SystemExit('no service today')"
"""

STUBBORN = """
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("serving files at nowhere", flush=True)
sys.stdin.read()
"""


class DemonstrationTests(ServedTestCase):
    """The whole of it, with a small file."""

    timeout = 120

    def setUp(self) -> None:
        """Give it an empty directory for what is temporary."""
        self.temporary = self.makeDirectory()

    def check(self) -> None:
        """See that it has left no file, and no process."""
        self.assertEqual(os.listdir(self.temporary), [])
        if "proc" in os.listdir("/"):
            for process in os.listdir("/proc"):
                try:
                    with open(f"/proc/{process}/cmdline", "rb") as file:
                        said = file.read()
                except OSError:
                    continue
                self.assertNotIn(self.temporary.encode("utf-8"), said)

    def quickly(self, changes: str, *arguments: str) -> Any:
        """
        Run the demonstration with little idle time.

        @param changes: What else to do before.
        """
        return spawn(
            *("-c", QUICKLY.format(changes=changes), "demo", *arguments),
            TMPDIR=self.temporary,
        )

    def test_table(self) -> Deferred[None]:
        """demo prints one table, with a row for each declaration, and nothing else."""

        async def test() -> None:
            output = await self.succeed("demo", "--size", "4M", TMPDIR=self.temporary)
            lines = output.decode("utf-8").splitlines()
            self.assertTrue(lines[0].startswith("4 MiB there and back"))
            self.assertEqual(
                [line.split()[0] for line in lines[3:]], ["declared", *WAYS]
            )
            for line in lines[4:]:
                numbers = [float(word) for word in line.split()[1:]]
                self.assertEqual(len(numbers), 7)
                self.assertTrue(all(number > 0 for number in numbers), line)
            self.check()

        return ensureDeferred(test())

    def test_given(self) -> Deferred[None]:
        """
        demo moves the file that it is given and does not change it; with --json, it
        prints one JSON object.
        """

        async def test() -> None:
            path = os.path.abspath(self.mktemp())
            with open(path, "wb") as file:
                file.write(bytes(3_000_000))
            status, output, errors = await self.result(self.quickly("", path, "--json"))
            self.assertEqual((status, errors), (0, b""))
            found = json.loads(output)
            self.assertEqual(found["size"], 3_000_000)
            self.assertEqual(
                [(row["way"], row["matches"]) for row in found["rows"]],
                [(name, True) for name in WAYS],
            )
            with open(path, "rb") as file:
                self.assertEqual(file.read(), bytes(3_000_000))
            self.check()

        return ensureDeferred(test())

    def test_damaged(self) -> Deferred[None]:
        """
        If the client gets other bytes than it has sent, the table says with which
        declaration, and the status is 1.
        """

        async def test() -> None:
            child = self.quickly(DAMAGE, "--size", "2M")
            status, output, errors = await self.result(child)
            self.assertEqual(
                (status, errors),
                (1, b"amp-stream: the file came back damaged: stream, oob\n"),
            )
            lines = output.decode("utf-8").splitlines()
            damaged = [line.endswith("DAMAGED") for line in lines[4:]]
            self.assertEqual(damaged, [True, False, False, True])
            self.check()

        return ensureDeferred(test())

    def test_tooLarge(self) -> Deferred[None]:
        """
        demo skips a declaration that cannot carry the file, with a row that
        says so, and moves an empty file; the status is 0.
        """

        async def test() -> None:
            child = self.quickly(TINY_BOXES, "--size", "2M")
            status, output, errors = await self.result(child)
            self.assertEqual((status, errors), (0, b""))
            self.assertIn(b"bigstring  not tried: carries no more than 1 MiB", output)
            child = self.quickly("", "--size", "0")
            status, output, errors = await self.result(child)
            self.assertEqual((status, errors), (0, b""))
            self.check()

        return ensureDeferred(test())

    def test_noHTTP(self) -> Deferred[None]:
        """
        Where the packages for out-of-band transfers are missing, demo has a row
        that says so, and the status is 0.
        """

        async def test() -> None:
            status, output, errors = await self.result(
                self.quickly(NO_HTTP_CLIENT, "--size", "1M")
            )
            self.assertEqual((status, errors), (0, b""))
            self.assertRegex(
                output, rb"oob +not tried: .* need cryptography: pip install"
            )
            self.check()

        return ensureDeferred(test())

    def test_noService(self) -> Deferred[None]:
        """
        If the service of the demo does not start, the error is the end of its
        output.
        """

        async def test() -> None:
            status, output, errors = await self.result(
                self.quickly(NO_SERVICE, "--size", "1M")
            )
            self.assertEqual((status, output), (1, b""))
            self.assertEqual(
                errors,
                b"amp-stream: the file service did not start: no service today\n",
            )
            self.check()

        return ensureDeferred(test())

    def test_noFile(self) -> Deferred[None]:
        """demo of a file that is not there fails with one line and status 1."""

        async def test() -> None:
            path = self.mktemp()
            line = await self.complain(1, "demo", path, TMPDIR=self.temporary)
            self.assertIn("No such file or directory", line)
            self.check()

        return ensureDeferred(test())

    def test_interrupted(self) -> Deferred[None]:
        """
        A signal ends demo while it makes its file and while the file moves; it leaves
        no file and no process.
        """

        async def test() -> None:
            for moment, name, status in [
                (rb"prepare: ", "INT", 130),
                (rb"stream up: ", "TERM", 143),
            ]:
                child = command(
                    *("demo", "--size", "64M"), terminal=True, TMPDIR=self.temporary
                )
                await child.expect(moment)
                child.process.signalProcess(name)  # type: ignore[attr-defined]
                self.assertEqual(await child.ended, status)
                self.assertIn(b"interrupted by SIG" + name.encode(), child.output)
                self.assertNotIn(b"Traceback", child.output)
                self.check()

        return ensureDeferred(test())


class ChildServiceTests(ServedTestCase):
    """L{ChildService}"""

    def test_died(self) -> Deferred[None]:
        """If a child service ends before it listens, the error has its output."""

        async def test() -> None:
            child = ChildService(
                reactor, self.makeDirectory(), ["--max-file-size", "x"]
            )
            error = await self.assertFailure(child.listening, ServiceDied)
            self.assertIn("'x' is not a size", str(error))
            await child.stop()

        return ensureDeferred(test())

    def test_stubborn(self) -> Deferred[None]:
        """A child service that ignores SIGTERM is killed after some time."""

        class Stubborn(ChildService):
            program = STUBBORN

        async def test() -> None:
            self.patch(_measure, "_PATIENCE", 0.05)
            child = Stubborn(reactor, self.makeDirectory())
            self.assertEqual(await child.listening, "nowhere")
            await child.stop()

        return ensureDeferred(test())


class TableTests(SynchronousTestCase):
    """L{demoTable}"""

    def test_sizes(self) -> None:
        """The table tells a round size in GiB, MiB or KiB, any other in bytes."""
        for size, text in [
            (2**30, "1 GiB"),
            (256 * 2**20, "256 MiB"),
            (2**10, "1 KiB"),
            (1000, "1000 bytes"),
            (0, "0 bytes"),
        ]:
            table = demoTable(size, [Skipped("a", "why")])
            self.assertTrue(table.startswith(text + " there"), table)
            self.assertTrue(table.endswith("a          not tried: why"))

    def test_units(self) -> None:
        """
        The table tells rates in millions of bytes per second, times in
        milliseconds.
        """
        idle = Latencies(9, 0.001, 0.002, 0.003)
        during = Latencies(9, 0.004, 0.005, 1.2345)
        table = demoTable(1, [Row("a", 1.5e8, 2e8, idle, during, True)])
        self.assertEqual(
            table.splitlines()[-1].split(),
            ["a", "150.0", "200.0", "1.00", "2.00", "4.00", "5.00", "1234.50"],
        )

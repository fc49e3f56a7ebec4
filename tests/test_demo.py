# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
C{amp-stream demo}, as a real process.
"""

from __future__ import annotations

import json
import os
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from amp_stream.demo import Outcome, Row, Skipped, _Given, asTable
from amp_stream.measure import Latencies
from amp_stream.transports import TRANSPORTS
from tests.commandline import ServedTestCase, command, spawn

# The idle time is for people; nothing here depends on it.
QUICKLY = """
from attrs import evolve
from amp_stream import bulk, cli, demo, transports
demo._IDLE = 0.05
{changes}
cli.main()
"""

DAMAGE = """
def get(protocol, sink):
    sink.write(b"one byte too many")
    return stream.get(protocol, sink)
stream = transports.TRANSPORTS["stream"]
transports.TRANSPORTS["stream"] = evolve(stream, get=get)
"""

TINY_BOXES = """
table = transports.TRANSPORTS
table["bigstring"] = evolve(table["bigstring"], maxSize=2**20)
"""

NO_HTTP_CLIENT = """
import sys
sys.modules["cryptography"] = None
"""

NO_SERVICE = """
demo.ChildService.program = "raise SystemExit('no service today')"
"""


class DemonstrationTests(ServedTestCase):
    """
    The whole of it, with a small file.
    """

    timeout = 120

    def setUp(self) -> None:
        """
        Give it an empty directory for what is temporary.
        """
        self.temporary = self.makeDirectory()

    def check(self) -> None:
        """
        See that it has left no file, and no process.
        """
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
        """
        It prints one table, with a row for each transport, and nothing else.
        """

        async def test() -> None:
            output = await self.succeed("demo", "--size", "4M", TMPDIR=self.temporary)
            lines = output.decode("utf-8").splitlines()
            self.assertTrue(lines[0].startswith("4 MiB there and back"))
            self.assertEqual(
                [line.split()[0] for line in lines[3:]],
                ["transport", *TRANSPORTS],
            )
            for line in lines[4:]:
                numbers = [float(word) for word in line.split()[1:]]
                self.assertEqual(len(numbers), 7)
                self.assertTrue(all(number > 0 for number in numbers), line)
            self.check()

        return ensureDeferred(test())

    def test_given(self) -> Deferred[None]:
        """
        A file that is given is moved, and stays as it is; with --json, the outcome
        is one JSON object.
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
                [(row["transport"], row["matches"]) for row in found["rows"]],
                [(name, True) for name in TRANSPORTS],
            )
            with open(path, "rb") as file:
                self.assertEqual(file.read(), bytes(3_000_000))
            self.check()

        return ensureDeferred(test())

    def test_damaged(self) -> Deferred[None]:
        """
        If what comes back is not what was sent, the table says where, and the
        status is 1.
        """

        async def test() -> None:
            child = self.quickly(DAMAGE, "--size", "2M")
            status, output, errors = await self.result(child)
            self.assertEqual(
                (status, errors),
                (1, b"amp-stream: what came back is not what was sent: stream\n"),
            )
            lines = output.decode("utf-8").splitlines()
            self.assertTrue(lines[4].endswith("DAMAGED"))
            self.assertFalse(lines[5].endswith("DAMAGED"))
            self.check()

        return ensureDeferred(test())

    def test_tooLarge(self) -> Deferred[None]:
        """
        A file that a transport cannot carry is said to be too large for it, which
        is no failure; nor is a file of no bytes.
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
        Where the packages for out-of-band transfers are not installed, their row says
        so, which is no failure.
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
        If the service does not start, its last words are the reason.
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

    def test_shrinks(self) -> None:
        """
        A file that becomes shorter while it is read is an error, not a shorter
        file.
        """
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(b"12345")
        given = _Given(path)
        with given:
            self.assertEqual(given.advance(5), 5)
            self.assertRaises(OSError, given.advance, 1)

    def test_noFile(self) -> Deferred[None]:
        """
        A file that is not there is a failure like any other.
        """

        async def test() -> None:
            path = self.mktemp()
            line = await self.complain(1, "demo", path, TMPDIR=self.temporary)
            self.assertIn("No such file or directory", line)
            self.check()

        return ensureDeferred(test())

    def test_interrupted(self) -> Deferred[None]:
        """
        A signal ends it at any moment, and it cleans up: while it makes its file,
        and while the file moves.
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


class TableTests(SynchronousTestCase):
    """
    L{asTable}
    """

    def test_sizes(self) -> None:
        """
        The size is told as people say it, if it is a round one.
        """
        for size, text in [
            (2**30, "1 GiB"),
            (256 * 2**20, "256 MiB"),
            (2**10, "1 KiB"),
            (1000, "1000 bytes"),
            (0, "0 bytes"),
        ]:
            table = asTable(Outcome(size, [Skipped("a", "why")]))
            self.assertTrue(table.startswith(text + " there"), table)
            self.assertTrue(table.endswith("a          not tried: why"))

    def test_units(self) -> None:
        """
        Rates are in millions of bytes per second, times in milliseconds.
        """
        idle = Latencies(9, 0.001, 0.002, 0.003)
        during = Latencies(9, 0.004, 0.005, 1.2345)
        table = asTable(Outcome(1, [Row("a", 1.5e8, 2e8, idle, during, True)]))
        self.assertEqual(
            table.splitlines()[-1].split(),
            ["a", "150.0", "200.0", "1.00", "2.00", "4.00", "5.00", "1234.50"],
        )

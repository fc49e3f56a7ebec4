# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests for L{amp_stream.files._console}."""

from __future__ import annotations

from twisted.internet.defer import Deferred, ensureDeferred, gatherResults

from tests.commandline import ServedTestCase, spawn

SCRIPT = """
import os, signal, sys
from twisted.internet.defer import Deferred
from amp_stream.files._console import CommandFailed, run

async def work(reactor):
    try:
        {body}
        await Deferred()
    finally:
        print("cleaned up")

try:
    print(run(work))
except CommandFailed as error:
    print(error)
    sys.exit(error.status)
except ValueError as error:
    print(error)
    sys.exit(7)
"""


class RunTests(ServedTestCase):
    """
    L{run <amp_stream.files._console.run>}, in processes of its own, as each needs a
    reactor.
    """

    async def attempt(self, body: str, expected: int, *lines: str) -> None:
        """
        Run some work.

        @param body: The code of the work.

        @param expected: The status that it leads to.

        @param lines: The lines on standard output.
        """
        status, output, errors = await self.result(
            spawn("-c", SCRIPT.format(body=body))
        )
        self.assertEqual(
            (status, output.decode().splitlines(), errors), (expected, [*lines], b"")
        )

    def test_outcomes(self) -> Deferred[list[None]]:
        """
        run() returns the result of the work and raises its exception. A signal,
        also one before the reactor runs, and a reactor that is stopped raise
        CommandFailed once the work has cleaned up.
        """
        return gatherResults(
            [
                ensureDeferred(self.attempt(body, status, "cleaned up", line))
                for body, status, line in [
                    ("return 'a result'", 0, "a result"),
                    ("raise ValueError('an error')", 7, "an error"),
                    (
                        "signal.raise_signal(signal.SIGINT)",
                        130,
                        "interrupted by SIGINT",
                    ),
                    (
                        "reactor.callLater(0, signal.raise_signal, signal.SIGHUP)",
                        129,
                        "interrupted by SIGHUP",
                    ),
                    (
                        "reactor.callLater(0, reactor.stop)",
                        143,
                        "interrupted by SIGTERM",
                    ),
                ]
            ]
        )

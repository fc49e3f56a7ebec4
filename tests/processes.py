# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Real child processes for tests: their output, and their exit status."""

from __future__ import annotations

import os
import re
import sys

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol

import amp_stream


class Child(ProcessProtocol):
    """
    A child process.

    @ivar output: What it has written to its standard output.
    @ivar errors: What it has written to its standard error.
    @ivar ended: A Deferred that fires with its exit status, or fails with
        C{ProcessTerminated} if a signal ended it.
    """

    def __init__(self):
        self.output = b""
        self.errors = b""
        self.ended = Deferred()
        self._expected = []

    def expect(self, pattern: bytes) -> Deferred:
        """
        @return: A Deferred that fires with the match once the standard output
            contains a pattern, and fails if the process ends before.
        """
        found = Deferred()
        self._expected.append((re.compile(pattern), found))
        self._look()
        return found

    def outReceived(self, data):
        self.output += data
        self._look()

    def errReceived(self, data):
        self.errors += data

    def processEnded(self, reason):
        expected, self._expected = self._expected, []
        for pattern, found in expected:
            found.errback(
                AssertionError(
                    f"{pattern.pattern!r} never came; output {self.output!r}, "
                    f"errors {self.errors!r}"
                )
            )
        status = reason.value.exitCode
        if status is None:
            self.ended.errback(reason)
        else:
            self.ended.callback(status)

    def _look(self):
        for item in list(self._expected):
            pattern, found = item
            match = pattern.search(self.output)
            if match:
                self._expected.remove(item)
                found.callback(match)


def spawnPython(*arguments: str, cwd: str | None = None) -> Child:
    """
    Run the Python of the tests.

    @param arguments: Its arguments.

    @return: The child, which runs.
    """
    child = Child()
    # The package under test, whether or not it is installed.
    package = os.path.dirname(os.path.dirname(os.path.abspath(amp_stream.__file__)))
    tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join(filter(None, [package, tests, inherited]))
    child.process = reactor.spawnProcess(
        child,
        sys.executable,
        [sys.executable, *arguments],
        env=dict(os.environ, PYTHONUNBUFFERED="1", PYTHONPATH=path),
        path=cwd,
    )
    return child

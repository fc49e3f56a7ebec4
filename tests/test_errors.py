# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The tree of L{amp_stream.errors}."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from typing import Any

from twisted.internet.defer import fail
from twisted.protocols import amp
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from amp_stream import errors
from amp_stream.errors import (
    STREAM_ERRORS,
    InvalidValue,
    LimitExceeded,
    ProtocolViolation,
    StreamAborted,
    StreamError,
    errorForCode,
)
from amp_stream.testing import connectInMemory
from tests.codes import classOf
from tests.modules import moduleNames

DRAWN = re.compile(r"^ +((?:\| +)*(?:\+- )?)([A-Z]\w+[a-z]) +([A-Z_]+)(?: |$)")
ALSO = re.compile(r"^[ |]+([A-Z_]+)$")


def classes() -> list[type[StreamError]]:
    """Find the classes of the module, in the order in which it defines them."""
    return [
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, StreamError)
    ]


class TreeTests(SynchronousTestCase):
    """The tree of error classes and their codes."""

    def test_codes(self) -> None:
        """Each class has a code of its own, which any AMP peer can write."""
        codes = [cls.__dict__["code"] for cls in classes()]
        self.assertEqual(len(codes), len(set(codes)))
        for code in STREAM_ERRORS.values():
            self.assertRegex(code, rb"\A[A-Z][A-Z_]{0,62}[A-Z]\Z")

    def test_advice(self) -> None:
        """An error without a text gets one that fits its code."""
        texts = {str(errorForCode(code)) for code in STREAM_ERRORS.values()}
        self.assertEqual(len(texts), len(STREAM_ERRORS))
        for cls in classes():
            self.assertEqual(str(cls()), str(errorForCode(cls.code)))
            self.assertEqual(str(cls("so it was")), "so it was")
            self.assertEqual(cls().code, cls.code)

    def test_drawing(self) -> None:
        """The module's docstring draws the classes with their bases and all codes."""
        drawn: list[tuple[str, str]] = []
        codes: list[tuple[str, bytes]] = []
        ancestors: list[tuple[int, str]] = []
        for line in (errors.__doc__ or "").splitlines():
            match = DRAWN.match(line)
            also = ALSO.match(line)
            if match is not None:
                column = match.start(2)
                ancestors = [each for each in ancestors if each[0] < column]
                parent = ancestors[-1][1] if ancestors else "Exception"
                ancestors.append((column, match[2]))
                drawn.append((match[2], parent))
            if match is not None or also is not None:
                code = match[3] if match is not None else also[1]
                codes.append((drawn[-1][0], code.encode("ascii")))
        self.assertEqual(
            drawn, [(cls.__name__, cls.__bases__[0].__name__) for cls in classes()]
        )
        self.assertEqual(
            codes,
            [
                (cls.__name__.partition("[")[0], code)
                for cls, code in reversed(STREAM_ERRORS.items())
            ],
        )

    def test_all(self) -> None:
        """C{__all__} of the errors module has every name that it defines, once."""
        names = [
            name
            for name, value in vars(errors).items()
            if name[0] != "_" and getattr(value, "__module__", "") == errors.__name__
        ]
        self.assertEqual(sorted(errors.__all__), sorted([*names, "STREAM_ERRORS"]))

    def test_written(self) -> None:
        """Each code that the package's source writes is one of the table."""
        written = {
            code.encode("ascii")
            for path in moduleNames().values()
            for code in re.findall(
                r'b"((?:STREAM|AMP|BIG_VALUE|OOB)_[A-Z_]+)"', path.read_text()
            )
        }
        self.assertEqual(written - set(STREAM_ERRORS.values()), set())

    def test_derivedFirst(self) -> None:
        """
        AMP takes the first class that matches, so C{STREAM_ERRORS} has each class
        before its bases: a stock responder that raises an error answers with its code.
        """
        for cls in [*classes(), *map(classOf, STREAM_ERRORS.values())]:
            first = next(each for each in STREAM_ERRORS if issubclass(cls, each))
            self.assertIs(first, cls)


class QuotaExceeded(ProtocolViolation):
    """An error of an application, with a code of its own."""

    code = b"QUOTA"

    def __init__(self, used: int, most: list[int], unit: str = "") -> None:
        super().__init__(f"{used} of {most}{unit}")


class Bare(StreamError):
    """An error of an application that leaves its arguments to C{Exception}."""

    def __init__(self, text: str) -> None:
        self.code = b"BARE"


class CodeTests(SynchronousTestCase):
    """Errors and their codes on the wire."""

    def test_known(self) -> None:
        """A known code becomes its class, with the peer's text if there is one."""
        for cls, code in STREAM_ERRORS.items():
            for message in ("", "as it was"):
                error = errorForCode(code, message)
                self.assertIs(type(error), cls)
                self.assertEqual(error.code, code)
                self.assertEqual(str(error), message or str(errorForCode(code)))

    def test_unknown(self) -> None:
        """An unknown code becomes a L{StreamAborted} that keeps the code."""
        error = errorForCode(b"OUT_OF_PAPER")
        self.assertIs(type(error), StreamAborted)
        self.assertEqual(error.code, b"OUT_OF_PAPER")
        self.assertIn("'OUT_OF_PAPER'", str(error))
        self.assertEqual(str(errorForCode(b"OUT_OF_PAPER", "jam")), "jam")

    def test_hostile(self) -> None:
        """A code of any bytes and any length gives a short ASCII message."""
        for code in (b"", bytes(range(256)), b"\xff\r\n\x1b[2J", b"A" * 65_535):
            error = errorForCode(code)
            self.assertEqual(error.code, code)
            self.assertTrue(str(error).isascii())
            self.assertTrue(str(error).isprintable())
            self.assertLess(len(str(error)), 500)

    def test_furtherCodes(self) -> None:
        """An error with a further code of its class is an instance of that class."""
        error = ProtocolViolation("two bytes", b"STREAM_CONFLICT")
        self.assertIsInstance(error, ProtocolViolation)
        self.assertEqual(error.code, b"STREAM_CONFLICT")
        self.assertEqual(repr(error), "ProtocolViolation[STREAM_CONFLICT]('two bytes')")
        conflict = errorForCode(b"STREAM_CONFLICT")
        self.assertEqual(str(ProtocolViolation(code=b"STREAM_CONFLICT")), str(conflict))

    def test_ownCode(self) -> None:
        """An error can have the code of an application, or of another class."""
        for code in (b"LOST", b"STREAM_CONFLICT"):
            error = InvalidValue("lost", code=code)
            self.assertIs(type(error), InvalidValue)
            self.assertEqual((error.code, str(error)), (code, "lost"))

    def test_subclass(self) -> None:
        """The subclass of an application stays that, whatever its arguments."""

        error = QuotaExceeded(5, [4], unit=" files")
        self.assertIs(type(error), QuotaExceeded)
        self.assertEqual((error.code, str(error)), (b"QUOTA", "5 of [4] files"))
        self.assertEqual(str(Bare("as it was")), "as it was")

    def test_copied(self) -> None:
        """An error can be copied and pickled, and keeps class, text and code."""
        for error in (
            ProtocolViolation("two bytes", b"STREAM_CONFLICT"),
            StreamAborted("no room", b"QUOTA"),
            ProtocolViolation(),
            LimitExceeded("no room", b"QUOTA"),
            QuotaExceeded(5, [4]),
            Bare("as it was"),
        ):
            for other in (copy.copy(error), pickle.loads(pickle.dumps(error))):
                self.assertIs(type(other), type(error))
                self.assertEqual((str(other), other.code), (str(error), error.code))


class Fail(amp.Command):
    """A command whose responder fails."""

    errors = STREAM_ERRORS


class Failing(amp.AMP):
    """A stock end whose responder fails with an error of the package."""

    def __init__(self, error: StreamError) -> None:
        super().__init__()
        self.error = error

    @Fail.responder
    def _fail(self) -> Any:
        return fail(self.error)


def trap(failure: Failure, caught: list[Any]) -> None:
    """Keep the exception of a call before AMP sees it as unhandled."""
    caught.append(failure.value)


class StockTests(SynchronousTestCase):
    """The errors between two stock ends."""

    def test_everyCode(self) -> None:
        """A stock responder sends the code of an error, and a stock caller gets it."""
        for code in STREAM_ERRORS.values():
            pair = connectInMemory(amp.AMP(), Failing(errorForCode(code, "as it was")))
            caught: list[Any] = []
            result = pair.client.callRemote(Fail)
            result.addErrback(trap, caught)
            pair.flush()
            self.assertIs(type(caught[0]), classOf(code))
            self.assertEqual((caught[0].code, str(caught[0])), (code, "as it was"))
            pair.lose()

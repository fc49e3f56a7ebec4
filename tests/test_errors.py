# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The tree of L{amp_stream.errors}."""

from __future__ import annotations

import inspect
import re

from twisted.trial.unittest import SynchronousTestCase

from amp_stream import errors
from amp_stream.errors import (
    STREAM_ERRORS,
    MissingPiece,
    StreamAborted,
    StreamError,
    errorForCode,
    isStreamCode,
)

DRAWN = re.compile(r"^ +((?:\| +)*(?:\+- )?)(\w+) +([A-Z_]+)(?: |$)")


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
        """Each error class has a code of its own, which any AMP peer can write."""
        codes = [cls.__dict__["wireCode"] for cls in classes()]
        self.assertEqual(len(codes), len(set(codes)))
        for code in codes:
            self.assertRegex(code, rb"\A[A-Z][A-Z_]{0,62}[A-Z]\Z")

    def test_advice(self) -> None:
        """An error without a message describes the meaning of its class."""
        for cls in classes():
            self.assertIn("_advice", cls.__dict__)
            self.assertEqual(str(cls()), cls._advice)
            self.assertEqual(str(cls("so it was")), "so it was")
            self.assertEqual(cls().code, cls.wireCode)

    def test_drawing(self) -> None:
        """
        The tree in the module's docstring lists the classes, parents and codes of the
        module, in the same order.
        """
        drawn = []
        ancestors: list[tuple[int, str]] = []
        for line in (errors.__doc__ or "").splitlines():
            match = DRAWN.match(line)
            if match is None:
                continue
            column = match.start(2)
            ancestors = [each for each in ancestors if each[0] < column]
            parent = ancestors[-1][1] if ancestors else "Exception"
            ancestors.append((column, match[2]))
            drawn.append((match[2], parent, match[3].encode("ascii")))
        defined = [
            (cls.__name__, cls.__bases__[0].__name__, cls.wireCode) for cls in classes()
        ]
        self.assertEqual(drawn, defined)

    def test_all(self) -> None:
        """C{__all__} of the errors module has every name that it defines, once."""
        names = [
            name
            for name, value in vars(errors).items()
            if name[0] != "_" and getattr(value, "__module__", "") == errors.__name__
        ]
        self.assertEqual(sorted(errors.__all__), sorted([*names, "STREAM_ERRORS"]))

    def test_derivedFirst(self) -> None:
        """
        AMP takes the first class that matches, so C{STREAM_ERRORS} has each class
        before its bases: a stock responder that raises an error answers with its code.
        """
        for cls in classes():
            first = next(each for each in STREAM_ERRORS if issubclass(cls, each))
            self.assertIs(first, cls)

    def test_table(self) -> None:
        """C{STREAM_ERRORS} maps every class to its code."""
        self.assertEqual(STREAM_ERRORS, {cls: cls.wireCode for cls in classes()})


class CodeTests(SynchronousTestCase):
    """Error classes found by their code on the wire."""

    def test_known(self) -> None:
        """A known code becomes its class, with the peer's message if there is one."""
        for cls in classes():
            for message in ("", "as it was"):
                error = errorForCode(cls.wireCode, message)
                self.assertIs(type(error), cls)
                self.assertEqual(str(error), message or cls._advice)
                self.assertEqual(error.code, cls.wireCode)

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

    def test_isStreamCode(self) -> None:
        """C{isStreamCode} is true for the codes of the package's classes only."""
        for cls in classes():
            self.assertTrue(isStreamCode(cls.wireCode))
        for code in (b"", b"UNKNOWN", b"stream_error", b"STREAM_"):
            self.assertFalse(isStreamCode(code))

    def test_ownCode(self) -> None:
        """An error can be given another code than that of its class."""
        error = MissingPiece("lost", code=b"LOST")
        self.assertEqual(
            (error.code, MissingPiece.wireCode), (b"LOST", b"BIG_VALUE_GAP")
        )

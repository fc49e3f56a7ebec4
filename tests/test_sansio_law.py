# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The law of L{amp_stream._sansio}, and the direction of imports in the package."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.modules import importedAtOnce, importedBy, importsIn, moduleNames

PURE = {
    "__future__",
    "abc",
    "bisect",
    "collections",
    "contextlib",
    "dataclasses",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "hmac",
    "itertools",
    "math",
    "operator",
    "re",
    "struct",
    "typing",
    "weakref",
}
"""
Modules of the standard library that the protocol rules may import: none of them waits,
reads a clock, draws random numbers, or does I/O.
"""


class LawTests(SynchronousTestCase):
    """The protocol rules do not depend on reactors, transports or clocks."""

    def test_sansio(self) -> None:
        """
        C{_sansio} and the tickets module import only pure parts of the standard
        library, C{attrs}, their neighbours, the errors and the limits.
        """
        modules = {
            name: path
            for name, path in moduleNames().items()
            if name.startswith("amp_stream._sansio.")
            or name == "amp_stream.outofband._tickets"
        }
        self.assertIn("amp_stream._sansio.splitting", modules)
        for name, path in modules.items():
            for imported in importsIn(path.read_text(encoding="utf-8")):
                self.assertTrue(
                    imported.split(".")[0] in PURE | {"attrs"}
                    or imported.startswith(
                        (
                            "amp_stream._sansio.",
                            "amp_stream._sansio.limits.",
                            "amp_stream.errors.",
                        )
                    ),
                    f"{name} imports {imported}, which the law of _sansio forbids",
                )

    def test_errors(self) -> None:
        """The errors module imports only the standard library."""
        path = moduleNames()["amp_stream.errors"]
        for imported in importsIn(path.read_text(encoding="utf-8")):
            self.assertIn(imported.split(".")[0], PURE)

    def test_reader(self) -> None:
        """The import reader of these tests finds every form of import."""
        source = """
import time, os.path as p
from socket import socket as s, timeout
from . import a
from ..b import c
def f():
    from twisted.internet import reactor
if TYPE_CHECKING:
    import ssl
"""
        self.assertEqual(
            set(importsIn(source)),
            {
                "time",
                "os.path",
                "socket.socket",
                "socket.timeout",
                ".a",
                "..b.c",
                "twisted.internet.reactor",
                "ssl",
            },
        )


class DirectionTests(SynchronousTestCase):
    """Imports point one way."""

    def test_noCycle(self) -> None:
        """No module imports itself through others, even in a function or for a type."""
        modules = moduleNames()
        imports = {name: importedBy(name, modules) for name in modules}
        while imports:
            leaves = {name for name, needed in imports.items() if not needed}
            self.assertTrue(leaves, f"these import each other: {sorted(imports)}")
            imports = {
                name: needed - leaves
                for name, needed in imports.items()
                if name not in leaves
            }

    def test_rooms(self) -> None:
        """
        A module imports modules of its own room and of the rooms below it: errors,
        rules, core, out of band, files.  The one exception is L{amp_stream}, which
        loads L{OutOfBand} when that is used.
        """
        modules = moduleNames()
        for name in modules:
            for needed in importedBy(name, modules):
                if (name, needed) != ("amp_stream", "amp_stream.outofband._argument"):
                    self.assertLessEqual(
                        roomOf(needed), roomOf(name), f"{name} imports {needed}"
                    )

    def test_depth(self) -> None:
        """No chain of imports is longer than twelve modules."""
        modules = moduleNames()
        depths: dict[str, int] = {}

        def depth(name: str) -> int:
            if name not in depths:
                below = importedAtOnce(name, modules)
                depths[name] = 1 + max(map(depth, below), default=0)
            return depths[name]

        deepest = max(modules, key=depth)
        self.assertLessEqual(depths[deepest], 12, deepest)


def roomOf(name: str) -> int:
    """@return: The number of the room that a module is in, from the bottom."""
    if name in ("amp_stream.errors", "amp_stream._version"):
        return 0
    if name.startswith("amp_stream._sansio"):
        return 1
    if name.startswith("amp_stream.outofband"):
        return 3
    if name.startswith(("amp_stream.files", "amp_stream.__main__")):
        return 4
    return 2

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The law of L{amp_stream._sansio}, and the direction of imports in the package.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.modules import importedBy, importsIn, moduleNames

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
What the rules of the protocol may use of the standard library: nothing of it waits,
reads a clock, draws random numbers, or touches the world outside.
"""

LAYERS = """
    _version errors

    _sansio _sansio.limits _sansio.frames _sansio.idle _sansio.turns
    _sansio.pieces _sansio.splitting _sansio.chunk _sansio.chunkbox
    _sansio.framing _sansio.reading _sansio.boxparser _sansio.negotiation _sansio.lists
    _sansio.states _sansio.window _sansio.digest _sansio.reassembly
    _sansio.receiving _sansio.growth _sansio.sending _sansio.inbound
    _sansio.outbound _sansio.pace _sansio.congestion
    _sansio.tickets _sansio.ticketbox

    _boxerrors arguments chunks lists toolong commands

    timer tcp pump codes answering consumers delivery iteration incoming interfaces
    boxes incomingside piecesources sources outgoing

    outofband outofband.keys outofband.carriers outgoingside

    outofband.store outofband.redislink outofband.redisstore
    outofband.certificates outofband.offers
    outofband.httpbodies outofband.client outofband.httprequest outofband.httpserver
    outofband.relay outofband.listening outofband.server
    outofband.side

    wire receiver streams outofband.argument link assembly boxlayer protocol

    amp_stream testing

    sizes addresses fileerrors wholefile storage blocking files bulk
    filetickets fileserver hashed transports client

    service bulkoptions tap localfiles progress running childservice measure demo
    curl console ticketcommand benchcommand cli __main__
"""
"""
All modules, from the bottom to the top: one may import those before it.  A new module
goes after the last one that it imports.
"""


class LawTests(SynchronousTestCase):
    """
    The protocol rules know nothing of reactors, transports and clocks.
    """

    def test_sansio(self) -> None:
        """
        A module of C{_sansio} imports pure parts of the standard library, C{attrs},
        its neighbours and the errors.
        """
        modules = {
            name: path
            for name, path in moduleNames().items()
            if name.startswith("amp_stream._sansio.")
        }
        self.assertIn("amp_stream._sansio.splitting", modules)
        for name, path in modules.items():
            for imported in importsIn(path.read_text(encoding="utf-8")):
                self.assertTrue(
                    imported.split(".")[0] in PURE | {"attrs"}
                    or imported.startswith(
                        ("amp_stream._sansio.", "amp_stream.errors.")
                    ),
                    f"{name} imports {imported}, which the law of _sansio forbids",
                )

    def test_errors(self) -> None:
        """
        The errors, which everything imports, import only the standard library.
        """
        path = moduleNames()["amp_stream.errors"]
        for imported in importsIn(path.read_text(encoding="utf-8")):
            self.assertIn(imported.split(".")[0], PURE)

    def test_reader(self) -> None:
        """
        No way to write an import escapes these tests.
        """
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


class LayerTests(SynchronousTestCase):
    """
    Imports point down.
    """

    def order(self) -> list[str]:
        """
        Read L{LAYERS} as full names.
        """
        return [
            name if name == "amp_stream" else f"amp_stream.{name}"
            for name in LAYERS.split()
        ]

    def test_complete(self) -> None:
        """
        Each module has its place, once.
        """
        order = self.order()
        self.assertEqual(len(order), len(set(order)))
        unplaced = set(moduleNames()) ^ set(order)
        self.assertEqual(
            unplaced, set(), f"LAYERS in {__file__} must have each module: {unplaced}"
        )

    def test_downward(self) -> None:
        """
        No module imports one that is above it, not even in a function or for a type.
        """
        modules = moduleNames()
        below: set[str] = set()
        for name in filter(modules.get, self.order()):
            upward = importedBy(name, modules) - below
            self.assertEqual(
                upward, set(), f"{name} imports what LAYERS has above it: {upward}"
            )
            below.add(name)

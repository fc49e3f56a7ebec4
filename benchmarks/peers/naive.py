# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
A value cut over the keys C{name}, C{name.2}, C{name.3}... of a stock AMP box.
"""

from __future__ import annotations

from typing import Any

from twisted.protocols import amp

from benchmarks.peers.bigvalues import BigValues

__all__ = ["Naive"]

PIECE = 65535


class NaiveBigString(amp.Argument):
    """
    What one writes when AMP says C{TooLong}.
    """

    def toBox(
        self, name: bytes, strings: amp.Box, objects: dict[str, Any], proto: Any
    ) -> None:
        value = objects[name.decode()]
        for number, start in enumerate(range(0, len(value), PIECE), 1):
            key = name if number == 1 else b"%s.%d" % (name, number)
            strings[key] = value[start : start + PIECE]

    def fromBox(
        self, name: bytes, strings: amp.Box, objects: dict[str, Any], proto: Any
    ) -> None:
        pieces = [strings[name]]
        while b"%s.%d" % (name, len(pieces) + 1) in strings:
            pieces.append(strings[b"%s.%d" % (name, len(pieces) + 1)])
        objects[name.decode()] = b"".join(pieces)


class Naive(BigValues):
    """
    That, on C{amp.AMP}.
    """

    argument = NaiveBigString()
    protocol = amp.AMP

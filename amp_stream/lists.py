# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Lists whose elements may be of any length.

An element of C{amp.AmpList} or C{amp.ListOf} cannot be longer than 65,535 bytes,
whatever the connection can carry: the lengths inside them are those of version 1.
These are the same, byte for byte, up to there, and have no such limit.
"""

from __future__ import annotations

from typing import Any

from twisted.protocols import amp

from amp_stream._boxerrors import boxErrors
from amp_stream._sansio.lists import joinBoxes, joinStrings, splitBoxes, splitStrings
from amp_stream.chunks import argumentKey

__all__ = ["AmpList", "ListOf"]


class ListOf(amp.ListOf):
    """
    C{amp.ListOf}, with elements of any length where the connection can carry them.
    """

    def toBox(
        self, name: bytes, strings: amp.AmpBox, objects: dict[str, Any], proto: Any
    ) -> None:
        """
        See L{amp.IArgumentType.toBox}.
        """
        elements = self.retrieve(objects, argumentKey(name), proto)
        if not (self.optional and elements is None):
            strings[name] = joinStrings(map(self.elementType.toString, elements))

    def fromBox(
        self, name: bytes, strings: amp.AmpBox, objects: dict[str, Any], proto: Any
    ) -> None:
        """
        See L{amp.IArgumentType.fromBox}.
        """
        value = self.retrieve(strings, name, proto)
        objects[argumentKey(name)] = None
        if not (self.optional and value is None):
            with boxErrors(strings):
                elements = splitStrings(value)
            objects[argumentKey(name)] = list(
                map(self.elementType.fromString, elements)
            )


class AmpList(amp.AmpList):
    """
    C{amp.AmpList}, with values of any length where the connection can carry them.
    """

    def toBox(
        self, name: bytes, strings: amp.AmpBox, objects: dict[str, Any], proto: Any
    ) -> None:
        """
        See L{amp.IArgumentType.toBox}.
        """
        items = self.retrieve(objects, argumentKey(name), proto)
        if not (self.optional and items is None):
            boxes = [
                amp._objectsToStrings(item, self.subargs, amp.AmpBox(), proto)
                for item in items
            ]
            strings[name] = joinBoxes(boxes)

    def fromBox(
        self, name: bytes, strings: amp.AmpBox, objects: dict[str, Any], proto: Any
    ) -> None:
        """
        See L{amp.IArgumentType.fromBox}.
        """
        value = self.retrieve(strings, name, proto)
        objects[argumentKey(name)] = None
        if not (self.optional and value is None):
            with boxErrors(strings):
                boxes = splitBoxes(value)
            objects[argumentKey(name)] = [
                amp._stringsToObjects(amp.AmpBox(box), self.subargs, proto)
                for box in boxes
            ]

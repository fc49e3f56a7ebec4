# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Lists whose elements may be of any length.

An element of C{amp.AmpList} or C{amp.ListOf} cannot be longer than 65,535 bytes,
whatever the connection can carry: the lengths inside them are those of version 1.
These are the same, byte for byte, up to there, and have no such limit.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

from twisted.protocols import amp

from amp_stream._boxerrors import boxErrors
from amp_stream._sansio.boxes import joinBoxes, joinStrings, splitBoxes, splitStrings
from amp_stream.chunks import argumentKey

__all__ = ["AmpList", "ListOf"]


class _LongList(amp.Argument):
    """
    The part of a list that is the same whatever its elements are.
    """

    def toBox(
        self, name: bytes, strings: amp.AmpBox, objects: dict[str, Any], proto: Any
    ) -> None:
        """
        See L{amp.IArgumentType.toBox}.
        """
        elements = self.retrieve(objects, argumentKey(name), proto)
        if not (self.optional and elements is None):
            strings[name] = self._join(elements, proto)

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
                objects[argumentKey(name)] = self._split(value, proto)

    @abstractmethod
    def _join(self, elements: Iterable[Any], proto: Any) -> bytes:
        """
        Write the elements.
        """

    @abstractmethod
    def _split(self, value: bytes, proto: Any) -> list[Any]:
        """
        Read them.
        """


class ListOf(_LongList, amp.ListOf):
    """
    C{amp.ListOf}, with elements of any length where the connection can carry them.
    """

    def _join(self, elements: Iterable[Any], proto: Any) -> bytes:
        return joinStrings(map(self.elementType.toString, elements))

    def _split(self, value: bytes, proto: Any) -> list[Any]:
        return list(map(self.elementType.fromString, splitStrings(value)))


class AmpList(_LongList, amp.AmpList):
    """
    C{amp.AmpList}, with values of any length where the connection can carry them.
    """

    def _join(self, elements: Iterable[Any], proto: Any) -> bytes:
        return joinBoxes(
            amp._objectsToStrings(item, self.subargs, amp.AmpBox(), proto)
            for item in elements
        )

    def _split(self, value: bytes, proto: Any) -> list[Any]:
        return [
            amp._stringsToObjects(amp.AmpBox(box), self.subargs, proto)
            for box in splitBoxes(value)
        ]

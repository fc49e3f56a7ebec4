# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests for L{amp_stream._arguments}: lists whose elements may be long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from amp_stream import AmpList, ListOf, StreamAMP, StreamConfig
from amp_stream._sansio.boxes import joinBoxes, joinStrings, splitBoxes, splitStrings
from amp_stream.errors import FramingError, OversizeValue
from amp_stream.testing import connectInMemory

LENGTHS = (0, 1, 65_534, 65_535, 65_536, 131_070, 131_071)

_fields = [(b"name", amp.Unicode()), (b"data", amp.String(optional=True))]


def command(strings, boxes):
    """Make a command from two kinds of list."""

    class Lists(amp.Command):
        arguments = [
            (b"strings", strings(amp.String(), optional=True)),
            (b"boxes", boxes(_fields, optional=True)),
        ]
        response = arguments

    return Lists


Ours = command(ListOf, AmpList)
Stock = command(amp.ListOf, amp.AmpList)


class Server(StreamAMP):
    @Ours.responder
    def lists(self, strings, boxes):
        return {"strings": strings, "boxes": boxes}


class ListTests(SynchronousTestCase):
    """Lists as arguments."""

    @given(
        st.lists(st.binary(max_size=50)),
        st.lists(
            st.builds(lambda n, d: {"name": n, "data": d}, st.text(), st.binary())
        ),
    )
    def test_sameAsStock(self, strings, boxes):
        """
        A list that stock AMP can carry is written as the same bytes, and either reads
        the other's.
        """
        values = {"strings": strings, "boxes": boxes}
        ours = Ours.makeArguments(values, None)
        self.assertEqual(ours, Stock.makeArguments(values, None))
        for one in (Ours, Stock):
            self.assertEqual(one.parseArguments(ours, None), values)

    def test_optional(self):
        """A list can be left out, and differs then from an empty list."""
        for values in ({"strings": None, "boxes": None}, {"strings": [], "boxes": []}):
            box = Ours.makeArguments(values, None)
            self.assertEqual(Ours.parseArguments(box, None), values)

    def test_longElements(self):
        """Two protocols that agreed on version 2 exchange elements of any length."""
        values = {
            "strings": [bytes([number]) * size for number, size in enumerate(LENGTHS)],
            "boxes": [{"name": str(size), "data": bytes(size)} for size in LENGTHS],
        }
        for version in ("auto", 2):
            pair = connectInMemory(
                StreamAMP(config=StreamConfig(version=version)),
                Server(config=StreamConfig(version=version)),
            )
            result = pair.client.callRemote(Ours, **values)
            pair.flush()
            self.assertEqual(self.successResultOf(result), values)
            pair.lose()

    def test_version1(self):
        """
        A list that the connection cannot carry fails the call with
        C{OversizeValue}.
        """
        pair = connectInMemory(
            StreamAMP(config=StreamConfig(version=1)),
            Server(config=StreamConfig(version=1)),
        )
        for size in LENGTHS[2:]:
            kept = Deferred()
            result = pair.client.callRemote(Ours, strings=[bytes(size)])
            result.addCallbacks(kept.callback, kept.errback)
            pair.flush()
            self.failureResultOf(kept, OversizeValue)
        result = pair.client.callRemote(Ours, strings=[bytes(65_533)])
        pair.flush()
        self.successResultOf(result)
        pair.lose()

    def test_malformed(self):
        """A truncated list fails its call, and the connection lives."""
        pair = connectInMemory(amp.AMP(), Server())
        for name, value in (
            ("strings", b"\x00\x05abc"),
            ("strings", b"\x00"),
            ("boxes", b"\x00\x01a"),
            ("boxes", b"\x01\x00" + bytes(256)),
        ):
            results = []
            pair.client.callRemoteString(b"Lists", **{name: value}).addErrback(
                results.append
            )
            pair.flush()
            self.assertEqual(results[0].value.errorCode, FramingError.code)
        pair.lose()


class CodecTests(SynchronousTestCase):
    """The bytes of a list."""

    def test_strings(self):
        """Strings of every length are split again as they were joined."""
        strings = [bytes(size) for size in LENGTHS]
        self.assertEqual(splitStrings(joinStrings(strings)), strings)

    def test_boxes(self):
        """
        Boxes of every length, also empty ones, are split again as they
        were joined.
        """
        boxes = [{}, *({b"k": bytes(size)} for size in LENGTHS), {}]
        self.assertEqual(splitBoxes(joinBoxes(boxes)), boxes)

    def test_exactBytes(self):
        """An element of exactly 65,535 bytes is followed by an empty segment."""
        self.assertEqual(
            joinStrings([b"x" * 65_535, b"y"]),
            b"\xff\xff" + b"x" * 65_535 + b"\x00\x00" + b"\x00\x01y",
        )

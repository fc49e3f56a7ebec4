# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests for L{amp_stream._commands}: a chunk in a box."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from amp_stream import Chunk, StreamChunk
from amp_stream.errors import UsageError
from tests.codes import classOf
from tests.commands import StreamData

chunks = st.builds(
    Chunk,
    id=st.integers(0, 2**61),
    offset=st.integers(0, 2**61),
    data=st.binary(max_size=100),
    fin=st.just(True),
    sha256=st.sampled_from([None, b"", bytes(32)]),
)


class Named(amp.Command):
    """A command with a chunk beside another argument."""

    arguments = [(b"part", StreamChunk()), (b"name", amp.Unicode())]


class Maybe(amp.Command):
    """A command with an optional chunk."""

    arguments = [(b"part", StreamChunk(optional=True))]


class StreamChunkTests(SynchronousTestCase):
    """The chunk as an argument."""

    def test_keys(self):
        """
        The bytes take the key of the argument, the other fields keys of their own, and
        fields with their default are left out.
        """
        box = Named.makeArguments({"part": Chunk(7, 65_535, b"abc"), "name": "x"}, None)
        self.assertEqual(
            box, {b"part": b"abc", b"id": b"7", b"offset": b"65535", b"name": b"x"}
        )
        box = StreamData.makeArguments(
            {"data": Chunk(7, 0, b"", True, bytes(32))}, None
        )
        self.assertEqual(
            box,
            {
                b"data": b"",
                b"id": b"7",
                b"offset": b"0",
                b"fin": b"True",
                b"sha256": bytes(32),
            },
        )

    @given(chunks)
    def test_roundTrip(self, chunk):
        """A chunk that is written and read is unchanged."""
        box = StreamData.makeArguments({"data": chunk}, None)
        self.assertEqual(StreamData.parseArguments(box, None), {"data": chunk})

    def test_optional(self):
        """An optional chunk can be left out."""
        box = Maybe.makeArguments({"part": None}, None)
        self.assertEqual(box, {})
        self.assertEqual(Maybe.parseArguments(box, None), {"part": None})

    def test_clash(self):
        """An argument named like a key of the chunk is refused, before or after it."""
        for name in (b"id", b"offset", b"fin", b"sha256"):
            other = (name, amp.Integer())
            part = (b"part", StreamChunk())
            for order in ([other, part], [part, other]):
                command = type("Clash", (amp.Command,), {"arguments": order})
                with self.assertRaises(UsageError) as caught:
                    command.makeArguments(
                        {"part": Chunk(1, 2, b""), name.decode(): 3}, None
                    )
                self.assertIn(name.decode(), str(caught.exception))

    def test_notAChunk(self):
        """A value other than a chunk is refused."""
        with self.assertRaises(classOf(b"STREAM_INVALID_CHUNK")) as caught:
            StreamData.makeArguments({"data": b"abc"}, None)
        self.assertIn("bytes", str(caught.exception))

    def test_inList(self):
        """A list of chunks is refused with an error that says what to declare."""
        listed = amp.ListOf(StreamChunk())
        with self.assertRaises(UsageError):
            listed.toString([Chunk(1, 2, b"")])
        with self.assertRaises(UsageError):
            listed.fromString(b"\x00\x01x")

    def test_malformed(self):
        """
        A malformed chunk in a request is answered with an AMP error; in a response it
        raises this package's error.
        """
        for extra, expected in (
            ({b"_command": b"stream.Data"}, amp.RemoteAmpError),
            ({b"_answer": b"1"}, classOf(b"STREAM_INVALID_CHUNK")),
        ):
            box = amp.AmpBox({b"data": b"", b"id": b"1", b"offset": b"x", **extra})
            with self.assertRaises(expected):
                StreamData.parseArguments(box, None)

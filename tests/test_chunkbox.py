# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The rules of L{amp_stream._sansio.frames}."""

from __future__ import annotations

from itertools import product
from struct import error as StructError

from hypothesis import given
from hypothesis import strategies as st
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from amp_stream._sansio.frames import encodeChunk
from amp_stream._sansio.limits import MAX_CHUNK, MAX_NUMBER


def serialize(id, offset, data, fin, sha256, ask):
    """Write the box of a chunk as AMP does."""
    box = amp.AmpBox(
        _command=b"stream.Data", id=b"%d" % id, offset=b"%d" % offset, data=data
    )
    if fin:
        box[b"fin"] = b"True"
    if sha256 is not None:
        box[b"sha256"] = sha256
    if ask is not None:
        box[b"_ask"] = ask
    return box.serialize()


class EncodeChunkTests(SynchronousTestCase):
    """The box of a chunk."""

    def test_everyCombination(self):
        """It is byte for byte what AMP would write, whatever keys there are."""
        for arguments in product(
            (0, 7, MAX_NUMBER),
            (0, 65_535, MAX_NUMBER),
            (b"", b"abc", bytes(MAX_CHUNK)),
            (False, True),
            (None, b"", bytes(range(32))),
            (None, b"s1", b"f" * 255),
        ):
            self.assertEqual(
                b"".join(encodeChunk(*arguments)), serialize(*arguments), arguments
            )

    @given(
        st.integers(0, MAX_NUMBER),
        st.integers(0, MAX_NUMBER),
        st.binary(max_size=300),
        st.booleans(),
        st.one_of(st.none(), st.binary(max_size=32)),
        st.one_of(st.none(), st.binary(max_size=20)),
    )
    def test_anyValues(self, id, offset, data, fin, sha256, ask):
        """So it is for any numbers, bytes and tags."""
        arguments = (id, offset, data, fin, sha256, ask)
        self.assertEqual(b"".join(encodeChunk(*arguments)), serialize(*arguments))

    def test_defaults(self):
        """What is left out is not in the box."""
        self.assertEqual(
            b"".join(encodeChunk(1, 2, b"abc")),
            serialize(1, 2, b"abc", False, None, None),
        )

    def test_notCopied(self):
        """The bytes of the stream are one of the pieces, as they are."""
        data = bytes(MAX_CHUNK)
        self.assertIs(encodeChunk(1, 2, data)[1], data)

    def test_tooLong(self):
        """What does not fit into a value is never written."""
        self.assertRaises(StructError, encodeChunk, 1, 0, bytes(MAX_CHUNK + 1))

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
    """Write the box of a chunk as C{amp.AmpBox} does."""
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
    """The bytes of a chunk's box."""

    def test_everyCombination(self):
        """
        A chunk with any set of keys is encoded byte for byte as AMP
        writes its box.
        """
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
        """A chunk with any numbers, bytes and tags is encoded as AMP writes its box."""
        arguments = (id, offset, data, fin, sha256, ask)
        self.assertEqual(b"".join(encodeChunk(*arguments)), serialize(*arguments))

    def test_defaults(self):
        """The fields of a chunk that have their default are left out of the box."""
        self.assertEqual(
            b"".join(encodeChunk(1, 2, b"abc")),
            serialize(1, 2, b"abc", False, None, None),
        )

    def test_notCopied(self):
        """The encoded chunk contains the stream's bytes without copying them."""
        data = bytes(MAX_CHUNK)
        self.assertIs(encodeChunk(1, 2, data)[1], data)

    def test_tooLong(self):
        """A chunk that is too long for a value is refused."""
        self.assertRaises(StructError, encodeChunk, 1, 0, bytes(MAX_CHUNK + 1))

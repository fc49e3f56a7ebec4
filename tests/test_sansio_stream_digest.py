# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The rules of L{amp_stream._sansio.stream}."""

from __future__ import annotations

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from amp_stream._sansio.stream import DigestCheck
from amp_stream.errors import DigestMismatch
from tests.rules import VALUE, pieces

LARGE = VALUE[:165_535]


class DigestCheckTests(SynchronousTestCase):
    """The SHA-256 of a stream."""

    def check(self, value, digest, announced=False):
        """Let a value arrive, with its digest at the end."""
        check = DigestCheck()
        if announced:
            check.note(b"")
        for _, data, fin in pieces(value, 65_535):
            if fin and digest is not None:
                check.note(digest)
            check.update([data])
        check.verify()

    def test_right(self):
        """A stream whose digest is right is complete."""
        self.check(b"", sha256().digest())
        self.check(b"abc", sha256(b"abc").digest())
        self.check(LARGE, sha256(LARGE).digest(), announced=True)

    def test_wrong(self):
        """A stream whose digest is wrong fails."""
        wrong = sha256(b"abd").digest()
        for announced in (False, True):
            self.assertRaises(DigestMismatch, self.check, b"abc", wrong, announced)
        self.assertRaises(DigestMismatch, self.check, LARGE, wrong, True)

    def test_none(self):
        """A stream without a digest is complete."""
        self.check(b"abc", None)
        self.check(LARGE, None)

    def test_announcedAndMissing(self):
        """A stream whose announced digest is missing fails."""
        error = self.assertRaises(
            DigestMismatch, self.check, b"abc", None, announced=True
        )
        self.assertIn("did not come", str(error))

    def test_twoDigests(self):
        """
        A sender may repeat its digest; one that gives two different digests fails the
        stream, whichever is right.
        """
        right, wrong = sha256(b"abc").digest(), sha256(b"abd").digest()
        check = DigestCheck()
        check.note(right)
        check.note(right)
        check.note(b"")
        check.update([b"abc"])
        self.assertRaises(DigestMismatch, check.note, wrong)
        check.verify()

    @given(st.binary(max_size=50), st.binary(max_size=50), st.integers(1, 60))
    def test_anyValue(self, sent, arrived, size):
        """A digest matches its bytes, however they are cut, and no others."""
        check = DigestCheck()
        check.note(sha256(sent).digest())
        for _, data, _ in pieces(arrived, size):
            check.update([data])
        if sent == arrived:
            check.verify()
        else:
            self.assertRaises(DigestMismatch, check.verify)

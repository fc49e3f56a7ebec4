# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The rules of L{amp_stream._sansio.stream}.
"""

from __future__ import annotations

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from amp_stream._sansio.stream import UNANNOUNCED, DigestCheck
from amp_stream.errors import DigestMismatch, InvalidChunk
from tests.rules import VALUE, pieces

LARGE = VALUE[: UNANNOUNCED + 100_000]


class DigestCheckTests(SynchronousTestCase):
    """
    The SHA-256 of a stream.
    """

    def check(self, value, digest, asked=False, announced=False):
        """
        Let a value arrive, with its digest at the end.
        """
        check = DigestCheck()
        if announced:
            check.note(b"")
        for _, data, fin in pieces(value, 65_535):
            if fin and digest is not None:
                check.note(digest)
            check.update([data], asked)
        check.verify()

    def test_right(self):
        """
        The right digest is accepted, that of a small stream without notice.
        """
        self.check(b"", sha256().digest())
        self.check(b"abc", sha256(b"abc").digest())
        self.check(LARGE, sha256(LARGE).digest(), announced=True)

    def test_wrong(self):
        """
        Another digest is refused.
        """
        wrong = sha256(b"abd").digest()
        for announced in (False, True):
            self.assertRaises(DigestMismatch, self.check, b"abc", wrong, announced)
        self.assertRaises(DigestMismatch, self.check, LARGE, wrong, False, True)

    def test_none(self):
        """
        A stream without a digest is as good as any.
        """
        self.check(b"abc", None)
        self.check(LARGE, None)
        self.check(LARGE, None, asked=True)

    def test_announcedAndMissing(self):
        """
        A digest that was announced has to come.
        """
        error = self.assertRaises(
            DigestMismatch, self.check, b"abc", None, announced=True
        )
        self.assertIn("did not come", str(error))

    def test_tooLate(self):
        """
        The digest of a large stream that was not announced can no longer be
        checked, and is refused with advice instead of being taken for right.
        """
        digest = sha256(LARGE).digest()
        error = self.assertRaises(InvalidChunk, self.check, LARGE, digest)
        self.assertIn("first chunk", str(error))

    def test_nothingInVain(self):
        """
        What goes beyond that is not hashed, not even for as long as it takes to know.
        """
        check = DigestCheck()
        check.update([VALUE[:1000], VALUE[1000 : UNANNOUNCED + 1]], False)
        self.assertIsNone(check._hash)
        self.assertEqual(check._hashed, UNANNOUNCED + 1)

    def test_largestWithoutNotice(self):
        """
        One chunk is hashed without notice, and the last one may add to it.
        """
        value = VALUE[:UNANNOUNCED]
        longer = VALUE[: UNANNOUNCED + 1]
        check = DigestCheck()
        check.update([value], False)
        check.note(sha256(longer).digest())
        check.update([longer[-1:]], False)
        check.verify()

    def test_asked(self):
        """
        The digest of a sender that waits for each answer may come without notice,
        however much it has sent.
        """
        self.check(LARGE, sha256(LARGE).digest(), asked=True)

    def test_twoDigests(self):
        """
        A sender that repeats its digest is right, and one that gives another is
        wrong, whichever of the two was true.
        """
        right, wrong = sha256(b"abc").digest(), sha256(b"abd").digest()
        check = DigestCheck()
        check.note(right)
        check.note(right)
        check.note(b"")
        check.update([b"abc"], False)
        self.assertRaises(DigestMismatch, check.note, wrong)
        check.verify()

    @given(st.binary(max_size=50), st.binary(max_size=50), st.integers(1, 60))
    def test_anyValue(self, sent, arrived, size):
        """
        A digest is right for the bytes that it was made from, however they were cut,
        and for no others.
        """
        check = DigestCheck()
        check.note(sha256(sent).digest())
        for _, data, _ in pieces(arrived, size):
            check.update([data], False)
        if sent == arrived:
            check.verify()
        else:
            self.assertRaises(DigestMismatch, check.verify)

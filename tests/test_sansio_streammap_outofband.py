# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Streams whose bytes arrive over another connection: L{amp_stream._sansio.streammap} and
L{amp_stream._sansio.stream}.
"""

from __future__ import annotations

import hashlib
import itertools

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from amp_stream._sansio.frames import StopSending
from amp_stream._sansio.limits import Limits
from amp_stream._sansio.streammap import ReceiveStreams
from amp_stream.errors import DigestMismatch, StreamError
from tests.codes import classOf

VALUE = bytes(range(251)) * 10
LENGTH = len(VALUE)
SHA = hashlib.sha256(VALUE).digest()


ANY_ORDER = st.tuples(
    st.binary(max_size=300),
    st.lists(st.integers(0, 300), max_size=6),
    st.integers(0, 7),
    st.booleans(),
    st.booleans(),
)


class CarriedTests(SynchronousTestCase):
    """One stream whose bytes arrive over another connection."""

    inboundClass = ReceiveStreams

    def setUp(self):
        self.inbound = self.inboundClass(Limits(maxStreamSize=1_000_000))

    def accept(self, size=None, maxSize=None, digest=False):
        return self.inbound.accept(7, size, maxSize, True, digest)

    def end(self, size=LENGTH, sha256=None):
        return self.inbound.receive(7, size, b"", True, sha256, True)

    def read(self, stream):
        return b"".join(iter(lambda: self.inbound.read(stream), b""))

    def assertEnded(self):
        """Check that no stream is left, and that the byte counts are zero."""
        self.assertEqual(self.inbound.streams, {})
        self.assertEqual((self.inbound.unaccepted, self.inbound.reserved), (0, 0))

    def test_order(self):
        """
        The bytes of a carried stream and its end may arrive in either order, with or
        without a digest.
        """
        for digest in (False, True):
            for size in (None, len(VALUE)):
                for endFirst in (False, True):
                    self.setUp()
                    stream = self.accept(size, None, digest)
                    sha = SHA if digest else None
                    if endFirst:
                        self.end(sha256=sha)
                    self.inbound.feed(7, VALUE[:100])
                    self.inbound.feed(7, b"")
                    self.inbound.feed(7, VALUE[100:])
                    self.inbound.feed(7, b"", True)
                    if not endFirst:
                        self.assertFalse(stream.isComplete)
                        self.end(sha256=sha)
                    self.assertTrue(stream.isComplete)
                    self.assertEqual(self.read(stream), VALUE)
                    self.assertEnded()
                    self.assertEqual(self.inbound.frames, [])

    def test_empty(self):
        """A carried stream of no bytes is complete when its end has arrived."""
        for endFirst in (False, True):
            self.setUp()
            stream = self.accept()
            if endFirst:
                self.end(0)
                self.assertTrue(stream.isComplete)
            else:
                self.inbound.feed(7, b"", True)
                self.assertFalse(stream.isComplete)
                self.end(0)
            self.assertTrue(stream.isComplete)

    def fails(self, error, call, *args):
        with self.assertRaises(error):
            call(*args)
        self.assertEnded()

    def test_truncated(self):
        """A carried stream fails if its bytes end before its size."""
        for known in ("announced", "end", "later"):
            self.setUp()
            self.accept(len(VALUE) if known == "announced" else None)
            if known == "end":
                self.end()
            self.inbound.feed(7, VALUE[:-1])
            if known == "later":
                self.inbound.feed(7, b"", True)
                self.fails(classOf(b"STREAM_TRUNCATED"), self.end)
            else:
                self.fails(
                    classOf(b"STREAM_TRUNCATED"), self.inbound.feed, 7, b"", True
                )

    def test_senderIsTold(self):
        """The sender of a carried stream is told with C{StopSending} why it failed."""
        self.accept()
        self.end()
        self.fails(classOf(b"STREAM_TRUNCATED"), self.inbound.feed, 7, b"", True)
        advertisedMax = StopSending(7, b"STREAM_TRUNCATED")
        self.assertEqual(self.inbound.frames, [advertisedMax])

    def test_tooLong(self):
        """
        A carried stream fails with more bytes than announced, than its end says, or
        than allowed.
        """
        self.accept(len(VALUE))
        self.fails(classOf(b"STREAM_FINAL_SIZE"), self.inbound.feed, 7, VALUE + b"x")
        self.setUp()
        self.accept()
        self.end()
        self.fails(classOf(b"STREAM_FINAL_SIZE"), self.inbound.feed, 7, VALUE + b"x")
        self.setUp()
        self.accept()
        self.inbound.feed(7, VALUE + b"x")
        self.fails(classOf(b"STREAM_FINAL_SIZE"), self.end)
        self.setUp()
        self.accept(None, 10)
        self.fails(classOf(b"STREAM_TOO_LONG"), self.inbound.feed, 7, bytes(11))
        self.setUp()
        self.accept()
        self.fails(classOf(b"STREAM_TOO_LONG"), self.inbound.feed, 7, bytes(1_000_001))
        self.setUp()
        self.fails(classOf(b"STREAM_TOO_LONG"), self.accept, 11, 10)

    def test_digest(self):
        """
        A carried stream fails with bytes that do not match its digest, or when a
        promised digest is missing.
        """
        self.accept(None, None, True)
        self.inbound.feed(7, bytes(len(VALUE)))
        self.fails(DigestMismatch, self.end, len(VALUE), SHA)
        self.setUp()
        self.accept(None, None, True)
        self.inbound.feed(7, VALUE)
        self.fails(StreamError, self.end)

    def test_chunks(self):
        """
        A carried stream fails when bytes arrive in chunks, before or after
        the claim.
        """
        self.accept()
        self.fails(classOf(b"STREAM_INVALID_CHUNK"), self.inbound.receive, 7, 0, b"x")
        self.setUp()
        self.inbound.receive(7, 0, b"x")
        self.fails(classOf(b"STREAM_INVALID_CHUNK"), self.accept)
        self.setUp()
        self.inbound.receive(7, 0, b"", True)
        self.fails(classOf(b"STREAM_INVALID_CHUNK"), self.accept)

    def test_emptyChunk(self):
        """An empty chunk that is not the last leaves a carried stream unchanged."""
        stream = self.accept()
        self.inbound.receive(7, 0, b"")
        self.inbound.feed(7, b"abc", True)
        self.end(3)
        self.assertEqual(self.read(stream), b"abc")

    def test_ended(self):
        """Bytes for a stream that has ended, or that never existed, are dropped."""
        self.assertIsNone(self.inbound.feed(7, b"x"))
        stream = self.accept()
        self.inbound.stop(stream, StreamError())
        self.assertIsNone(self.inbound.feed(7, b"x"))
        stream.feed(b"x", True)
        self.assertEqual(stream.held, 0)
        with self.assertRaises(StreamError):
            self.accept()

    def test_complete(self):
        """A carried stream that is complete refuses more bytes."""
        self.accept()
        self.inbound.feed(7, VALUE, True)
        self.end()
        with self.assertRaises(StreamError):
            self.inbound.feed(7, b"x")

    def test_claimedTwice(self):
        """A carried stream can be claimed once."""
        self.accept()
        with self.assertRaises(classOf(b"STREAM_REUSED")):
            self.accept()

    def test_noCredit(self):
        """A carried stream grants no credit, and its answers wait for its end."""
        stream = self.accept()
        self.assertFalse(stream.hasRoom)
        self.assertFalse(stream.needsMore)
        for _ in range(20):
            self.inbound.feed(7, bytes(40_000))
            self.assertEqual(len(self.read(stream)), 40_000)
        self.assertEqual(self.inbound.frames, [])
        self.inbound.feed(7, b"", True)
        self.end(800_000)
        self.assertTrue(stream.hasRoom)

    def test_sums(self):
        """The bytes that a carried stream holds count towards the connection's sum."""
        stream = self.accept()
        before = self.inbound.reserved
        self.inbound.feed(7, bytes(500_000))
        self.assertEqual(stream.held, 500_000)
        self.assertGreaterEqual(self.inbound.reserved, max(before, 500_000))
        self.read(stream)
        self.inbound.stop(stream, StreamError())
        self.assertEnded()

    def test_reset(self):
        """The sender can reset a carried stream, however many bytes have arrived."""
        for fed, final in ((0, 0), (3, 3), (3, 10)):
            self.setUp()
            stream = self.accept()
            self.inbound.feed(7, bytes(fed))
            self.inbound.reset(7, StreamError("given up"), final)
            self.assertEqual(str(stream.error), "given up")
            self.assertEnded()

    def test_resetBelow(self):
        """
        The final size in a carried stream's reset may exceed the bytes that have
        arrived, but not be below them.
        """
        stream = self.accept()
        self.inbound.feed(7, bytes(3))
        self.inbound.reset(7, StreamError("given up"), 2)
        self.assertIsInstance(stream.error, classOf(b"STREAM_FINAL_SIZE"))

    def checkAnyOrder(self, value, cuts, when, known, digest):
        """
        Check that the value arrives whole, and is complete only with the last of bytes
        and end, however the bytes are cut and wherever the end comes between them.
        """
        self.setUp()
        stream = self.accept(len(value) if known else None, None, digest)
        places = sorted({min(cut, len(value)) for cut in cuts} | {0, len(value)})
        parts = [value[start:end] for start, end in itertools.pairwise(places)]
        sha = hashlib.sha256(value).digest() if digest else None
        when = min(when, len(parts))
        got = b""
        for number, part in enumerate(parts):
            if number == when:
                self.end(len(value), sha)
            self.inbound.feed(7, part)
            self.assertEqual(stream.isComplete, when <= number == len(parts) - 1)
            if number < len(parts) - 1:
                got += self.read(stream)
        if 7 in self.inbound.streams and not stream.isComplete:
            self.inbound.feed(7, b"", True)
        if when == len(parts):
            self.end(len(value), sha)
        self.assertTrue(stream.isComplete)
        got += self.read(stream)
        self.assertEqual(got, value)
        self.assertEnded()

    @given(ANY_ORDER)
    def test_anyOrder(self, how):
        """
        A carried stream's value arrives whole, however its bytes are cut and whenever
        its end arrives.
        """
        self.checkAnyOrder(*how)

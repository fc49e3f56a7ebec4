# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The end-to-end check of a stream's bytes.

The digest comes with the last chunk, but must be computed from the first one
on, and a large stream whose sender never gives one should not pay for it.  So a
sender that uses windows says at the start that a digest will follow, with an
empty C{sha256}.  One chunk, and the streams of senders that wait for each answer,
are hashed in any case: for them the digest may come without notice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from hmac import compare_digest

from amp_stream._sansio.limits import MAX_CHUNK
from amp_stream.errors import DigestMismatch, InvalidChunk

__all__ = ["UNANNOUNCED", "DigestCheck"]

UNANNOUNCED = MAX_CHUNK
"""
How many bytes of a stream are hashed without notice.  Hashing takes longer than
everything else that is done to a byte.
"""


class DigestCheck:
    """
    The SHA-256 of the bytes of one stream, as long as it may be needed.
    """

    __slots__ = ("_announced", "_expected", "_hash", "_hashed")

    def __init__(self) -> None:
        self._hash: hashlib._Hash | None = hashlib.sha256()
        self._hashed = 0
        self._announced = False
        self._expected = b""

    def note(self, sha256: bytes) -> None:
        """
        Take the sender's word.

        @param sha256: The digest, or C{b""} to say that it will come.

        @raise InvalidChunk: If it is too late to check a digest.

        @raise DigestMismatch: If the sender gave another one before.
        """
        if self._hash is None:
            raise InvalidChunk(
                "the digest of a stream of this size must be announced: send an "
                "empty sha256 with the first chunk"
            )
        if sha256 and self._expected not in (b"", sha256):
            raise DigestMismatch("the sender gave two different digests")
        self._announced = True
        self._expected = sha256 or self._expected

    def update(self, readable: Iterable[bytes], asked: bool) -> None:
        """
        Hash the next bytes of the stream.

        @param readable: The bytes, in their order.

        @param asked: Whether the sender waits for each answer.
        """
        if self._hash is None:
            return
        for data in readable:
            self._hashed += len(data)
            if self._hashed > UNANNOUNCED and not (self._announced or asked):
                self._hash = None
                return
            self._hash.update(data)

    def verify(self) -> None:
        """
        Compare, now that every byte has been hashed.

        @raise DigestMismatch: If a digest was announced, and did not come or is
            another one.
        """
        if self._hash is None or not self._announced:
            return
        if not self._expected:
            raise DigestMismatch("a digest was announced, but did not come")
        if not compare_digest(self._hash.digest(), self._expected):
            raise DigestMismatch

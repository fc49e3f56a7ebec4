# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests for L{amp_stream._sansio.negotiation}: what two ends agree on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from amp_stream._sansio.negotiation import Negotiation, Peer, Settings
from amp_stream.errors import InvalidChunk

BOTH = Settings(frozenset({1, 2}), 1000)
ONE = Settings(frozenset({1}), 1000)


class SettingsTests(SynchronousTestCase):
    """What an end says of itself."""

    def test_keys(self) -> None:
        """The versions are numbers with a space between them, the size is a number."""
        self.assertEqual(BOTH.toBox(), {b"versions": b"1 2", b"box": b"1000"})
        self.assertEqual(Settings.fromBox(BOTH.toBox()), BOTH)

    @given(
        st.frozensets(st.sampled_from([1, 2]), min_size=1), st.integers(0, 2**62 - 1)
    )
    def test_roundTrip(self, versions: frozenset[int], box: int) -> None:
        """What is said is understood."""
        said = Settings(versions, box)
        self.assertEqual(Settings.fromBox(said.toBox()), said)

    def test_later(self) -> None:
        """Versions and keys that nobody here knows are passed over."""
        self.assertEqual(
            Settings.fromBox({b"versions": b"3 2 1 4", b"box": b"1000", b"z": b"?"}),
            BOTH,
        )

    def test_malformed(self) -> None:
        """What makes no sense is an error that says which key it is."""
        for box, word in (
            ({b"box": b"1"}, "versions"),
            ({b"versions": b"", b"box": b"1"}, "versions"),
            ({b"versions": b"3", b"box": b"1"}, "versions"),
            ({b"versions": b"1,2", b"box": b"1"}, "versions"),
            ({b"versions": b"1 2"}, "box"),
            ({b"versions": b"1 2", b"box": b"-1"}, "box"),
        ):
            error = self.assertRaises(InvalidChunk, Settings.fromBox, box)
            self.assertIn(word, str(error))


class NegotiationTests(SynchronousTestCase):
    """When an end may make use of what it knows."""

    def test_modes(self) -> None:
        """
        With 1 or 2, that is read and written from the first byte and nothing else
        is expected of the peer; C{"auto"} begins with 1.
        """
        for mode, version, peer in (
            ("auto", 1, Peer.UNKNOWN),
            (1, 1, Peer.PLAIN),
            (2, 2, Peer.PLAIN),
        ):
            negotiation = Negotiation(mode)
            self.assertEqual(negotiation.readVersion, version)
            self.assertEqual(negotiation.writeVersion, version)
            self.assertEqual(negotiation.isAutomatic, mode == "auto")
            self.assertEqual(negotiation.peer, peer)
            self.assertIsNone(negotiation.settings)

    def test_noSuchMode(self) -> None:
        """Any other mode is refused with the ones that there are."""
        for mode in ("2", 3, 0, "", None):
            error = self.assertRaises(ValueError, Negotiation, mode)
            self.assertIn("'auto', 1 or 2", str(error))

    def test_agreed(self) -> None:
        """
        Version 2 is written once the peer has said that it reads it and has been
        told that it comes, and is announced once.
        """
        negotiation = Negotiation("auto")
        self.assertTrue(negotiation.settingsReceived(BOTH))
        self.assertEqual(negotiation.peer, Peer.KNOWN)
        self.assertEqual(negotiation.settings, BOTH)
        self.assertEqual(negotiation.writeVersion, 1)
        negotiation.versionWritten()
        self.assertEqual(negotiation.writeVersion, 2)
        self.assertEqual(negotiation.readVersion, 1)
        self.assertFalse(negotiation.settingsReceived(BOTH))

    def test_onlyOne(self) -> None:
        """A peer that reads version 1 only gets that, and is known all the same."""
        negotiation = Negotiation("auto")
        self.assertFalse(negotiation.settingsReceived(ONE))
        self.assertEqual(negotiation.peer, Peer.KNOWN)
        self.assertEqual(negotiation.writeVersion, 1)

    def test_announced(self) -> None:
        """
        The peer's boxes are read in the version that it announces, which says
        nothing about those that are written.
        """
        negotiation = Negotiation("auto")
        negotiation.versionAnnounced(2)
        self.assertEqual(negotiation.readVersion, 2)
        self.assertEqual(negotiation.writeVersion, 1)

    def test_notAgreed(self) -> None:
        """
        A version that this end cannot read, or any where none is negotiated, is
        refused.
        """
        for mode, version in (("auto", 3), ("auto", 0), (1, 2), (2, 1), (2, 2)):
            negotiation = Negotiation(mode)
            before = negotiation.readVersion
            self.assertRaises(InvalidChunk, negotiation.versionAnnounced, version)
            self.assertEqual(negotiation.readVersion, before)

    def test_noAnswer(self) -> None:
        """
        A peer that does not answer is a plain one, until it says something; one
        that has said something is not forgotten.
        """
        negotiation = Negotiation("auto")
        negotiation.noAnswer()
        self.assertEqual(negotiation.peer, Peer.PLAIN)
        self.assertTrue(negotiation.settingsReceived(BOTH))
        negotiation.noAnswer()
        self.assertEqual(negotiation.peer, Peer.KNOWN)

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Tests for L{amp_stream._sansio.negotiation}: the versions and sizes that two
ends agree on.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from amp_stream._sansio.negotiation import Negotiation, Peer, Settings
from tests.codes import classOf

BOTH = Settings(frozenset({1, 2}), 200_000)
ONE = Settings(frozenset({1}), 200_000)


class SettingsTests(SynchronousTestCase):
    """The settings that an end announces."""

    def test_keys(self) -> None:
        """
        In a settings box, versions are numbers with a space between, and the size
        is a number.
        """
        self.assertEqual(BOTH.toBox(), {b"versions": b"1 2", b"box": b"200000"})
        self.assertEqual(Settings.fromBox(BOTH.toBox()), BOTH)

    @given(
        st.frozensets(st.sampled_from([1, 2]), min_size=1),
        st.integers(131_072, 2**62 - 1),
    )
    def test_roundTrip(self, versions: frozenset[int], box: int) -> None:
        """Settings are read back as they were written."""
        said = Settings(versions, box)
        self.assertEqual(Settings.fromBox(said.toBox()), said)

    def test_later(self) -> None:
        """Unknown versions and keys in settings are ignored."""
        self.assertEqual(
            Settings.fromBox({b"versions": b"3 2 1 4", b"box": b"200000", b"z": b"?"}),
            BOTH,
        )

    def test_malformed(self) -> None:
        """The error for malformed settings names the key."""
        for box, word in (
            ({b"box": b"1"}, "versions"),
            ({b"versions": b"", b"box": b"1"}, "versions"),
            ({b"versions": b"3", b"box": b"1"}, "versions"),
            ({b"versions": b"1,2", b"box": b"1"}, "versions"),
            ({b"versions": b"1 2"}, "box"),
            ({b"versions": b"1 2", b"box": b"-1"}, "box"),
            ({b"versions": b"1 2", b"box": b"131071"}, "box"),
        ):
            error = self.assertRaises(
                classOf(b"STREAM_INVALID_CHUNK"), Settings.fromBox, box
            )
            self.assertIn(word, str(error))


class NegotiationTests(SynchronousTestCase):
    """When an end may use the settings of its peer."""

    def test_modes(self) -> None:
        """
        Modes 1 and 2 read and write that version from the first byte and expect no
        negotiation; C{"auto"} begins with version 1.
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
        """An unknown mode is refused, and the error lists the valid ones."""
        for mode in ("2", 3, 0, "", None):
            error = self.assertRaises(ValueError, Negotiation, mode)
            self.assertIn("'auto', 1 or 2", str(error))

    def test_agreed(self) -> None:
        """
        Version 2 is written once the peer has said that it reads it and the change has
        been announced, once.
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
        """A peer that reads only version 1 is written version 1."""
        negotiation = Negotiation("auto")
        self.assertFalse(negotiation.settingsReceived(ONE))
        self.assertEqual(negotiation.peer, Peer.KNOWN)
        self.assertEqual(negotiation.writeVersion, 1)

    def test_announced(self) -> None:
        """
        The peer's boxes are read in the version that it announces; the version written
        does not change.
        """
        negotiation = Negotiation("auto")
        negotiation.versionAnnounced(2)
        self.assertEqual(negotiation.readVersion, 2)
        self.assertEqual(negotiation.writeVersion, 1)

    def test_notAgreed(self) -> None:
        """
        An announced version that this end cannot read, or has not negotiated,
        is refused.
        """
        for mode, version in (("auto", 3), ("auto", 0), (1, 2), (2, 1), (2, 2)):
            negotiation = Negotiation(mode)
            before = negotiation.readVersion
            self.assertRaises(
                classOf(b"STREAM_INVALID_CHUNK"), negotiation.versionAnnounced, version
            )
            self.assertEqual(negotiation.readVersion, before)

    def test_noAnswer(self) -> None:
        """
        A peer that does not answer counts as stock AMP until it sends settings, which
        are then kept.
        """
        negotiation = Negotiation("auto")
        negotiation.noAnswer()
        self.assertEqual(negotiation.peer, Peer.PLAIN)
        self.assertTrue(negotiation.settingsReceived(BOTH))
        negotiation.noAnswer()
        self.assertEqual(negotiation.peer, Peer.KNOWN)

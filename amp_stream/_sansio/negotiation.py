# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The versions and box sizes that two ends of a connection agree on.

Each end asks at the start, and says what it can read.  An end uses towards its peer
only what the peer has said.  An answer that there is no such command, or no answer at
all, means that the peer is a plain C{amp.AMP}: nothing is used then.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from attrs import frozen

from amp_stream._sansio.frames import parseNumber
from amp_stream._sansio.limits import LEAST_BOX
from amp_stream.errors import InvalidValue

_VERSIONS = frozenset({b"1", b"2"})


@frozen
class Settings:
    """
    What one end says of itself.

    @ivar versions: The versions of AMP that it can read.

    @ivar box: The largest box that it takes (bytes), whole or in fragments.
    """

    versions: frozenset[int]
    box: int

    def toBox(self) -> dict[bytes, bytes]:
        """@return: The keys of C{StreamSettings}."""
        versions = b" ".join(b"%d" % version for version in sorted(self.versions))
        return {b"versions": versions, b"box": b"%d" % self.box}

    @classmethod
    def fromBox(cls, box: Mapping[bytes, bytes]) -> Settings:
        """
        Read what the peer says.  Versions that nobody here knows are no error.

        @raise InvalidValue: If it makes no sense.
        """
        versions = _VERSIONS.intersection(box.get(b"versions", b"").split(b" "))
        if not versions:
            raise InvalidValue("versions must be numbers with a space between them")
        most = parseNumber("box", box.get(b"box"))
        if most < LEAST_BOX:
            raise InvalidValue(f"box must be {LEAST_BOX} or more, not {most}")
        return cls(frozenset(map(int, versions)), most)


class Peer(Enum):
    """The kind of the other end, as far as it is known."""

    UNKNOWN = "unknown"
    PLAIN = "plain"
    KNOWN = "known"


class Negotiation:
    """
    One end's view.

    @ivar peer: What is known of the other end.

    @ivar settings: What it has said, once it is C{KNOWN}.
    """

    def __init__(self, mode: str | int) -> None:
        """
        @param mode: C{"auto"} to negotiate; 1 or 2 for that version and nothing else.

        @raise ValueError: If it is anything else.
        """
        if mode not in ("auto", 1, 2):
            raise ValueError(f"version must be 'auto', 1 or 2, not {mode!r}")
        self.isAutomatic = mode == "auto"
        self.peer = Peer.UNKNOWN if self.isAutomatic else Peer.PLAIN
        self.settings: Settings | None = None
        self.readVersion = self.writeVersion = 2 if mode == 2 else 1

    def settingsReceived(self, settings: Settings) -> bool:
        """
        The peer has said what it can.

        @return: Whether to tell it that version 2 comes, and to write that behind.
        """
        self.settings = settings
        self.peer = Peer.KNOWN
        return self.writeVersion == 1 and 2 in settings.versions

    def versionWritten(self) -> None:
        """The peer has been told that the next box is of version 2."""
        self.writeVersion = 2

    def versionAnnounced(self, version: int) -> None:
        """
        The peer writes another version from its next box on.

        @raise InvalidValue: If that is not a version which this end can read.
        """
        if not self.isAutomatic or version not in (1, 2):
            raise InvalidValue(f"version {version} was not agreed on")
        self.readVersion = version

    def noAnswer(self) -> None:
        """The peer does not know the question, or has let it lie for too long."""
        if self.peer is Peer.UNKNOWN:
            self.peer = Peer.PLAIN

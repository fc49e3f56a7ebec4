# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The bounds of L{amp_stream._sansio.limits}."""

from __future__ import annotations

from math import inf, nan

from attrs import evolve, fields_dict
from attrs.exceptions import FrozenInstanceError
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from amp_stream import StreamAMP, StreamConfig
from amp_stream._sansio.limits import INITIAL_MAXIMUM, MAX_CHUNK, MAX_NUMBER, Limits

UNBOUNDED = ("maxStreamSize",)


class ConstantTests(SynchronousTestCase):
    """The constants of the wire."""

    def test_constants(self) -> None:
        """The constants are those of AMP, QUIC and the wire specification."""
        self.assertEqual(MAX_CHUNK, amp.MAX_VALUE_LENGTH)
        self.assertEqual(MAX_NUMBER, 2**62 - 1)
        self.assertEqual(INITIAL_MAXIMUM, 262_144)


class LimitsTests(SynchronousTestCase):
    """One side's limits."""

    def test_defaults(self) -> None:
        """
        The defaults are valid, and bound everything except the length
        of a stream.
        """
        limits = Limits()
        self.assertEqual(limits.initialWindow, 1_048_576)
        self.assertEqual(limits.chunk, MAX_CHUNK)
        self.assertIsNone(limits.maxStreamSize)
        for name in fields_dict(Limits):
            if name != "maxStreamSize":
                self.assertGreater(getattr(limits, name), 0, name)

    def test_frozen(self) -> None:
        """Limits are immutable; C{attrs.evolve} makes changed ones."""
        limits = Limits()
        self.assertRaises(FrozenInstanceError, setattr, limits, "chunk", 1)
        self.assertEqual(evolve(limits, chunk=1).chunk, 1)
        self.assertEqual(limits, Limits())
        self.assertEqual(hash(limits), hash(Limits()))

    def test_keywordsOnly(self) -> None:
        """Limits are given by keyword only, by their exact names."""
        self.assertRaises(TypeError, Limits, 1_048_576)
        self.assertRaises(TypeError, Limits, minWindow=1)

    def test_ranges(self) -> None:
        """Each limit accepts the ends of its range, and refuses values outside it."""
        for name, least, most in (
            ("initialWindow", INITIAL_MAXIMUM, MAX_NUMBER),
            ("chunk", 1, MAX_CHUNK),
            ("maxStreams", 1, MAX_NUMBER),
            ("maxUnacceptedBytes", 0, MAX_NUMBER),
            ("maxBufferedBytes", 0, MAX_NUMBER),
            ("maxStreamSize", 0, MAX_NUMBER),
            ("maxCollectSize", 0, MAX_NUMBER),
            ("maxGaps", 1, MAX_NUMBER),
            ("maxBoxSize", 131_072, MAX_NUMBER),
            ("maxBoxKeys", 16, MAX_NUMBER),
        ):
            for value in (least, most):
                self.assertEqual(getattr(Limits(**{name: value}), name), value)
            for value in (least - 1, most + 1):
                self.assertRaises(ValueError, Limits, **{name: value})

    def test_types(self) -> None:
        """A limit must be an integer; only unbounded ones may be L{None}."""
        for name in fields_dict(Limits):
            if name in UNBOUNDED:
                self.assertIsNone(getattr(Limits(**{name: None}), name))
            else:
                self.assertRaises((TypeError, ValueError), Limits, **{name: None})
            self.assertRaises(TypeError, Limits, **{name: 1_048_576.0})
            self.assertRaises(TypeError, Limits, **{name: "1048576"})


class ConfigTests(SynchronousTestCase):
    """How one side of a connection behaves."""

    def test_times(self) -> None:
        """
        A time is a number of seconds, whole or not, above 0 and finite; some may be
        L{None}.
        """
        for name, mayBeNone in (
            ("streamTimeout", True),
            ("maxBulkDelay", True),
            ("negotiationTimeout", False),
        ):
            for seconds in (0.001, 1, 2.5, 86_400):
                config = StreamConfig(**{name: seconds})
                self.assertEqual(getattr(config, name), seconds)
            for seconds in (0, -1.0, "300", inf, nan, True):
                self.assertRaises(ValueError, StreamConfig, **{name: seconds})
            if mayBeNone:
                self.assertIsNone(getattr(StreamConfig(**{name: None}), name))
            else:
                self.assertRaises(ValueError, StreamConfig, **{name: None})

    def test_version(self) -> None:
        """The versions are C{"auto"}, 1 and 2."""
        for version in ("auto", 1, 2):
            self.assertEqual(StreamConfig(version=version).version, version)
        for version in (0, 3, "2", None, True):
            self.assertRaises(ValueError, StreamConfig, version=version)

    def test_wrongTypes(self) -> None:
        """A dictionary is refused in the place of limits or of a configuration."""
        self.assertRaises(TypeError, StreamConfig, limits={"maxStreams": 1})
        self.assertRaises(TypeError, StreamAMP, config={"version": 1})
        self.assertRaises(TypeError, StreamAMP, version=1)

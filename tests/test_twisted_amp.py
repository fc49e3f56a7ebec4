# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Twisted's own tests of AMP, run with L{StreamAMP} in place of C{amp.AMP}, in every
version mode.

The module C{twisted.test.test_amp} is executed anew for each mode, with an C{amp}
module that differs from Twisted's in this one class.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path

import twisted.protocols
import twisted.test.test_amp
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase, TestCase

from amp_stream import StreamAMP, StreamConfig

DIFFERENCES = {
    "auto": {
        "AMPTests.test_valueTooLong": (
            "a value of more than 65,535 bytes is not too long: it waits until the "
            "peer has said whether it takes fragments"
        ),
        "TLSNotAvailableTests.test_messageReceivedError": (
            "the test expects the one box that is sent to be the answer; here the "
            "settings are sent as well"
        ),
    },
    1: {},
    2: {
        "AMPTests.test_valueTooLong": (
            "a value of more than 65,535 bytes is not too long in AMPv2"
        )
    },
}
"""The intended differences from Twisted, with reasons."""


class OtherClass:
    """C{twisted.protocols.amp} with another C{AMP}, also where a test changes it."""

    def __init__(self, replacement):
        vars(self)["AMP"] = replacement

    def __getattr__(self, name):
        return getattr(amp, name)

    def __setattr__(self, name, value):
        setattr(amp, name, value)


def executeWith(version):
    """@return: The module of Twisted's tests, executed with our class."""
    name = f"{__name__}_{version}"
    # Some tests compare the name of the class.
    attributes = {"streamConfig": StreamConfig(version=version), "__module__": name}
    ours = OtherClass(type("AMP", (StreamAMP,), attributes))
    module = types.ModuleType(name)
    module.__file__ = twisted.test.test_amp.__file__
    source = Path(module.__file__).read_text(encoding="utf-8")
    sys.modules[name] = module
    twisted.protocols.amp = ours
    try:
        exec(compile(source, module.__file__, "exec"), vars(module))
    finally:
        twisted.protocols.amp = amp
    return module


def isTest(value):
    return isinstance(value, type) and issubclass(value, SynchronousTestCase | TestCase)


def collect(version, namespace):
    """Put the test cases of one mode where test runners find them."""
    module = executeWith(version)
    differences = dict(DIFFERENCES[version])
    for name, case in list(vars(module).items()):
        if not isTest(case) or case.__module__ != module.__name__:
            continue
        for method in [one for one in dir(case) if one.startswith("test")]:
            reason = differences.pop(f"{name}.{method}", None)
            if reason is not None:

                def different(self):
                    """Skipped, with the reason."""

                different.skip = reason
                setattr(case, method, different)
        case.__name__ = case.__qualname__ = f"{name}_{version}"
        case.__module__ = __name__
        namespace[case.__name__] = case
    if differences:
        raise AssertionError(f"no such tests: {sorted(differences)}")


for _version in DIFFERENCES:
    collect(_version, globals())

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests that L{amp_stream.StreamAMP} does not shadow names of C{amp.AMP}."""

from __future__ import annotations

from twisted.internet.protocol import Factory
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from amp_stream import StreamAMP, StreamReceiver
from amp_stream.testing import connectInMemory
from tests.commands import Ping, Responders, Server, Store

DELIBERATE = {
    # Each of these calls the overridden method, or does the same.
    "__init__",
    "_commandReceived",
    "_errorReceived",
    "_safeEmit",
    "_sendBoxCommand",
    "_startTLS",
    "_switchTo",
    "_unlockFromSwitch",
    "_wrapWithSerialization",
    "callRemote",
    "connectionLost",
    "dataReceived",
    "dispatchCommand",
    "locateResponder",
    "makeConnection",
    "sendBox",
    "stopReceivingBoxes",
}
OF_EVERY_CLASS = {
    "__annotations__",
    "__dict__",
    "__doc__",
    "__firstlineno__",
    "__implemented__",
    "__init_subclass__",
    "__module__",
    "__providedBy__",
    "__provides__",
    "__static_attributes__",
    "__weakref__",
    "_commandDispatch",
}


class NameTests(SynchronousTestCase):
    """The names of the classes that are mixed with AMP's."""

    def test_noneIsShadowed(self):
        """
        The package's classes shadow no name of C{amp.AMP} or its bases, except for
        deliberate overrides.
        """
        theirs = set(dir(amp.AMP))
        for cls in (StreamReceiver, StreamAMP):
            ours = set(vars(cls)) - OF_EVERY_CLASS - DELIBERATE
            self.assertEqual(ours & theirs, set())

    def test_noneOfTheInstanceIsShadowed(self):
        """
        No attribute of a L{StreamAMP} instance shadows one of a
        C{amp.AMP} instance.
        """
        before = set(vars(amp.AMP())) | set(dir(amp.AMP))
        pair = connectInMemory(StreamAMP(), StreamAMP())
        ours = set(vars(pair.client)) - set(vars(amp.AMP()))
        pair.lose()
        allowed = {"_streamLink", "_boxLayer", "streamClock", "transport", "boxSender"}
        allowed |= {"_transportPeer", "_transportHost", "connected", "recvd"}
        self.assertEqual(ours - allowed & before, ours - allowed)
        self.assertEqual(ours - before - allowed, set())

    def test_withoutInit(self):
        """
        A subclass of L{StreamAMP} need not call its constructor, as with
        C{amp.AMP}.
        """

        class Careless(StreamAMP, Responders):
            def __init__(self):
                self.stored, self.streams = {}, {}
                self.take = self.collectIt

        pair = connectInMemory(StreamAMP(), Careless())
        result = pair.client.callRemote(Store, name="x", body=bytes(400_000))
        pair.flush()
        self.assertEqual(self.successResultOf(result), {"size": 400_000})
        pair.lose()

    def test_factory(self):
        """C{Factory.forProtocol} builds L{StreamAMP} protocols."""
        factory = Factory.forProtocol(Server)
        pair = connectInMemory(StreamAMP(), factory.buildProtocol(None))
        self.assertIs(pair.server.factory, factory)
        result = pair.client.callRemote(Ping, number=1)
        pair.flush()
        self.assertEqual(self.successResultOf(result), {"number": 1})
        pair.lose()

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests that L{amp_stream.StreamAMP} does not shadow names of C{amp.AMP}."""

from __future__ import annotations

from attrs import fields_dict
from twisted.internet.protocol import Factory
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from amp_stream import StreamAMP, StreamConfig, StreamConnection, StreamReceiver
from amp_stream._multiplexer import StreamMultiplexer
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
TRANSPORT = {
    "_transportHost",
    "_transportPeer",
    "boxSender",
    "connected",
    "recvd",
    "transport",
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
        self.assertEqual(
            ours - before - TRANSPORT, {"_StreamAMP__core", "streamConfig"}
        )

    def test_twoNames(self):
        """StreamAMP adds two names to those of C{amp.AMP}."""
        added = set(dir(StreamAMP)) - set(dir(amp.AMP))
        self.assertEqual(added, {"streamConfig", "streams"})

    def test_anyNameCanBeOverridden(self):
        """A subclass may have attributes of any name that the package uses inside."""
        inside = {name for name in vars(StreamConnection) if not name.startswith("__")}
        pair = connectInMemory(StreamAMP(), StreamAMP())
        inside |= set(vars(pair.client.streams)) | set(vars(StreamMultiplexer))
        inside |= set(fields_dict(StreamConfig)) | {"limits", "version", "incoming"}
        pair.lose()
        theirs = set(dir(amp.AMP())) | {"transport", "streamConfig"}
        body = dict.fromkeys(inside - theirs, 42) | {"streams": "mine"}
        named = type("Named", (Server,), body)
        pair = connectInMemory(StreamAMP(), named())
        result = pair.client.callRemote(Store, name="x", body=bytes(400_000))
        pair.flush()
        self.assertEqual(self.successResultOf(result), {"size": 400_000})
        result = pair.server.callRemote(Ping, number=1)
        result.addErrback(lambda failure: failure.type)
        self.assertEqual(pair.server.streams, "mine")
        pair.lose()

    def test_withoutInit(self):
        """
        A subclass of L{StreamAMP} need not call its constructor, as with
        C{amp.AMP}.
        """

        class Careless(StreamAMP, Responders):
            def __init__(self):
                self.stored, self.taken = {}, {}
                self.take = self.collectIt

        pair = connectInMemory(StreamAMP(), Careless())
        result = pair.client.callRemote(Store, name="x", body=bytes(400_000))
        pair.flush()
        self.assertEqual(self.successResultOf(result), {"size": 400_000})
        pair.lose()

    def test_ownMakeConnection(self):
        """
        A subclass whose C{makeConnection} goes past that of StreamAMP sends and
        receives streams nevertheless.
        """

        class Past(Server):
            # Stock AMP logs these.
            _transportHost = _transportPeer = None

            def makeConnection(self, transport):
                amp.BinaryBoxProtocol.makeConnection(self, transport)

        pair = connectInMemory(Past(), Past())
        for end in (pair.client, pair.server):
            result = end.callRemote(Store, name="x", body=bytes(400_000))
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

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Tests for L{amp_stream._arguments}: the declaration of a stream.
"""

from __future__ import annotations

from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from amp_stream import Stream, StreamAMP
from amp_stream.errors import (
    DeclarationError,
    KeyClash,
    NotStreaming,
    StreamReused,
)
from amp_stream.testing import connectInMemory
from tests.commands import Ping, Server, Store


class StreamArgumentTests(SynchronousTestCase):
    """
    The argument.
    """

    def test_clash(self):
        """
        Another argument with the key of the size is refused, before or behind it.
        """
        body, other = (b"body", Stream()), (b"body.size", amp.Integer())
        for order in ([other, body], [body, other]):
            command = type("Clash", (amp.Command,), {"arguments": order})
            with self.assertRaises(KeyClash):
                command.makeArguments({"body": b"abc", "body.size": 3}, None)

    def test_inListOf(self):
        """
        A list of streams is refused with words that say what to do.
        """
        listed = amp.ListOf(Stream())
        for refused in (listed.toString, lambda value: listed.fromString(b"\0\x01x")):
            with self.assertRaises(DeclarationError):
                refused([b"abc"])

    def test_inAmpList(self):
        """
        So is a stream in a list of boxes, when the first is sent.
        """
        listed = amp.AmpList([(b"body", Stream())])
        command = type("Listed", (amp.Command,), {"arguments": [(b"all", listed)]})
        pair = connectInMemory(StreamAMP(), Server())
        self.failureResultOf(
            pair.client.callRemote(command, all=[{"body": b"abc"}]), DeclarationError
        )
        pair.lose()

    def test_noConnection(self):
        """
        A stream that arrives where there are no streams is an error that says so.
        """
        box = amp.AmpBox({b"_answer": b"1", b"name": b"x", b"body": b"1"})
        with self.assertRaises(NotStreaming):
            Store.parseArguments(box, amp.AMP())

    def test_stockSender(self):
        """
        A box that announces a stream cannot be written by a stock protocol.
        """
        box = Store.makeArguments({"name": "x", "body": b"abc"}, None)
        with self.assertRaises(DeclarationError):
            box.serialize()

    def test_numberUsedTwice(self):
        """
        A number that is announced a second time is refused, and the first stream
        goes on.
        """
        pair = connectInMemory(amp.AMP(), Server())
        results = []
        for _ in range(2):
            pair.client.callRemoteString(b"Store", name=b"x", body=b"7").addBoth(
                results.append
            )
        pair.flush()
        self.assertEqual(results[0].value.errorCode, StreamReused.wireCode)
        pair.client.callRemoteString(
            b"StreamData", id=b"7", offset=b"0", data=b"abc", fin=b"True"
        ).addBoth(lambda _: None)
        pair.flush()
        self.assertEqual(results[1], {b"_answer": b"1", b"size": b"3"})
        ping = pair.client.callRemote(Ping)
        pair.flush()
        self.successResultOf(ping)
        pair.lose()

    def test_sizeIsHeldTo(self):
        """
        A stream whose bytes are not as many as it was announced with fails.
        """
        for data in (b"ab", b"abcd"):
            pair = connectInMemory(amp.AMP(), Server())
            results = []
            pair.client.callRemoteString(
                b"Store", name=b"x", body=b"7", **{"body.size": b"3"}
            ).addErrback(results.append)
            pair.client.callRemoteString(
                b"StreamData", id=b"7", offset=b"0", data=data, fin=b"True"
            ).addErrback(results.append)
            pair.flush()
            self.assertEqual(
                [failure.value.errorCode for failure in results],
                [b"STREAM_FINAL_SIZE"] * 2,
            )
            pair.lose()

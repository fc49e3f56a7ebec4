# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests of large boxes that race with other events of the connection."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from amp_stream import Limits, Stream, StreamAMP, StreamConfig
from amp_stream.errors import OversizeValue, UsageError
from amp_stream.testing import connectInMemory
from tests.codes import classOf
from tests.commands import collect
from tests.test_boxtransport import (
    Echo,
    Forget,
    Other,
    Ours,
    Stock,
    Switch,
    Values,
    outcome,
)


class OtherDispatcherTests(SynchronousTestCase):
    """Large calls of another dispatcher than the protocol."""

    def check(self, server, expected):
        dispatcher = amp.BoxDispatcher(Values())
        pair = connectInMemory(StreamAMP(boxReceiver=dispatcher), server)
        result = outcome(dispatcher.callRemote(Echo, value=bytes(140_000)))
        pair.flush()
        failure = self.failureResultOf(result, amp.UnknownRemoteError)
        self.assertIn(expected, failure.getErrorMessage())
        self.assertEqual(dispatcher._outstandingRequests, {})
        pair.lose()

    def test_oversize(self):
        """A large call of another dispatcher fails if the peer is stock AMP."""
        self.check(Stock(), "Stream()")

    def test_tooLong(self):
        """
        A large call of another dispatcher fails if it is over the peer's
        C{maxBoxSize}.
        """
        self.check(
            Ours(config=StreamConfig(limits=Limits(maxBoxSize=131_072))), "maxBoxSize"
        )


class TLSBufferTests(SynchronousTestCase):
    """Boxes that wait while TLS starts."""

    def test_oneCannotBeSent(self):
        """
        A large box that waits for TLS and cannot be sent fails its call, and the boxes
        behind it are sent.
        """
        pair = connectInMemory(StreamAMP(), Stock())
        pair.flush()
        client = pair.client
        client._prepareTLS(None, None)
        large = outcome(client.callRemote(Echo, value=bytes(100_000)))
        small = outcome(client.callRemote(Echo, value=b"1"))

        class Certificate:
            def options(self, *authorities):
                return None

        # What matters is the order of the boxes, not the encryption.
        client.transport.startTLS = lambda *arguments: None
        client._startTLS(Certificate(), None)
        self.failureResultOf(large, OversizeValue)
        pair.flush()
        self.assertEqual(self.successResultOf(small), {"value": b"1"})
        pair.lose()


class SwitchRaceTests(SynchronousTestCase):
    """Protocol switches that race with other events."""

    def test_waitingBox(self):
        """A protocol switch is refused while a large box waits for the negotiation."""
        pair = connectInMemory(Ours(), Ours())
        large = outcome(pair.client.callRemote(Echo, value=bytes(100_000)))
        self.failureResultOf(pair.client.callRemote(Switch, Other()), UsageError)
        pair.flush()
        self.assertEqual(len(self.successResultOf(large)["value"]), 100_000)
        pair.lose()

    def test_refusedSwitchLosesNothing(self):
        """Frames that wait for a protocol switch are sent when it is refused."""
        waiting = []

        class Undecided(Ours):
            @Switch.responder
            def switch(self):
                waiting.append(Deferred())
                return waiting[0]

        pair = connectInMemory(Ours(), Undecided())
        pair.flush()
        switch = outcome(pair.client.callRemote(Switch, Other()))
        pair.flush()
        small = pair.server.streams.send(b"y" * 1000)
        long = pair.server.streams.send(bytes(3_000_000))
        values = [collect(pair.client, stream.id) for stream in (small, long)]
        pair.flush()
        self.assertNoResult(small.done)
        waiting[0].callback(Protocol())
        pair.flush()
        self.failureResultOf(switch, UsageError, amp.UnknownRemoteError)
        self.assertEqual(self.successResultOf(small.done), 1000)
        self.assertEqual(self.successResultOf(long.done), 3_000_000)
        self.assertEqual(
            [len(self.successResultOf(value)) for value in values], [1000, 3_000_000]
        )
        pair.lose()


class VersionRaceTests(SynchronousTestCase):
    """Changes of the version that race with other events."""

    def test_copiedBox(self):
        """
        The two ends agree on the version although a subclass sends copies of
        the boxes.
        """

        class Copying(Ours):
            def sendBox(self, box):
                super().sendBox(amp.AmpBox(box))

        pair = connectInMemory(Copying(), Ours())
        pair.flush()
        self.assertEqual(pair.client.streams.writeVersion, 2)
        self.assertEqual(pair.server.streams._boxes.parser.version, 2)
        result = outcome(pair.client.callRemote(Echo, value=bytes(65_535)))
        pair.flush()
        self.assertEqual(len(self.successResultOf(result)["value"]), 65_535)
        pair.lose()


class CancelRaceTests(SynchronousTestCase):
    """Calls that are cancelled before the negotiation ends."""

    def test_cancelledByAnother(self):
        """A call that is cancelled because another fails is not sent."""
        pair = connectInMemory(
            Ours(), Ours(config=StreamConfig(limits=Limits(maxBoxSize=131_072)))
        )
        first = pair.client.callRemote(Echo, value=bytes(140_000))
        second = pair.client.callRemote(Echo, value=bytes(70_000))
        cancelled = outcome(second)
        failures = []

        def failed(failure):
            failures.append(failure)
            second.cancel()

        first.addErrback(failed)
        pair.flush()
        failures[0].trap(classOf(b"AMP_BOX_TOO_LONG"))
        self.failureResultOf(cancelled, CancelledError)
        self.assertEqual(pair.client._outstandingRequests, {})
        pair.lose()

    def test_leavesNothing(self):
        """A cancelled call that was never sent leaves nothing behind."""
        pair = connectInMemory(StreamAMP(), Stock())
        for _ in range(5):
            call = pair.client.callRemote(Echo, value=bytes(100_000))
            call.addErrback(lambda failure: failure.trap(CancelledError))
            call.cancel()
        self.assertEqual(pair.client._outstandingRequests, {})
        pair.lose()

    def test_lostWithoutAnswer(self):
        """A large call without an answer that cannot be sent is dropped."""
        pair = connectInMemory(
            Ours(), Ours(config=StreamConfig(limits=Limits(maxBoxSize=131_072)))
        )
        self.assertIsNone(pair.client.callRemote(Forget, value=bytes(140_000)))
        pair.flush()
        self.assertEqual(pair.server.forgotten, [])
        pair.lose()


class Both(amp.Command):
    """A large value and a stream."""

    arguments = [(b"value", amp.String()), (b"body", Stream())]
    response = [(b"size", amp.Integer())]


class Cancelled(Ours):
    """Answers that command."""

    @Both.responder
    def both(self, value, body):
        return body.collect().addCallback(lambda data: {"size": len(value + data)})


class CancelTests(SynchronousTestCase):
    """A large call that is cancelled at any moment."""

    def cancelAfter(self, steps, command, **arguments):
        """
        Make a large call, cancel it after some steps, and let the rest happen.

        @return: Whether the call was still in progress.
        """
        pair = connectInMemory(Ours(), Cancelled())
        pair.flush()
        results = []
        call = pair.client.callRemote(command, **arguments)
        call.addBoth(results.append)
        for _ in range(steps):
            pair.step()
        wasRunning = not results
        call.cancel()
        pair.flush()
        small = pair.client.callRemote(Echo, value=b"alive")
        pair.flush()
        self.assertEqual(self.successResultOf(small), {"value": b"alive"})
        for end in (pair.client, pair.server):
            self.assertFalse(end.streams._multiplexer.isBusy, steps)
            self.assertEqual(end.streams._boxes.sending, {})
            self.assertIsNone(end._failAllReason)
        self.assertEqual(pair.client._outstandingRequests, {})
        pair.lose()
        self.assertEqual(pair.clock.getDelayedCalls(), [])
        return wasRunning

    def test_anyMoment(self):
        """
        A large call that is cancelled, at whatever step of its way, takes nothing with
        it: the connection and its other calls live on.
        """
        steps = 0
        while self.cancelAfter(steps, Echo, value=bytes(300_000)):
            steps += 1
        self.assertGreater(steps, 4)

    def test_withStream(self):
        """
        The stream of a large call that is cancelled, at whatever step of its way, ends
        at both ends.
        """
        steps = 0
        body = bytes(100_000)
        while self.cancelAfter(steps, Both, value=bytes(300_000), body=body):
            steps += 1
        self.assertGreater(steps, 4)

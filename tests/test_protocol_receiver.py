# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests for L{amp_stream._protocol}: streams from a peer that makes plain AMP calls."""

from __future__ import annotations

import warnings
from hashlib import sha256

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.protocols import amp
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from amp_stream import Chunk, Limits, StreamAMP, StreamConfig, StreamReceiver
from amp_stream.errors import (
    DigestMismatch,
    StreamAborted,
    StreamCancelled,
    StreamTimedOut,
    UsageError,
)
from amp_stream.testing import connectInMemory
from tests import commands
from tests.codes import classOf
from tests.commands import (
    Piece,
    PlainServer,
    Responders,
    StopSending,
    Store,
    StreamData,
    collect,
)


class ReceiverTests(SynchronousTestCase):
    """A stock C{amp.AMP} that sends, and a stock C{amp.AMP} with the mix-in."""

    def setUp(self):
        self.pair = connectInMemory(amp.AMP(), PlainServer())
        self.client, self.server = self.pair.client, self.pair.server

    def tearDown(self):
        self.assertFalse(self.client.transport.disconnecting)
        self.assertFalse(self.server.transport.disconnecting)
        self.pair.lose()
        self.assertEqual(self.pair.clock.getDelayedCalls(), [])

    def send(self, *args, command=StreamData, argument="data", **kw):
        """
        Send a chunk.

        @return: A list that gets the response or the failure.
        """
        results = []
        chunk = Chunk(*args, **kw)
        self.client.callRemote(command, **{argument: chunk}).addBoth(results.append)
        self.pair.flush()
        return results

    def test_waitingForEachAnswer(self):
        """
        A stock sender that awaits the answer to each chunk can send a value
        of any size.
        """
        value = bytes(range(256)) * 20_000
        result = self.server.collect(5)
        for offset in range(0, len(value), 65_535):
            piece = value[offset : offset + 65_535]
            fin = offset + len(piece) == len(value)
            (answer,) = self.send(5, offset, piece, fin)
            self.assertGreaterEqual(answer["maximum"], offset + len(piece))
        self.assertEqual(self.successResultOf(result), value)

    def test_answerWaitsForRoom(self):
        """
        While the bytes are not taken, the chunk that fills the window is not answered;
        taking them releases the answer.
        """
        answers = []
        for number in range(16):
            answers.append(self.send(1, number * 65_535, bytes(65_535)))
        held = [number for number, answer in enumerate(answers) if not answer]
        self.assertEqual(held, [15])
        stream = self.server.streams.accept(1)
        taken = stream.collect()
        self.pair.flush()
        self.assertEqual(answers[15][0]["maximum"], 65_535 + Limits().initialWindow)
        self.send(1, 16 * 65_535, b"", True)
        self.assertEqual(len(self.successResultOf(taken)), 16 * 65_535)

    def test_anyOrder(self):
        """Chunks may arrive in any order, those of several streams mixed."""
        first, second = self.server.collect(1), self.server.collect(2)
        for chunk in (
            (1, 3, b"def", True),
            (2, 0, b"", True),
            (1, 0, b"ab"),
            (1, 2, b"c"),
        ):
            self.send(*chunk)
        self.assertEqual(self.successResultOf(first), b"abcdef")
        self.assertEqual(self.successResultOf(second), b"")

    def test_collectAfterwards(self):
        """A stream can be collected after its last chunk."""
        self.send(1, 0, b"abc", True)
        self.assertEqual(self.successResultOf(self.server.collect(1)), b"abc")

    def test_collectTwice(self):
        """A stream can be collected once."""
        first = self.server.collect(1)
        self.failureResultOf(self.server.collect(1), classOf(b"STREAM_REUSED"))
        self.send(1, 0, b"abc", True)
        self.successResultOf(first)
        self.failureResultOf(self.server.collect(1), classOf(b"STREAM_REUSED"))

    def test_collectTooMuch(self):
        """
        The sender of a value over the receiver's C{maxSize} gets that error, and the
        connection lives.
        """
        result = self.server.collect(1, maxSize=4)
        (failure,) = self.send(1, 0, b"abcde", True)
        failure.trap(classOf(b"STREAM_TOO_LONG"))
        self.failureResultOf(result, classOf(b"STREAM_TOO_LONG"))
        self.send(2, 0, b"abc", True)
        self.assertEqual(self.successResultOf(self.server.collect(2)), b"abc")

    def test_ownCommand(self):
        """
        An application's own command, with further arguments, may carry
        the chunks.
        """
        result = self.server.collect(1)
        self.assertEqual(
            self.send(1, 0, b"abc", True, command=Piece, argument="piece"), [{}]
        )
        self.assertEqual(self.successResultOf(result), b"abc")

    def test_ownCommandFails(self):
        """
        An invalid chunk in an application's own command is answered with an error
        although the command declares none, and the connection lives.
        """
        self.send(1, 0, b"abc", command=Piece, argument="piece")
        (failure,) = self.send(1, 1, b"x", command=Piece, argument="piece")
        failure.trap(amp.UnknownRemoteError)
        self.assertIn("differs", failure.getErrorMessage())
        self.failureResultOf(self.server.collect(1))

    def test_digest(self):
        """The last chunk may carry a digest without notice."""
        value = bytes(200_000)
        good, bad = self.server.collect(1), self.server.collect(2)
        for id, digest in ((1, sha256(value)), (2, sha256(b"other"))):
            offset = 0
            while offset < len(value):
                piece = value[offset : offset + 65_535]
                fin = offset + len(piece) == len(value)
                sha = digest.digest() if fin else None
                (answer,) = self.send(id, offset, piece, fin, sha)
                offset += len(piece)
        self.assertEqual(self.successResultOf(good), value)
        self.failureResultOf(bad, DigestMismatch)
        answer.trap(DigestMismatch)

    def test_resetBySender(self):
        """A stream that its sender resets is never taken for the whole value."""
        result = self.server.collect(1)
        self.send(1, 0, b"abc")
        self.client.callRemote(
            commands.ResetStream, id=1, code=b"STREAM_CANCELLED", final_size=3
        )
        self.pair.flush()
        self.failureResultOf(result, StreamCancelled)

    def test_abortTellsSender(self):
        """
        C{abort} sends C{StopSending}, which the peer need not know, and fails the
        answer to the next chunk.
        """
        stream = self.server.streams.accept(1)
        self.send(1, 0, b"abc")
        stream.abort(b"ENOUGH")
        self.assertEqual(
            [box[b"_command"] for box in self.pair.sent(self.server)],
            [b"stream.StopSending"],
        )
        self.pair.flush()
        (failure,) = self.send(1, 3, b"def")
        failure.trap(amp.UnknownRemoteError)

    def test_unclaimed(self):
        """
        Unclaimed bytes are bounded over all streams, and the answer to a
        chunk says so.
        """
        limits = Limits(maxUnacceptedBytes=100_000)
        self.server.streamConfig = StreamConfig(limits=limits)
        self.server._boxReader = None
        self.send(1, 0, bytes(60_000))
        (failure,) = self.send(2, 0, bytes(60_000))
        failure.trap(classOf(b"STREAM_UNACCEPTED"))
        self.send(1, 60_000, b"", True)
        self.assertEqual(len(self.successResultOf(self.server.collect(1))), 60_000)

    def test_lostConnection(self):
        """
        A lost connection fails incomplete streams with its reason; complete ones can
        still be read.
        """
        pair = connectInMemory(amp.AMP(), PlainServer())
        result = pair.server.collect(1)
        stream = pair.server.streams.accept(2)
        pair.client.callRemote(StreamData, data=Chunk(2, 0, b"ab", True))
        pair.flush()
        pair.lose()
        self.failureResultOf(result, ConnectionDone)
        self.assertEqual(self.successResultOf(stream.collect()), b"ab")

    def test_announcedByCommand(self):
        """
        A command with a stream works with the mix-in, and a stream that it refuses
        is stopped.
        """
        self.server.take = lambda name, body: {"size": 0}
        results = []
        self.client.callRemoteString(
            b"Store", name=b"x", body=b"9", **{"body.size": b"3"}
        ).addBoth(results.append)
        self.pair.flush()
        self.assertEqual(results[0][b"size"], b"0")
        (failure,) = self.send(9, 0, b"abc", True)
        self.assertIsInstance(failure.value, StreamAborted)

    def test_announcedTooLate(self):
        """A waiting chunk is answered when the announcement refuses its stream."""
        answers = [self.send(1, number * 65_535, bytes(65_535)) for number in range(16)]
        self.assertEqual(answers[15], [])
        with self.assertRaises(classOf(b"STREAM_TOO_LONG")):
            self.server.streams.accept(1, maxSize=100)
        self.pair.flush()
        answers[15][0].trap(classOf(b"STREAM_TOO_LONG"))

    def test_announcedByFailingCommand(self):
        """A call that fails stops the stream that it announced."""

        def take(name, body):
            raise ValueError("no")

        self.server.take = take
        results = []
        self.client.callRemoteString(b"Store", name=b"x", body=b"9").addErrback(
            results.append
        )
        self.pair.flush()
        self.assertEqual(results[0].value.errorCode, b"VALUE")
        self.failureResultOf(self.server.collect(9), StreamAborted)

    def test_malformedAnnouncement(self):
        """A malformed announcement is answered with an error."""
        for body in (b"x", b"-1", b"9" * 40):
            results = []
            self.client.callRemoteString(b"Store", name=b"x", body=body).addErrback(
                results.append
            )
            self.pair.flush()
            self.assertEqual(results[0].value.errorCode, b"STREAM_INVALID_CHUNK")


class LocateTests(SynchronousTestCase):
    """L{StreamReceiver.locateResponder}."""

    def test_kept(self):
        """The receiver keeps the responders that it has found."""
        receiver = StreamReceiver()
        kept = receiver.locateResponder(b"stream.Data")
        self.assertEqual(receiver.locateResponder(b"stream.Data"), kept)
        self.assertIsNone(receiver.locateResponder(b"Pong"))
        self.assertIsNone(receiver.locateResponder(b"Pong"))

    def test_others(self):
        """
        A responder of another class is looked up for each call, as it may change with
        the login.
        """
        found = [1, 2, None]

        class Login(amp.CommandLocator):
            def locateResponder(self, name):
                return found.pop(0)

        class Old(amp.CommandLocator):
            def lookupFunction(self, name):
                return found.pop(0)

        for other in (Login, Old):
            found[:] = [1, 2, None]

            class Receiver(StreamReceiver, other):
                pass

            receiver = Receiver()
            for expected in (1, 2, None):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", PendingDeprecationWarning)
                    located = receiver.locateResponder(b"Ping")
                self.assertIs(located, expected)

    def test_adopted(self):
        """A receiver that moves to another connection looks its responders up again."""
        receiver = StreamReceiver()
        before = receiver.locateResponder(b"stream.Data")
        receiver.streams.connectionLost(Failure(ConnectionDone()))
        protocol = StreamAMP(locator=receiver)
        connectInMemory(protocol, StreamAMP())
        self.assertNotEqual(receiver.locateResponder(b"stream.Data"), before)


class WindowedTests(SynchronousTestCase):
    """A L{StreamAMP} that sends to a stock C{amp.AMP} with the mix-in."""

    def test_windowed(self):
        """The mix-in grants credit to a L{StreamAMP} by calls of its protocol."""
        pair = connectInMemory(StreamAMP(), PlainServer())
        result = pair.client.callRemote(Store, name="x", body=bytes(5_000_000))
        pair.flush()
        self.assertEqual(self.successResultOf(result), {"size": 5_000_000})
        pair.lose()

    def test_stop(self):
        """The mix-in stops the sender of a stream that was aborted."""
        pair = connectInMemory(StreamAMP(), PlainServer())
        stream = pair.client.streams.send(bytes(5_000_000))
        taken = pair.server.streams.accept(stream.id)
        for _ in range(4):
            pair.step()
        taken.abort(StreamCancelled.code)
        pair.flush()
        self.failureResultOf(stream.done, StreamCancelled)
        pair.lose()


class BasesTests(SynchronousTestCase):
    """The mix-in's place among the bases."""

    def test_listedLast(self):
        """
        The mix-in works behind C{amp.AMP} among the bases, and hears of the end of the
        connection.
        """
        lost = []

        class Last(amp.AMP, StreamReceiver):
            pass

        class Overridden(amp.AMP, StreamReceiver):
            def stopReceivingBoxes(self, reason):
                lost.append(reason)
                super().stopReceivingBoxes(reason)

        for cls in (Last, Overridden):
            pair = connectInMemory(amp.AMP(), cls())
            result = pair.server.collect(1)
            pair.client.callRemote(StreamData, data=Chunk(1, 0, b"abc"))
            pair.flush()
            pair.lose()
            self.failureResultOf(result, ConnectionDone)
        self.assertEqual(len(lost), 1)


class SeparateLocatorTests(SynchronousTestCase):
    """A receiver that is the locator of a stock protocol, not a base of it."""

    class Locator(StreamReceiver, Responders):
        def __init__(self, clock):
            self.streamConfig = StreamConfig(reactor=clock)
            Responders.__init__(self)

    def setUp(self):
        self.clock = Clock()
        self.locator = self.Locator(self.clock)
        self.pair = connectInMemory(
            amp.AMP(), amp.AMP(locator=self.locator), self.clock
        )

    def test_takesChunks(self):
        """A separate locator takes chunks whose sender waits for answers."""
        result = self.locator.collect(1)
        self.pair.client.callRemote(StreamData, data=Chunk(1, 0, b"abc", True))
        self.pair.flush()
        self.assertEqual(self.successResultOf(result), b"abc")
        # Nobody can be told, and nothing breaks.
        self.locator.streams.accept(2).abort()

    def test_attached(self):
        """
        A locator that was attached to its protocol can send frames and
        measures timeouts.
        """
        self.locator.streams.attach(self.pair.server)
        self.locator.streams.accept(2).abort()
        (box,) = self.pair.sent(self.pair.server)
        self.assertEqual(box[b"_command"], b"stream.StopSending")
        result = self.locator.collect(3)
        for _ in range(6):
            self.clock.advance(75)
        self.failureResultOf(result, StreamTimedOut)
        result = self.locator.collect(4)
        self.locator.streams.connectionLost(Failure(ConnectionDone()))
        self.failureResultOf(result, ConnectionDone)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_switchedProtocol(self):
        """
        A locator's abort after a protocol switch or a lost connection has
        no effect.
        """
        self.locator.streams.attach(self.pair.server)
        self.pair.server._lockForSwitch()
        self.locator.streams.accept(2).abort()
        self.pair.server._unlockFromSwitch()
        self.pair.lose()
        self.locator.streams.accept(3).abort()


class StreamLocatorTests(SynchronousTestCase):
    """Locators of a L{StreamAMP}."""

    def test_plainLocator(self):
        """
        A locator without stream support serves commands with streams in requests and
        responses.
        """
        from tests.commands import Fetch

        locator = Responders()
        pair = connectInMemory(StreamAMP(), StreamAMP(locator=locator))
        result = pair.client.callRemote(Store, name="x", body=bytes(500_000))
        pair.flush()
        self.assertEqual(self.successResultOf(result), {"size": 500_000})
        values = []
        pair.client.callRemote(Fetch, name="x").addCallback(
            lambda response: response["body"].collect()
        ).addCallback(values.append)
        pair.flush()
        self.assertEqual(values, [bytes(500_000)])
        pair.lose()

    def test_receiver(self):
        """
        A locator that takes streams gets those of its L{StreamAMP}, one connection
        at a time.
        """
        locator = SeparateLocatorTests.Locator(Clock())
        pair = connectInMemory(StreamAMP(), StreamAMP(locator=locator))
        stream = pair.client.streams.send(b"abc")
        result = locator.collect(stream.id)
        pair.flush()
        self.assertEqual(self.successResultOf(result), b"abc")
        with self.assertRaises(UsageError):
            connectInMemory(StreamAMP(), StreamAMP(locator=locator))
        pair.lose()
        again = connectInMemory(StreamAMP(), StreamAMP(locator=locator))
        again.lose()

    def test_boxReceiver(self):
        """Another box receiver gets every box but those of the stream layer."""

        class Recorder:
            def __init__(self):
                self.boxes = []

            def startReceivingBoxes(self, sender):
                self.sender = sender

            def ampBoxReceived(self, box):
                self.boxes.append(box)

            def stopReceivingBoxes(self, reason):
                self.reason = reason

        recorder = Recorder()
        pair = connectInMemory(StreamAMP(), StreamAMP(boxReceiver=recorder))
        stream = pair.client.streams.send(bytes(500_000))
        result = collect(pair.server, stream.id)
        pair.client.callRemoteString(b"hello", requiresAnswer=False)
        pair.flush()
        self.assertEqual(len(self.successResultOf(result)), 500_000)
        self.assertEqual(self.successResultOf(stream.done), 500_000)
        self.assertEqual(recorder.boxes, [{b"_command": b"hello"}])
        lost = collect(pair.server, 8)
        pair.lose()
        self.failureResultOf(lost, ConnectionDone)

    def test_otherDispatcher(self):
        """
        A L{StreamAMP} whose box receiver is another dispatcher serves calls and
        their streams.
        """
        dispatcher = amp.BoxDispatcher(Responders())
        pair = connectInMemory(StreamAMP(), StreamAMP(boxReceiver=dispatcher))
        result = pair.client.callRemote(Store, name="x", body=bytes(300_000))
        pair.flush()
        self.assertEqual(self.successResultOf(result), {"size": 300_000})
        pair.lose()


class StopSendingTests(SynchronousTestCase):
    """The answer of a sender to C{StopSending}."""

    def test_resets(self):
        """
        C{StopSending} is answered with C{ResetStream}, which has its code and the
        final size.
        """
        pair = connectInMemory(
            StreamAMP(config=StreamConfig(version=1)),
            StreamAMP(config=StreamConfig(version=1)),
        )
        stream = pair.server.streams.send(bytes(1000))
        stream.done.addErrback(lambda _: None)
        pair._pump.serverIO.stream = []
        pair.client.callRemote(StopSending, id=stream.id, code=b"ENOUGH")
        pair._pump.pump()
        (box,) = pair.sent(pair.server)
        self.assertEqual(
            box,
            {
                b"_command": b"stream.Reset",
                b"id": b"0",
                b"code": b"ENOUGH",
                b"final_size": b"1000",
            },
        )
        pair.lose()

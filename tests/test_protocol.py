# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests for L{amp_stream._protocol}: streams in calls, between two L{StreamAMP}s."""

from __future__ import annotations

import io
from hashlib import sha256

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.protocols import amp
from twisted.python.filepath import FilePath
from twisted.trial.unittest import SynchronousTestCase

from amp_stream import Limits, StreamAMP, StreamConfig
from amp_stream._sansio.pacer import LONGEST
from amp_stream.errors import (
    CallFailed,
    DigestMismatch,
    OversizeValue,
    SourceFailed,
    StreamAborted,
    StreamCancelled,
    StreamRefused,
    StreamsUnsupported,
    StreamTimedOut,
    UsageError,
)
from amp_stream.testing import connectInMemory
from tests.codes import classOf
from tests.commands import (
    Fetch,
    Ping,
    Quiet,
    Responders,
    Server,
    Store,
    StoreChecked,
    StoreMaybe,
    Swap,
    collect,
    held,
)

SIZES = (0, 1, 65_534, 65_535, 65_536, 131_070, 131_071, 262_144, 3_000_000)


def pattern(size: int) -> bytes:
    """Make bytes of which no two stretches are alike."""
    block = b"".join(number.to_bytes(4, "big") for number in range(size // 4 + 1))
    return block[:size]


class Source:
    """An iterable that records whether it was read to its end, or closed."""

    def __init__(self, pieces):
        self.pieces = iter(pieces)
        self.closed = False

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.pieces)

    def close(self):
        self.closed = True


def endless():
    while True:
        yield bytes(65_535)


def kept(protocol, *args, **kw):
    """
    Make a call and keep its answer, as AMP closes the connection after an
    unhandled error.
    """
    answer = Deferred()
    protocol.callRemote(*args, **kw).addCallbacks(answer.callback, answer.errback)
    return answer


class StreamTests(SynchronousTestCase):
    """Tests with a client and a server, connected in memory."""

    version: str | int = 1
    clientLimits = serverLimits = Limits()
    clientTimeout = serverTimeout = 300

    def setUp(self):
        self.pair = connectInMemory(
            StreamAMP(
                config=StreamConfig(
                    limits=self.clientLimits,
                    version=self.version,
                    streamTimeout=self.clientTimeout,
                )
            ),
            Server(
                config=StreamConfig(
                    limits=self.serverLimits,
                    version=self.version,
                    streamTimeout=self.serverTimeout,
                )
            ),
        )
        self.client, self.server = self.pair.client, self.pair.server

    def tearDown(self):
        self.pair.lose()
        self.assertEqual(self.pair.clock.getDelayedCalls(), [])

    def call(self, *args, **kw):
        return kept(self.client, *args, **kw)

    def assertAlive(self):
        """Check that an ordinary call still works."""
        answer = self.client.callRemote(Ping, number=7)
        self.pair.flush(lambda: answer.called)
        self.assertEqual(self.successResultOf(answer), {"number": 7})

    def assertNothingLeft(self):
        """Check that neither side keeps a stream."""
        for protocol in (self.client, self.server):
            link = protocol.streams._multiplexer
            self.assertEqual(link._receiveStreams.streams, {})
            self.assertEqual(link._incoming, {})
            self.assertEqual(link._sendStreams.streams, {})
            self.assertEqual(link._outgoing, {})


class CallTests(StreamTests):
    """Values in requests and responses."""

    def test_requestSizes(self):
        """A value of any size in a request arrives unchanged."""
        for size in SIZES:
            value = pattern(size)
            result = self.client.callRemote(Store, name="x", body=value)
            self.pair.flush()
            self.assertEqual(self.successResultOf(result), {"size": size})
            self.assertEqual(self.server.stored["x"], value)
        self.assertNothingLeft()

    def test_responseSizes(self):
        """A value of any size in a response arrives unchanged."""
        for size in SIZES:
            self.server.stored["x"] = pattern(size)
            result = self.client.callRemote(Fetch, name="x")
            result.addCallback(lambda response: response["body"].collect())
            self.pair.flush()
            self.assertEqual(self.successResultOf(result), pattern(size))
        self.assertNothingLeft()

    def test_severalStreamsEachWay(self):
        """
        The streams of one call are kept apart, and an incoming stream can be sent back
        as it arrives.
        """
        left, right = pattern(700_000), bytes(900_000)
        result = self.client.callRemote(Swap, left=left, right=right)
        self.pair.flush(lambda: result.called)
        response = self.successResultOf(result)
        values = [response["left"].collect(), response["right"].collect()]
        self.pair.flush()
        self.assertEqual([self.successResultOf(v) for v in values], [right, left])
        self.assertNothingLeft()

    def test_sizeIsAnnounced(self):
        """The receiver knows a stream's size in advance if the sender does."""
        seen = []
        self.server.take = lambda name, body: seen.append(body.size) or Deferred()
        for body in (b"abc", io.BytesIO(b"abcd"), iter([b"abcde"])):
            self.client.callRemote(Store, name="x", body=body).addErrback(lambda _: 0)
        self.pair.flush()
        self.assertEqual(seen, [3, 4, None])

    def test_announcedBeforeFirstChunk(self):
        """
        The box that announces a stream is sent before its first chunk, and has
        its number.
        """
        body = iter([b"abc"])
        self.client.callRemote(Store, name="x", body=body).addErrback(lambda _: 0)
        call, chunk = self.pair.sent(self.client)
        self.assertEqual(
            call, {b"_command": b"Store", b"_ask": b"1", b"name": b"x", b"body": b"0"}
        )
        self.assertEqual(
            chunk,
            {
                b"_command": b"stream.Data",
                b"_ask": b"s1",
                b"id": b"0",
                b"offset": b"0",
                b"data": b"abc",
                b"fin": b"True",
            },
        )

    def test_optional(self):
        """An optional stream can be left out, in a request and in a response."""
        for arguments in ({}, {"body": None}):
            result = self.client.callRemote(StoreMaybe, **arguments)
            self.pair.flush()
            self.assertEqual(self.successResultOf(result), {"body": None})

    def test_maxSizeOfArgument(self):
        """
        A stream over its argument's C{maxSize} is refused before its first byte if its
        size is known, and otherwise as soon as it exceeds it.
        """
        for body in (bytes(100_001), iter([bytes(100_000), b"x"])):
            result = self.call(StoreMaybe, body=body)
            self.pair.flush()
            self.assertIn(
                "100000", str(self.failureResultOf(result, classOf(b"STREAM_TOO_LONG")))
            )
        self.assertAlive()
        self.assertNothingLeft()

    def test_withoutAnswer(self):
        """A stream can come with a call that wants no answer."""
        self.assertIsNone(self.client.callRemote(Quiet, body=bytes(200_000)))
        self.pair.flush()
        self.assertEqual(self.server.taken["quiet"].received, 200_000)
        self.assertAlive()

    def test_withoutAnswerFails(self):
        """
        When the stream of a call that wants no answer fails, the connection
        lives.
        """
        self.client.callRemote(Quiet, body=iter([b"abc", "text"]))
        self.pair.flush()
        self.assertAlive()
        self.assertNothingLeft()

    def test_wrongSource(self):
        """
        A value that cannot be a stream fails the call with an error that says
        what to do.
        """
        failure = self.failureResultOf(
            self.client.callRemote(Store, name="x", body="text"), UsageError
        )
        self.assertIn("encode", str(failure.value))
        with self.assertRaises(UsageError):
            self.client.callRemote(Quiet, body=42)

    def test_missingFile(self):
        """A file that cannot be opened fails the call before any bytes are sent."""
        body = FilePath(self.mktemp())
        result = self.client.callRemote(Store, name="x", body=body)
        cause = self.failureResultOf(result, SourceFailed).value.__cause__
        self.assertIsInstance(cause, FileNotFoundError)
        self.assertEqual(self.pair.sent(self.client), [])

    def test_digest(self):
        """
        With C{digest=True} the first chunk announces the digest and the last carries
        it; a wrong one fails both ends.
        """
        value = pattern(3_000_000)
        result = self.call(StoreChecked, name="x", body=value)
        self.pair.flush()
        self.assertEqual(self.successResultOf(result), {"size": len(value)})

        result = self.call(StoreChecked, name="y", body=pattern(150_000))
        stream = next(iter(self.client.streams._multiplexer._outgoing.values()))
        stream._digest = sha256(b"something else")
        self.pair.flush()
        self.failureResultOf(result, DigestMismatch)
        self.assertNotIn("y", self.server.stored)
        self.assertAlive()


class LatencyTests(StreamTests):
    """The latency of small calls beside large values."""

    def test_smallCallOvertakes(self):
        """
        A call that is made while a large value is sent is answered meanwhile, behind no
        more than a chunk each way.
        """
        bulk = self.client.callRemote(Store, name="x", body=bytes(5_000_000))
        for _ in range(10):
            self.pair.step()
        ping = self.client.callRemote(Ping, number=1)
        steps = 0
        while not ping.called:
            self.pair.step()
            steps += 1
        self.assertEqual(self.successResultOf(ping), {"number": 1})
        self.assertLessEqual(steps, 3)
        self.assertNoResult(bulk)
        self.pair.flush()
        self.assertEqual(self.successResultOf(bulk), {"size": 5_000_000})

    def test_oneChunkAtATime(self):
        """
        One chunk is written each time the transport has drained, however many streams
        there are.
        """
        for name in "abcd":
            self.client.callRemote(Store, name=name, body=bytes(500_000))
        for _ in range(12):
            chunks = [
                box
                for box in self.pair.sent(self.client)
                if box[b"_command"] == b"stream.Data"
            ]
            self.assertLessEqual(len(chunks), 1)
            self.pair.step()
        self.pair.flush()
        self.assertEqual(len(self.server.stored), 4)

    def test_roundRobin(self):
        """Streams take turns: each sends one chunk before any sends two."""
        results = [
            self.client.callRemote(Store, name=name, body=bytes(65_280 * 3))
            for name in "abc"
        ]
        order = []
        while not all(result.called for result in results):
            for box in self.pair.sent(self.client):
                if box.get(b"_command") == b"stream.Data":
                    order.append(int(box[b"id"]))
            self.pair._pump.pump()
        # The first had its first turn before the others were there.
        self.assertEqual(order[:10], [0] + [0, 1, 2] * 2 + [1, 2])

    def test_pausedConsumerStopsSender(self):
        """
        A sender whose bytes are not taken stops at the window, and a small stream
        beside it does not.
        """
        _, self.server.take = held()
        source = Source(endless())
        stuck = self.client.callRemote(Store, name="x", body=source)
        self.pair.flush()
        stream = self.client.streams._multiplexer._outgoing[0]
        self.assertLessEqual(stream.sent, Limits().initialWindow)
        self.server.take = self.server.collectIt
        other = self.client.callRemote(Store, name="y", body=bytes(2_000_000))
        self.pair.flush()
        self.assertEqual(self.successResultOf(other), {"size": 2_000_000})
        self.assertFalse(source.closed)
        stuck.addErrback(lambda _: None)

    def test_smallStreamCostsNoRoundTrip(self):
        """
        A stream of up to 262,144 bytes is sent whole without waiting for the peer, and
        without a grant.
        """
        call = self.client.callRemote(Store, name="x", body=bytes(262_144))
        # Nothing that is sent arrives: the call ends with the connection.
        call.addErrback(lambda _: None)
        commands = []
        for _ in range(6):
            self.pair.clock.advance(0)
            commands.extend(self.pair.sent(self.client))
            self.pair._pump.clientIO.stream = []
            self.pair._pump.clientIO._checkProducer()
        data = [box for box in commands if box[b"_command"] == b"stream.Data"]
        self.assertEqual(sum(len(box[b"data"]) for box in data), 262_144)
        self.assertEqual(data[-1][b"fin"], b"True")

    def test_fewGrants(self):
        """Credit is granted every half window, and chunks are not answered."""
        result = self.client.callRemote(Store, name="x", body=bytes(20_000_000))
        grants = answers = 0
        while not result.called:
            for box in self.pair.sent(self.server):
                grants += box.get(b"_command") == b"stream.MaxData"
                answers += b"_answer" in box
            self.pair._pump.pump()
        self.assertLessEqual(grants, 20_000_000 // 524_288 + 2)
        # The first chunks ask whether the peer knows streams at all.
        self.assertLessEqual(answers, 8)


class TurnTests(SynchronousTestCase):
    """Turns of several chunks."""

    def test_callOfASource(self):
        """
        A call that a source makes between two chunks of a turn is sent between the two,
        short or long.
        """
        for number in (b"1", b"1" * 5000):
            pair = connectInMemory(StreamAMP(), Server())
            pair.flush()
            client = pair.client
            client.streams._multiplexer._pacer.turn = LONGEST

            def pieces(client=client, number=number):
                yield bytes(65_280)
                client.callRemoteString(b"Note", requiresAnswer=False, number=number)
                yield bytes(65_280)

            client.streams.send(pieces())
            boxes = pair.sent(client)
            if not boxes:
                pair.step()
                boxes = pair.sent(client)
            self.assertEqual(
                [box[b"_command"] for box in boxes],
                [b"stream.Data", b"Note", b"stream.Data"],
            )


class FailureTests(StreamTests):
    """Both ends of a failing stream hear of it, and other calls go on."""

    def test_sourceFails(self):
        """A source that raises fails the receiver, and the caller gets the reason."""

        def broken():
            yield bytes(100_000)
            raise OSError("disk on fire")

        result = self.call(Store, name="x", body=broken())
        self.pair.flush()
        error = self.failureResultOf(result, SourceFailed).value
        self.assertIn("disk on fire", str(error))
        self.assertIsInstance(error.__cause__, OSError)
        self.assertEqual(self.server.stored, {})
        self.assertAlive()
        self.assertNothingLeft()

    def test_responseSourceFails(self):
        """When the source of a response fails, the caller gets no truncated value."""

        def broken():
            yield bytes(100_000)
            raise OSError("disk on fire")

        self.server.stored["x"] = broken()
        results = []
        result = self.client.callRemote(Fetch, name="x")
        result.addCallback(lambda response: response["body"].collect())
        result.addErrback(results.append)
        self.pair.flush()
        results[0].trap(SourceFailed)
        self.assertAlive()
        self.assertNothingLeft()

    def test_responseCannotBeMade(self):
        """
        A response whose source cannot be opened, or is not a source, fails the call
        with that error, and the connection lives.
        """
        for body, expected in (
            (FilePath(self.mktemp()), SourceFailed),
            (42, UsageError),
        ):
            self.server.stored["x"] = body
            result = self.call(Fetch, name="x")
            self.pair.flush()
            self.failureResultOf(result, expected)
            self.assertAlive()

    def test_cancelCall(self):
        """Cancelling a call stops its stream at both ends."""
        source = Source(endless())
        result = self.client.callRemote(Store, name="x", body=source)
        for _ in range(4):
            self.pair.step()
        taken = self.server.taken["x"]
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertTrue(source.closed)
        self.pair.flush()
        self.failureResultOf(taken.collect(), StreamCancelled)
        self.assertAlive()
        self.assertNothingLeft()

    def test_cancelledCallIsAnsweredWithStream(self):
        """The streams in the answer to a cancelled call are refused."""
        source = Source(endless())
        self.server.stored["x"] = source
        result = self.client.callRemote(Fetch, name="x")
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.pair.flush()
        self.assertTrue(source.closed)
        self.assertAlive()
        self.assertNothingLeft()

    def test_cancelledCallFails(self):
        """An error that answers a cancelled call is ignored."""
        result = self.client.callRemote(Fetch, name="not there")
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.pair.flush()
        self.assertAlive()

    def test_callFails(self):
        """
        A call that fails stops its streams: the caller stops sending, and the
        responder's side stops receiving.
        """
        source = Source(endless())

        def take(name, body):
            self.server.taken[name] = body
            raise ValueError("not today")

        self.server.take = take
        result = self.call(Store, name="x", body=source)
        self.pair.flush()
        self.failureResultOf(result, ValueError)
        self.assertTrue(source.closed)
        self.failureResultOf(self.server.taken["x"].collect(), CallFailed)
        self.assertAlive()
        self.assertNothingLeft()

    def test_refused(self):
        """A stream that its responder does not touch before it answers is refused."""
        source = Source(endless())
        self.server.take = lambda name, body: {"size": 0}
        result = self.client.callRemote(Store, name="x", body=source)
        stream = self.client.streams._multiplexer._outgoing[0]
        self.pair.flush()
        self.assertEqual(self.successResultOf(result), {"size": 0})
        self.assertIsInstance(stream.failure.value, StreamRefused)
        self.assertTrue(source.closed)
        self.assertAlive()
        self.assertNothingLeft()

    def test_answeredWhileTaking(self):
        """A responder may answer while it is still taking its stream."""
        taken = []

        def take(name, body):
            taken.append(body.collect())
            return {"size": 0}

        self.server.take = take
        result = self.client.callRemote(Store, name="x", body=bytes(2_000_000))
        self.pair.flush()
        self.successResultOf(result)
        self.assertEqual(self.successResultOf(taken[0]), bytes(2_000_000))

    def test_responderAborts(self):
        """
        The code of C{abort}, which may be the application's own, reaches the
        other end.
        """

        def take(name, body):
            body.abort(b"NO_SPACE_ON_MARS")
            return {"size": 0}

        self.server.take = take
        self.client.callRemote(Store, name="x", body=Source(endless()))
        stream = self.client.streams._multiplexer._outgoing[0]
        self.pair.flush()
        self.assertIsInstance(stream.failure.value, StreamAborted)
        self.assertEqual(stream.failure.value.code, b"NO_SPACE_ON_MARS")
        self.assertNothingLeft()

    def test_collectTooMuch(self):
        """
        A responder that exceeds its own C{maxSize} fails the call with that error, and
        the connection lives.
        """
        self.server.take = lambda name, body: body.collect(maxSize=10)
        result = self.call(Store, name="x", body=iter([bytes(11)]))
        self.pair.flush()
        self.failureResultOf(result, classOf(b"STREAM_TOO_LONG"))
        self.assertAlive()
        self.assertNothingLeft()

    def test_unserializable(self):
        """A call whose other arguments cannot be serialized leaves no stream behind."""
        with self.assertRaises(AttributeError):
            self.client.callRemote(Store, body=bytes(10), name=42)
        self.assertEqual(self.pair.sent(self.client), [])
        self.assertNothingLeft()

    def test_tooLong(self):
        """
        A call whose other arguments do not fit into a box leaves no stream behind, and
        the peer does not hear of one.
        """
        source = Source(endless())
        result = self.call(Store, name="x" * 70_000, body=source)
        self.assertIsInstance(
            self.failureResultOf(result, OversizeValue).value, amp.TooLong
        )
        self.assertTrue(source.closed)
        self.assertEqual(self.pair.sent(self.client), [])
        self.assertNothingLeft()
        self.assertAlive()


class ConnectionLostTests(SynchronousTestCase):
    """The end of the connection."""

    def test_failsEverything(self):
        """
        A lost connection fails every Deferred with its reason, at once, closes the
        sources and leaves no timer.
        """
        pair = connectInMemory(StreamAMP(), Server())
        source = Source(endless())
        call = kept(pair.client, Store, name="x", body=source)
        stream = pair.client.streams.send(endless())
        collected = collect(pair.server, 1)
        expected = collect(pair.server, 99)
        for _ in range(5):
            pair.step()
        taken = pair.server.taken["x"]
        pair.lose()
        for deferred in (call, stream.done, collected, expected, taken.collect()):
            self.failureResultOf(deferred, ConnectionDone)
        self.assertTrue(source.closed)
        self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_afterwards(self):
        """
        Calls and streams after the connection was lost fail at once with
        its reason.
        """
        pair = connectInMemory(StreamAMP(), Server())
        pair.lose()
        source = Source(endless())
        self.failureResultOf(
            pair.client.callRemote(Store, name="x", body=source), ConnectionDone
        )
        self.assertTrue(source.closed)
        stream = pair.client.streams.send(Source(endless()))
        self.failureResultOf(stream.done, ConnectionDone)
        self.failureResultOf(collect(pair.client, 3), ConnectionDone)
        self.assertRaises(ConnectionDone, pair.client.streams.accept, 3)
        stream.abort()

    def test_loseConnectionWithStreams(self):
        """C{loseConnection} does not wait for streams."""
        pair = connectInMemory(StreamAMP(), Server())
        call = kept(pair.client, Store, name="x", body=endless())
        for _ in range(3):
            pair.step()
        pair.client.transport.loseConnection()
        pair.flush()
        self.failureResultOf(call, ConnectionDone)


class LooseStreamTests(StreamTests):
    """Streams without a command."""

    def test_sendStream(self):
        """C{done} fires with the number of bytes once the peer has all of them."""
        stream = self.client.streams.send(pattern(500_000), digest=True)
        value = collect(self.server, stream.id)
        self.pair.flush()
        self.assertEqual(self.successResultOf(value), pattern(500_000))
        self.assertEqual(self.successResultOf(stream.done), 500_000)
        self.assertEqual(stream.sent, 500_000)
        self.assertNothingLeft()

    def test_collectedLater(self):
        """A stream may arrive before it is collected."""
        stream = self.client.streams.send(b"abc")
        self.pair.flush()
        self.assertEqual(self.successResultOf(stream.done), 3)
        self.assertEqual(self.successResultOf(collect(self.server, stream.id)), b"abc")

    def test_bothDirectionsHaveTheirOwnNumbers(self):
        """The two directions have streams with equal numbers at the same time."""
        there = self.client.streams.send(b"there")
        back = self.server.streams.send(b"back")
        self.assertEqual(there.id, back.id)
        self.pair.flush()
        self.assertEqual(self.successResultOf(collect(self.server, 0)), b"there")
        self.assertEqual(self.successResultOf(collect(self.client, 0)), b"back")

    def test_abort(self):
        """An aborted stream fails at both ends with its code."""
        stream = self.client.streams.send(endless())
        value = collect(self.server, stream.id)
        for _ in range(3):
            self.pair.step()
        stream.abort()
        self.failureResultOf(stream.done, StreamAborted)
        self.pair.flush()
        self.failureResultOf(value, StreamAborted)
        self.assertNothingLeft()
        stream.abort(b"AGAIN")

    def test_cancelDone(self):
        """Cancelling C{done} stops the stream at both ends."""
        stream = self.client.streams.send(endless())
        value = collect(self.server, stream.id)
        for _ in range(3):
            self.pair.step()
        stream.done.cancel()
        self.failureResultOf(stream.done, CancelledError)
        self.pair.flush()
        self.failureResultOf(value, StreamCancelled)
        self.assertNothingLeft()

    def test_cancelCollect(self):
        """Cancelling C{collect} stops the sender."""
        stream = self.client.streams.send(endless())
        value = collect(self.server, stream.id)
        for _ in range(3):
            self.pair.step()
        value.cancel()
        self.failureResultOf(value, CancelledError)
        self.pair.flush()
        self.failureResultOf(stream.done, StreamCancelled)
        self.assertNothingLeft()

    def test_beforeConnection(self):
        """A stream that is made before the connection is sent once there is one."""
        client = StreamAMP()
        stream = client.streams.send(b"early")
        pair = connectInMemory(client, Server())
        pair.flush()
        self.assertEqual(self.successResultOf(stream.done), 5)
        self.assertEqual(self.successResultOf(collect(pair.server, 0)), b"early")
        pair.lose()

    def test_statedSize(self):
        """A source with more or fewer bytes than its stated size fails."""
        for pieces in ([b"ab"], [b"abcd"]):
            stream = self.client.streams.send(iter(pieces), size=3)
            value = collect(self.server, stream.id)
            self.pair.flush()
            self.failureResultOf(stream.done, SourceFailed)
            self.failureResultOf(value, SourceFailed)
        self.assertNothingLeft()


class LimitTests(StreamTests):
    """A receiver's limits, which refuse a stream with an error of their own."""

    serverLimits = Limits(
        maxStreams=2, maxStreamSize=1_000_000, maxUnacceptedBytes=100_000
    )
    serverTimeout = 60

    def test_tooManyStreams(self):
        """A stream over C{maxStreams} is refused; those before it go on."""
        streams = [self.client.streams.send(bytes(1000)) for _ in range(3)]
        self.pair.flush()
        self.failureResultOf(streams[2].done, classOf(b"STREAM_TOO_MANY"))
        for stream in streams[:2]:
            self.assertEqual(self.successResultOf(stream.done), 1000)
            value = collect(self.server, stream.id)
            self.assertEqual(self.successResultOf(value), bytes(1000))
        again = self.client.streams.send(b"abc")
        self.pair.flush()
        self.assertEqual(self.successResultOf(again.done), 3)
        self.assertEqual(self.successResultOf(collect(self.server, again.id)), b"abc")

    def test_streamSize(self):
        """A stream over C{maxStreamSize} is refused."""
        result = self.call(Store, name="x", body=iter([bytes(1_000_001)]))
        self.pair.flush()
        self.failureResultOf(result, classOf(b"STREAM_TOO_LONG"))
        self.assertAlive()

    def test_timeOut(self):
        """A stream without progress times out at both ends."""
        source = Deferred()

        async def slow():
            yield b"abc"
            await source

        result = self.call(Store, name="x", body=slow())
        self.pair.flush()
        for _ in range(6):
            self.pair.clock.advance(15)
        self.pair.flush()
        self.failureResultOf(result, StreamTimedOut)
        self.assertAlive()
        self.assertNothingLeft()

    def test_unclaimedTimesOut(self):
        """An unclaimed stream times out."""
        stream = self.client.streams.send(b"abc")
        self.pair.flush()
        self.successResultOf(stream.done)
        for _ in range(6):
            self.pair.clock.advance(15)
        self.failureResultOf(collect(self.server, stream.id), StreamTimedOut)
        self.assertNothingLeft()


class SenderTimeOutTests(StreamTests):
    """Timeouts of a sender whose peer takes no bytes."""

    clientTimeout = 10

    def test_timeOut(self):
        """A stream that is granted no credit times out at both ends."""
        waiting, self.server.take = held()
        source = Source(endless())
        result = self.call(Store, name="x", body=source)
        stream = self.client.streams._multiplexer._outgoing[0]
        self.pair.flush()
        for _ in range(6):
            self.pair.clock.advance(2.5)
        self.assertTrue(source.closed)
        self.assertIsInstance(stream.failure.value, StreamTimedOut)
        self.pair.flush()
        waiting[0].callback({"size": 0})
        self.pair.flush()
        self.successResultOf(result)
        self.assertNothingLeft()


class Negotiated:
    """Tests of two ends that have negotiated version 2."""

    version = "auto"

    def setUp(self):
        super().setUp()
        self.pair.flush()


class NegotiatedCallTests(Negotiated, CallTests):
    """L{CallTests}, after the negotiation."""

    # A shorter chunk is written in the same way in both versions.
    clientLimits = Limits(chunk=50_000)

    def test_announcedBeforeFirstChunk(self):
        """
        After the negotiation, too, the announcement precedes the first chunk, and only
        the call and the last chunk ask for answers.
        """
        self.client.callRemote(Store, name="x", body=bytes(100_000)).addErrback(
            lambda _: 0
        )
        boxes = []
        while len(boxes) < 3:
            boxes += self.pair.sent(self.client)
            self.pair._pump.pump()
        self.assertEqual(
            [(box[b"_command"], b"_ask" in box) for box in boxes[:3]],
            [(b"Store", True), (b"stream.Data", False), (b"stream.Data", True)],
        )


class NegotiatedFailureTests(Negotiated, FailureTests):
    """L{FailureTests}, after the negotiation."""

    def test_tooLong(self):
        """
        After the negotiation, an argument too long for version 1 is sent, and its
        stream with it.
        """
        result = self.call(Store, name="x" * 70_000, body=b"abc")
        self.pair.flush()
        self.assertEqual(self.successResultOf(result), {"size": 3})


class NegotiatedLooseStreamTests(Negotiated, LooseStreamTests):
    """L{LooseStreamTests}, after the negotiation."""


class NegotiatedLimitTests(Negotiated, LimitTests):
    """L{LimitTests}, after the negotiation."""


class Version2CallTests(CallTests):
    """L{CallTests}, between ends that read and write version 2 only."""

    version = 2


class StockPeerTests(SynchronousTestCase):
    """A peer that is a stock C{amp.AMP}."""

    def test_doesNotKnowStreams(self):
        """
        A stream to a stock C{amp.AMP} fails with L{StreamsUnsupported}, and neither
        closes the connection.
        """
        pair = connectInMemory(StreamAMP(), amp.AMP())
        stream = pair.client.streams.send(endless())
        pair.flush()
        self.failureResultOf(stream.done, StreamsUnsupported)
        again = pair.client.streams.send(b"")
        pair.flush()
        self.failureResultOf(again.done, StreamsUnsupported)
        self.assertFalse(pair.client.transport.disconnecting)
        self.assertFalse(pair.server.transport.disconnecting)
        pair.lose()

    def test_ordinaryCalls(self):
        """Ordinary calls to and from a stock C{amp.AMP} work."""

        class Stock(Responders, amp.AMP):
            def __init__(self):
                Responders.__init__(self)
                amp.AMP.__init__(self)

        for client, server in ((StreamAMP(), Stock()), (amp.AMP(), Server())):
            pair = connectInMemory(client, server)
            result = client.callRemote(Ping, number=3)
            pair.flush()
            self.assertEqual(self.successResultOf(result), {"number": 3})
            pair.lose()

    def test_cannotSend(self):
        """
        A stock C{amp.AMP} that is to send a stream gets an error that names
        L{StreamAMP}.
        """
        pair = connectInMemory(amp.AMP(), Server())
        error = self.assertRaises(
            StreamsUnsupported, pair.client.callRemote, Store, name="x", body=b"abc"
        )
        self.assertIn("StreamAMP", str(error))
        pair.lose()

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests for L{amp_stream._arguments}: the declaration of a stream."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from amp_stream import Limits, Stream, StreamAMP, StreamConfig
from amp_stream.errors import StreamsUnsupported, UsageError
from amp_stream.testing import connectInMemory
from tests.codes import classOf
from tests.commands import Ping, Server, Store, StoreChecked, Swap


class StreamArgumentTests(SynchronousTestCase):
    """The declaration of a stream as an argument."""

    def test_clash(self):
        """An argument named like a stream's size key is refused, before or after it."""
        body, other = (b"body", Stream()), (b"body.size", amp.Integer())
        for order in ([other, body], [body, other]):
            command = type("Clash", (amp.Command,), {"arguments": order})
            with self.assertRaises(UsageError):
                command.makeArguments({"body": b"abc", "body.size": 3}, None)

    def test_inListOf(self):
        """A list of streams is refused with an error that says what to declare."""
        listed = amp.ListOf(Stream())
        for refused in (listed.toString, lambda value: listed.fromString(b"\0\x01x")):
            with self.assertRaises(UsageError):
                refused([b"abc"])

    def test_inAmpList(self):
        """
        A stream in a list of boxes is refused, by the sender if it is announced, by the
        receiver if its value is inline.
        """
        listed = amp.AmpList([(b"body", Stream())])
        command = type("Listed", (amp.Command,), {"arguments": [(b"all", listed)]})

        class ListServer(StreamAMP):
            @command.responder
            def all(self, all):
                raise NotImplementedError

        for value in (b"abc", bytes(100_000)):
            pair = connectInMemory(StreamAMP(), ListServer())
            call = pair.client.callRemote(command, all=[{"body": value}])
            call.addErrback(lambda failure: failure.trap(UsageError))
            pair.flush()
            self.assertIs(self.successResultOf(call), UsageError)
            pair.lose()

    def test_noConnection(self):
        """A stream that arrives at a stock protocol raises L{StreamsUnsupported}."""
        box = amp.AmpBox({b"_answer": b"1", b"name": b"x", b"body": b"1"})
        with self.assertRaises(StreamsUnsupported):
            Store.parseArguments(box, amp.AMP())

    def test_stockSender(self):
        """A stock protocol cannot write a box that announces a stream."""
        box = Store.makeArguments({"name": "x", "body": b"abc"}, None)
        with self.assertRaises(UsageError):
            box.serialize()

    def test_numberUsedTwice(self):
        """
        A stream number that is announced twice is refused, and the first
        stream goes on.
        """
        pair = connectInMemory(amp.AMP(), Server())
        results = []
        for _ in range(2):
            pair.client.callRemoteString(b"Store", name=b"x", body=b"7").addBoth(
                results.append
            )
        pair.flush()
        self.assertEqual(results[0].value.errorCode, b"STREAM_REUSED")
        pair.client.callRemoteString(
            b"stream.Data", id=b"7", offset=b"0", data=b"abc", fin=b"True"
        ).addBoth(lambda _: None)
        pair.flush()
        self.assertEqual(results[1], {b"_answer": b"1", b"size": b"3"})
        ping = pair.client.callRemote(Ping)
        pair.flush()
        self.successResultOf(ping)
        pair.lose()

    def test_sizeIsHeldTo(self):
        """A stream with more or fewer bytes than its announced size fails."""
        for data in (b"ab", b"abcd"):
            pair = connectInMemory(amp.AMP(), Server())
            results = []
            pair.client.callRemoteString(
                b"Store", name=b"x", body=b"7", **{"body.size": b"3"}
            ).addErrback(results.append)
            pair.client.callRemoteString(
                b"stream.Data", id=b"7", offset=b"0", data=data, fin=b"True"
            ).addErrback(results.append)
            pair.flush()
            self.assertEqual(
                [failure.value.errorCode for failure in results],
                [b"STREAM_FINAL_SIZE"] * 2,
            )
            pair.lose()


class InlineTests(SynchronousTestCase):
    """Values that travel inside the box that announces them."""

    def setUp(self):
        self.server = Server()
        self.pair = connectInMemory(StreamAMP(), self.server)
        self.pair.flush()
        self.addCleanup(self.pair.lose)

    def boxesOf(self, body):
        """Call with a value, and return the boxes that are written at once."""
        self.pair.client.callRemote(Store, name="x", body=body).addErrback(lambda _: 0)
        boxes = self.pair.sent(self.pair.client)
        self.pair.flush()
        self.assertEqual(self.server.stored["x"], b"".join([bytes(body)]))
        return boxes

    def test_box(self):
        """
        A bytes-like object of up to 65,279 bytes is sent in the key C{body.data} of the
        call's only box.
        """
        for size in (0, 100, 65_279):
            for kind in (bytes, bytearray, memoryview):
                (box,) = self.boxesOf(kind(bytes(size)))
                self.assertEqual(
                    box.keys(), {b"_command", b"_ask", b"name", b"body.data"}
                )
                self.assertEqual(box[b"body.data"], bytes(size))

    def test_tooLong(self):
        """A value of 65,280 bytes is announced, and sent in chunks."""
        boxes = self.boxesOf(bytes(65_280))
        self.assertIn(b"body.size", boxes[0])
        self.assertNotIn(b"body.data", boxes[0])

    def test_complete(self):
        """A responder gets an inline value as a complete stream with its size."""
        seen = []

        def take(name, body):
            seen.append((body.size, body.received))
            return self.server.collectIt(name, body)

        self.server.take = take
        self.boxesOf(b"abc")
        self.assertEqual(seen, [(3, 3)])

    def test_twoInOneBox(self):
        """
        The inline values of one box have 65,279 bytes together at most, and a further
        one is announced.
        """
        first, second = bytes(40_000), bytes(40_000)
        call = self.pair.client.callRemote(Swap, left=first, right=second)
        box = self.pair.sent(self.pair.client)[0]
        self.assertIn(b"left.data", box)
        self.assertIn(b"right.size", box)
        call.addErrback(lambda _: None)

    def test_refused(self):
        """
        An inline value is held to its declaration's C{maxSize}, and counts towards
        C{maxStreams}.
        """
        declared = {"arguments": [(b"body", Stream(maxSize=2))]}
        command = type("Short", (amp.Command,), declared)

        class ShortServer(StreamAMP):
            streamConfig = StreamConfig(limits=Limits(maxStreams=1))

            @command.responder
            def short(self, body):
                self.body = body
                return Deferred()

        pair = connectInMemory(StreamAMP(), ShortServer())
        pair.flush()
        calls = []
        for body, expected in (
            (b"abc", classOf(b"STREAM_TOO_LONG")),
            (b"ab", None),
            (b"cd", classOf(b"STREAM_TOO_MANY")),
        ):
            call = pair.client.callRemote(command, body=body)
            call.addErrback(lambda failure: failure.type)
            pair.flush()
            if expected is None:
                calls.append(call)
            else:
                self.assertIs(self.successResultOf(call), expected)
        self.assertTrue(pair.server.streams._multiplexer.isBusy)
        collected = pair.server.body.collect()
        self.assertEqual(self.successResultOf(collected), b"ab")
        self.assertFalse(pair.server.streams._multiplexer.isBusy)
        pair.lose()

    def test_abort(self):
        """An inline value that is aborted is dropped."""
        self.server.take = lambda name, body: body.abort(b"NO") or {"size": 0}
        self.pair.client.callRemote(Store, name="x", body=b"abc")
        self.pair.flush()
        self.assertFalse(self.server.streams._multiplexer.isBusy)

    def test_untaken(self):
        """
        An inline value that its responder does not take is dropped when the call has
        been answered.
        """
        self.server.take = lambda name, body: {"size": 0}
        call = self.pair.client.callRemote(Store, name="x", body=b"abc")
        self.pair.flush()
        self.assertEqual(self.successResultOf(call), {"size": 0})
        self.assertFalse(self.server.streams._multiplexer.isBusy)

    def test_afterTheConnection(self):
        """An inline value can be taken after the connection was lost."""
        held = []
        self.server.take = lambda name, body: held.append(body) or Deferred()
        call = self.pair.client.callRemote(Store, name="x", body=b"abc")
        call.addErrback(lambda _: None)
        self.pair.flush()
        self.pair.lose()
        self.assertEqual(self.successResultOf(held[0].collect()), b"abc")

    def test_digest(self):
        """
        A stream with a digest is always announced, as the digest follows
        its bytes.
        """
        self.pair.client.callRemote(StoreChecked, name="x", body=b"abc")
        self.assertIn(b"body.size", self.pair.sent(self.pair.client)[0])
        self.pair.flush()
        self.assertEqual(self.server.stored["x"], b"abc")


class StockOrderTests(SynchronousTestCase):
    """The order of boxes that stock AMP could send."""

    def test_order(self):
        """
        Calls with values of 65,535 bytes arrive in the order in which they
        were made.
        """
        command = type("Put", (amp.Command,), {"arguments": [(b"data", amp.String())]})
        received = []

        class PutServer(StreamAMP):
            @command.responder
            def put(self, data):
                received.append(data[:2])
                return {}

        pair = connectInMemory(StreamAMP(), PutServer())
        pair.flush()
        sizes = [65_535, 10, 60_000] * 20
        values = [b"%02d" % n + bytes(size - 2) for n, size in enumerate(sizes)]
        for value in values:
            pair.client.callRemote(command, data=value)
        pair.flush()
        self.assertEqual(received, [value[:2] for value in values])
        pair.lose()

    def test_loseConnection(self):
        """
        Calls without answers that stock AMP could send arrive although the connection
        is closed right after.
        """
        declared = {"arguments": [(b"%c" % n, amp.String()) for n in b"abc"]}
        command = type("Tell", (amp.Command,), {**declared, "requiresAnswer": False})
        received = []

        class TellServer(StreamAMP):
            @command.responder
            def tell(self, a, b, c):
                received.append(len(a + b + c))
                return {}

        pair = connectInMemory(StreamAMP(), TellServer())
        pair.flush()
        pair.client.callRemote(command, a=bytes(60_000), b=bytes(60_000), c=bytes(60))
        pair.client.transport.loseConnection()
        pair.flush()
        self.assertEqual(received, [120_060])

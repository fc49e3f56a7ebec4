# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""A value of any length in an ordinary argument, for every pair of protocols."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from amp_stream import Limits, StreamAMP, StreamConfig
from amp_stream.errors import FramingError, OversizeValue, StreamCancelled, UsageError
from amp_stream.testing import connectInMemory
from tests.codes import classOf
from tests.commands import Ping, Responders, Store, collect, held

SIZES = (0, 1, 65_534, 65_535, 65_536, 131_070, 131_071, 8 * 2**20)


class Echo(amp.Command):
    """A command with a value in its request and its response."""

    arguments = [(b"value", amp.String())]
    response = [(b"value", amp.String())]


class Make(amp.Command):
    """A command with a value in its response."""

    arguments = [(b"size", amp.Integer())]
    response = [(b"value", amp.String())]


class Forget(amp.Command):
    """A command with a value in its request and no answer."""

    arguments = [(b"value", amp.String())]
    requiresAnswer = False


class Values(Responders):
    """Responders for these commands."""

    def __init__(self):
        super().__init__()
        self.forgotten = []

    @Echo.responder
    def echo(self, value):
        return {"value": value}

    @Make.responder
    def make(self, size):
        return {"value": bytes(size)}

    @Forget.responder
    def forget(self, value):
        self.forgotten.append(len(value))
        return {}


class Ours(StreamAMP, Values):
    """A protocol of this package."""

    def __init__(self, **kw):
        StreamAMP.__init__(self, **kw)
        Values.__init__(self)


class Stock(amp.AMP, Values):
    """A protocol of Twisted's."""

    def __init__(self):
        amp.AMP.__init__(self)
        Values.__init__(self)


def make(kind, limits=None):
    if kind == "stock":
        return Stock()
    return Ours(config=StreamConfig(version=kind, limits=limits or Limits()))


def outcome(deferred):
    """@return: A Deferred with the same result, which AMP considers handled."""
    kept = Deferred()
    deferred.addCallbacks(kept.callback, kept.errback)
    return kept


KINDS = ("stock", 1, 2, "auto")

PAIRS = [(client, server) for client in KINDS for server in KINDS]

LARGE_WORK = {("auto", "auto"), (2, 2)}
"""
The pairs that can carry everything; the others carry up to 65,535 bytes.
"""


def sizesFor(client, server):
    """
    The lengths to test with a pair of protocols.

    Version 2 without negotiation is for a peer that speaks it, too. With another peer,
    the two ends agree up to 65,534 bytes by chance, and the behaviour beyond is
    undefined.
    """
    if (client == 2) != (server == 2):
        return SIZES[:3]
    return SIZES


class Switch(amp.ProtocolSwitchCommand):
    """A command that switches to another protocol."""


class Other:
    """A factory of the protocol at the near end."""

    def buildProtocol(self, address):
        return Protocol()

    def clientConnectionFailed(self, connector, reason):
        pass

    def clientConnectionLost(self, connector, reason):
        pass


class PairTests(SynchronousTestCase):
    """Every pair, every length."""

    def test_requests(self):
        """
        A value in a request arrives, or fails the call with the expected error, and the
        connection lives.
        """
        for client, server in PAIRS:
            for size in sizesFor(client, server):
                self.check(client, server, size, Forget, client, value=bytes(size))

    def test_responses(self):
        """
        A value in a response arrives, or fails the call with the expected error, and
        the connection lives.
        """
        for client, server in PAIRS:
            for size in sizesFor(client, server):
                self.check(client, server, size, Make, server, size=size)

    def check(self, client, server, length, command, sender, **arguments):
        pair = connectInMemory(make(client), make(server))
        where = f"{client} to {server}, {length} bytes, {command.__name__}"
        works = length <= 65_535 or (client, server) in LARGE_WORK
        try:
            result = pair.client.callRemote(command, **arguments)
            error = None
        except (amp.TooLong, OversizeValue) as raised:
            # A stock client raises at once, and so does a call without an answer.
            error = raised
        else:
            result = outcome(result) if result is not None else None
        pair.flush()
        pair.clock.advance(20)
        pair.flush()
        if command is Forget:
            if works:
                self.assertEqual(pair.server.forgotten, [length], where)
            else:
                self.assertEqual(pair.server.forgotten, [], where)
        elif works:
            self.assertEqual(len(self.successResultOf(result)["value"]), length, where)
        elif sender == "stock":
            # Twisted's own responder hangs up; that cannot be mended from here.
            self.failureResultOf(result, ConnectionDone, amp.UnknownRemoteError)
            self.flushLoggedErrors()
            return
        elif error is None:
            failure = self.failureResultOf(result)
            if client == "stock":
                failure.trap(amp.UnknownRemoteError)
            else:
                failure.trap(OversizeValue)
            self.assertIn("Stream()", failure.getErrorMessage(), where)
            self.assertIn("value", failure.getErrorMessage(), where)
        ping = outcome(pair.client.callRemote(Ping, number=3))
        pair.flush()
        self.assertEqual(self.successResultOf(ping), {"number": 3}, where)
        pair.lose()
        self.assertEqual(pair.clock.getDelayedCalls(), [], where)

    def test_callWithAnswer(self):
        """
        A request whose value cannot be sent fails its Deferred with an error that names
        the argument and the ways out.
        """
        for client, server in (("auto", 1), (1, "auto"), ("auto", "stock"), (1, 1)):
            pair = connectInMemory(make(client), make(server))
            result = outcome(pair.client.callRemote(Echo, value=bytes(65_536)))
            pair.flush()
            failure = self.failureResultOf(result, OversizeValue)
            for word in ("value", "65536", "Stream()", "BigString()", "auto"):
                self.assertIn(word, failure.getErrorMessage())
            pair.lose()


class FragmentTests(SynchronousTestCase):
    """Large boxes between two protocols that have negotiated version 2."""

    def setUp(self):
        self.pair = connectInMemory(make("auto"), make("auto"))
        self.client, self.server = self.pair.client, self.pair.server

    def tearDown(self):
        self.pair.lose()
        self.assertEqual(self.pair.clock.getDelayedCalls(), [])

    def assertNothingLeft(self):
        for protocol in (self.client, self.server):
            self.assertFalse(protocol.streams._multiplexer.isBusy)
            self.assertEqual(protocol.streams._boxes.sending, {})
            self.assertEqual(protocol.streams._boxes._waiting, [])

    def test_smallCallOvertakes(self):
        """A small call that is made after a large one is answered long before it."""
        large = outcome(self.client.callRemote(Echo, value=bytes(8 * 2**20)))
        small = outcome(self.client.callRemote(Ping, number=1))
        self.pair.flush(lambda: small.called)
        self.assertNoResult(large)
        for _ in range(20):
            self.pair.step()
        again = outcome(self.client.callRemote(Ping, number=2))
        steps = 0
        while not again.called:
            self.pair.step()
            steps += 1
        self.assertLessEqual(steps, 3)
        self.assertNoResult(large)
        self.pair.flush()
        self.assertEqual(len(self.successResultOf(large)["value"]), 8 * 2**20)
        self.assertNothingLeft()

    def test_largeOnesShare(self):
        """Large calls take turns, so that a shorter one overtakes a longer one."""
        order = []
        for size in (4_000_000, 100_000):
            self.client.callRemote(Echo, value=bytes(size)).addCallback(
                lambda answer: order.append(len(answer["value"]))
            )
        self.pair.flush()
        self.assertEqual(order, [100_000, 4_000_000])

    def test_notBytes(self):
        """
        A value that is not bytes is refused beside a large one as C{amp.AMP} refuses
        it, at the call, and the connection goes on.
        """
        self.pair.flush()
        for size in (1, 100_000):
            for wrong in ("text", [1, 2], {b"k": b"v"}, range(3)):
                keys = {"value": bytes(size), "other": wrong}
                with self.assertRaises(TypeError):
                    self.client.callRemoteString(Echo.commandName, **keys)
        result = outcome(self.client.callRemote(Echo, value=bytes(70_000)))
        self.pair.flush()
        self.successResultOf(result)
        self.assertNothingLeft()

    def test_onlyWrite(self):
        """A transport needs no method for writing but C{write}, as with C{amp.AMP}."""

        class Transport:
            """As little of a transport as C{amp.AMP} asks for."""

            def __init__(self):
                self.written = []
                self.write = self.written.append

            def getPeer(self):
                return "a peer"

            getHost = getPeer

        for version in ("auto", 1):
            for size in (1, 4_096, 60_000, 65_535):
                written = []
                for client in (make(version), amp.AMP()):
                    transport = Transport()
                    client.makeConnection(transport)
                    del transport.written[:]
                    client._counter = 0x99
                    client.callRemote(Echo, value=bytes(size))
                    written.append(b"".join(transport.written))
                self.assertEqual(written[0], written[1])

    def test_changedAfterwards(self):
        """A mutable value is sent as it was when the call was made."""
        for argument, size in (
            (bytearray(b"a" * 200_000), 200_000),
            (memoryview(bytearray(b"a" * 70_000)), 70_000),
        ):
            result = outcome(self.client.callRemote(Echo, value=argument))
            argument[:] = b"b" * size
            self.pair.flush()
            self.assertEqual(self.successResultOf(result)["value"], b"a" * size)

    def test_tooLongForPeer(self):
        """
        A box over the peer's C{maxBoxSize} fails the call with L{ValueTooLong}, also
        for an answer.
        """
        pair = connectInMemory(
            make("auto", Limits(maxBoxSize=140_000)),
            make("auto", Limits(maxBoxSize=200_000)),
        )
        pair.flush()
        result = outcome(pair.client.callRemote(Echo, value=bytes(200_000)))
        pair.flush()
        self.assertIn(
            "maxBoxSize",
            str(self.failureResultOf(result, classOf(b"AMP_BOX_TOO_LONG"))),
        )
        result = outcome(pair.client.callRemote(Echo, value=bytes(150_000)))
        pair.flush()
        self.failureResultOf(result, classOf(b"AMP_BOX_TOO_LONG"))
        result = outcome(pair.client.callRemote(Echo, value=bytes(90_000)))
        pair.flush()
        self.successResultOf(result)
        pair.lose()

    def test_keyTooLong(self):
        """
        A key that no box can have fails its call beside a large value, too, and the
        connection goes on.
        """
        self.pair.flush()
        keys = {"k" * 256: b"", "value": bytes(70_000)}
        with self.assertRaises(amp.TooLong):
            self.client.callRemoteString(Echo.commandName, **keys)
        result = outcome(self.client.callRemote(Echo, value=bytes(70_000)))
        self.pair.flush()
        self.successResultOf(result)

    def test_peerDoesNotKeepItsWord(self):
        """
        A receiver refuses a box that is announced as longer than its
        C{maxBoxSize}.
        """
        self.pair.flush()
        self.client.streams._boxes._negotiation.settings = type(
            self.client.streams._boxes._negotiation.settings
        )(frozenset({1, 2}), 2**40)
        result = outcome(self.client.callRemote(Echo, value=bytes(40_000_000)))
        self.pair.flush()
        self.failureResultOf(result, classOf(b"AMP_BOX_TOO_LONG"))
        self.assertNothingLeft()

    def test_cancel(self):
        """
        Cancelling a large call stops its sending, and the responder never
        hears of it.
        """
        self.pair.flush()
        result = self.client.callRemote(Echo, value=bytes(8 * 2**20))
        kept = outcome(result)
        for _ in range(5):
            self.pair.step()
        result.cancel()
        self.failureResultOf(kept, CancelledError)
        self.pair.flush()
        self.assertNothingLeft()

    def test_cancelWhileWaiting(self):
        """
        Cancelling a large call that waits for the negotiation leaves
        nothing behind.
        """
        result = self.client.callRemote(Echo, value=bytes(8 * 2**20))
        kept = outcome(result)
        result.cancel()
        self.failureResultOf(kept, CancelledError)
        self.pair.flush()
        self.assertNothingLeft()

    def test_withStream(self):
        """A large box can announce a stream, which begins after the box."""
        name = "x" * 100_000
        result = outcome(self.client.callRemote(Store, name=name, body=bytes(300_000)))
        self.pair.flush()
        self.assertEqual(self.successResultOf(result), {"size": 300_000})
        self.assertEqual(self.server.stored[name], bytes(300_000))
        self.assertNothingLeft()

    def test_withoutAnswer(self):
        """A large call without an answer arrives."""
        self.client.callRemote(Forget, value=bytes(300_000))
        self.pair.flush()
        self.assertEqual(self.server.forgotten, [300_000])

    def test_lostConnection(self):
        """A lost connection fails a large call with its reason."""
        results = [outcome(self.client.callRemote(Echo, value=bytes(8 * 2**20)))]
        self.pair.lose()
        self.pair = connectInMemory(make("auto"), make("auto"))
        self.pair.flush()
        results.append(
            outcome(self.pair.client.callRemote(Echo, value=bytes(8 * 2**20)))
        )
        for _ in range(5):
            self.pair.step()
        self.pair.lose()
        for result in results:
            self.failureResultOf(result, ConnectionDone)

    def test_boundedAssembly(self):
        """
        The bytes of large boxes held at once are bounded, and all of the
        boxes arrive.
        """
        limits = Limits(maxBufferedBytes=0, maxBoxSize=3_000_000)
        pair = connectInMemory(make("auto"), make("auto", limits))
        pair.flush()
        results = [
            outcome(
                pair.client.callRemote(Forget, value=bytes(2_000_000)) or Deferred()
            )
            for _ in range(4)
        ]
        held = []

        def look():
            streams = pair.server.streams._multiplexer._receiveStreams.streams.values()
            held.append(sum(one.received for one in streams))
            return len(pair.server.forgotten) == 4

        pair.flush(look)
        self.assertEqual(len(results), 4)
        self.assertLess(max(held), 2_000_000 + 4 * 2**20)
        pair.lose()

    def test_notOneBox(self):
        """Fragments that are not one box end the connection with L{FramingError}."""
        self.pair.flush()
        stream = self.client.streams.send(b"\x00\x00\x00\x00")
        self.client.sendBox(
            amp.AmpBox(_command=b"stream.Box", id=b"%d" % stream.id, size=b"4")
        )
        _, self.client.take = held()
        waiting = outcome(self.server.callRemote(Store, name="x", body=b""))
        self.pair.flush()
        stream.done.addErrback(lambda failure: None)
        self.failureResultOf(waiting, FramingError)

    def test_nothingAboutReadingInFragments(self):
        """
        A box that arrived in fragments cannot change the version in which later
        ones are read.
        """
        self.pair.flush()
        inner = amp.AmpBox(_command=b"stream.Version", version=b"1", _ask=b"zz")
        stream = self.client.streams.send(inner.serialize())
        self.client.sendBox(
            amp.AmpBox(
                _command=b"stream.Box",
                id=b"%d" % stream.id,
                size=b"%d" % len(inner.serialize()),
            )
        )
        answer = self.client._outstandingRequests[b"zz"] = Deferred()
        answer.addErrback(lambda failure: failure.type)
        self.pair.flush()
        self.assertIs(self.successResultOf(answer), amp.UnhandledCommand)
        self.assertEqual(self.server.streams._boxes.parser.version, 2)

    def test_malformedSettings(self):
        """Malformed settings are answered with an error."""
        for values in (
            {"_command": b"stream.Settings", "versions": b"x", "box": b"1"},
            {"_command": b"stream.Settings", "versions": b"1", "box": b"x"},
            {"_command": b"stream.Version", "version": b"3"},
            {"_command": b"stream.Box", "id": b"1", "size": b"x"},
        ):
            pair = connectInMemory(Stock(), make("auto"))
            pair.flush()
            result = outcome(
                pair.client.callRemoteString(values.pop("_command"), **values)
            )
            pair.flush()
            self.assertEqual(
                self.failureResultOf(result).value.errorCode, b"STREAM_INVALID_CHUNK"
            )
            pair.lose()


class NegotiationTimeTests(SynchronousTestCase):
    """A peer that does not negotiate."""

    def test_silence(self):
        """
        A large call to a peer that does not negotiate fails after
        C{negotiationTimeout}; small calls work meanwhile.
        """
        pair = connectInMemory(make("auto"), make("auto"))
        # The settings of the server, and its answer, are lost on the way.
        pair._pump.serverIO.stream = []
        pair.server.streams._boxes._settingsReceived = lambda settings: None
        pair.server.streams._multiplexer.answer = lambda box: None
        result = outcome(pair.client.callRemote(Echo, value=bytes(70_000)))
        small = outcome(pair.client.callRemote(Echo, value=bytes(60_000)))
        pair.flush()
        self.successResultOf(small)
        self.assertNoResult(result)
        pair.clock.advance(9.9)
        self.assertNoResult(result)
        pair.clock.advance(0.2)
        self.failureResultOf(result, OversizeValue)
        pair.lose()


class AnswerTests(SynchronousTestCase):
    """Answers that cannot be sent as they are."""

    def test_longDescription(self):
        """An error text that is too long for a value is cut, and the error arrives."""

        class Refusing(StreamAMP):
            @Store.responder
            def store(self, name, body):
                raise ValueError("no " * 40_000)

        pair = connectInMemory(make("auto"), Refusing(config=StreamConfig(version=1)))
        result = outcome(pair.client.callRemote(Store, name="x", body=b""))
        pair.flush()
        error = self.failureResultOf(result, ValueError)
        self.assertTrue(error.getErrorMessage().startswith("no no "))
        pair.lose()

    def test_nothingIsReadAfterGarbage(self):
        """Bytes after a framing error are not read as boxes."""
        pair = connectInMemory(make("auto"), make("auto"))
        pair.flush()
        pair.server.dataReceived(b"\xff\xff")
        taken = []
        pair.server.boxReceived = lambda *arguments: taken.append(arguments)
        pair.server.dataReceived(amp.AmpBox(_command=b"Ping").serialize())
        self.assertEqual(taken, [])
        self.assertTrue(pair.server.transport.disconnecting)
        self.assertEqual(len(self.flushLoggedErrors()), 0)


class SwitchTests(SynchronousTestCase):
    """Protocol switches beside streams."""

    def test_refusedByCaller(self):
        """A protocol switch fails at once while the caller has streams."""
        pair = connectInMemory(make("auto"), make("auto"))
        stream = pair.client.streams.send(iter([bytes(100)] * 100_000))
        stream.done.addErrback(lambda failure: failure.trap(StreamCancelled))
        self.failureResultOf(pair.client.callRemote(Switch, Other()), UsageError)
        stream.abort(StreamCancelled.code)
        pair.flush()
        pair.lose()

    def test_refusedByResponder(self):
        """
        A protocol switch fails while the responder has streams, and the
        connection goes on.
        """

        class Switching(StreamAMP):
            @Switch.responder
            def switch(self):
                return Protocol()

        pair = connectInMemory(make("auto"), Switching())
        pair.flush()
        result = outcome(pair.client.callRemote(Switch, Other()))
        stream = pair.server.streams.send(iter([bytes(100)] * 100_000))
        stream.done.addErrback(lambda failure: failure.trap(StreamCancelled))
        pair.flush()
        self.failureResultOf(result, UsageError)
        value = outcome(collect(pair.client, stream.id))
        pair.flush()
        self.assertEqual(len(self.successResultOf(value)), 10_000_000)
        pair.lose()

    def test_switches(self):
        """
        Without streams a protocol switch works, and the bytes after it go to the
        new protocol.
        """
        other = Protocol()
        received = []
        other.dataReceived = received.append

        class Switching(StreamAMP):
            @Switch.responder
            def switch(self):
                return other

        pair = connectInMemory(make("auto"), Switching())
        result = outcome(pair.client.callRemote(Switch, Other()))
        pair.flush()
        self.successResultOf(result)
        pair.client.innerProtocol.transport.write(b"hello")
        pair.flush()
        self.assertEqual(b"".join(received), b"hello")
        pair.lose()

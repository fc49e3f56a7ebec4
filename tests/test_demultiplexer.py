# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests for L{amp_stream._multiplexer}: mistakes and attacks of a peer."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from amp_stream import Limits, StreamAMP, StreamConfig
from amp_stream._commands import frameToBox
from amp_stream._sansio.frames import MaxStreamData, ResetStream, StopSending
from amp_stream.testing import connectInMemory
from tests.codes import classOf
from tests.commands import Ping, PlainServer, Server, collect

_numbers = st.sampled_from([b"0", b"1", b"2", b"3", b"262144", b"9" * 18])
_junk = st.one_of(
    st.sampled_from([b"", b"-1", b"+1", b" 1", b"1_0", b"\xd9\xa1", b"True", b"False"]),
    st.sampled_from([b"9" * 19, b"9" * 60_000, b"STREAM_TOO_LONG", b"\xff" * 300]),
    st.binary(max_size=40),
    _numbers,
)
_boxes = st.fixed_dictionaries(
    {
        b"_command": st.sampled_from(
            [b"stream.Data", b"stream.MaxData", b"stream.Reset", b"stream.StopSending"]
        )
    },
    optional={
        b"id": _junk,
        b"offset": _junk,
        b"data": st.binary(max_size=100),
        b"fin": st.one_of(st.sampled_from([b"True", b"False"]), _junk),
        b"sha256": st.one_of(st.just(b""), st.just(bytes(32)), _junk),
        b"maximum": _junk,
        b"code": _junk,
        b"final_size": _junk,
        b"_ask": st.sampled_from([b"1", b"s1", b"zz"]),
    },
)


class HostilePeerTests(SynchronousTestCase):
    """Boxes that a conforming sender would not send."""

    @settings(max_examples=150, deadline=None)
    @given(st.lists(_boxes, max_size=12), st.booleans())
    def test_neverHangsUp(self, boxes, mixedIn):
        """
        For any boxes of the stream layer, the connection lives, calls are answered, and
        another stream arrives.
        """
        server = PlainServer() if mixedIn else Server()
        pair = connectInMemory(amp.AMP(), server)
        if not mixedIn:
            server.streams.send(b"abc").done.addErrback(lambda _: None)
        for box in boxes:
            pair.client.sendBox(amp.AmpBox(box))
            # Answers to tags that this client never gave out are not its business.
            pair._pump.pump()
            pair._pump.serverIO.stream = []
        self.assertFalse(server.transport.disconnecting)
        result = collect(server, 77)
        pair.client.sendBox(
            amp.AmpBox(_command=b"stream.Data", id=b"77", offset=b"0", data=b"a")
        )
        pair.client.sendBox(
            amp.AmpBox(
                _command=b"stream.Data", id=b"77", offset=b"1", data=b"b", fin=b"True"
            )
        )
        pair._pump.pump()
        pair._pump.serverIO.stream = []
        self.assertEqual(self.successResultOf(result), b"ab")
        ping = pair.client.callRemote(Ping)
        pair.flush()
        self.assertEqual(self.successResultOf(ping), {"number": None})
        pair.lose()
        self.assertEqual(pair.clock.getDelayedCalls(), [])

    def exchange(self, **values):
        """
        Send one box that asks for an answer.

        @return: The boxes that come back.
        """
        pair = connectInMemory(
            amp.AMP(), StreamAMP(config=StreamConfig(limits=Limits(maxStreams=1)))
        )
        self.addCleanup(pair.lose)
        pair.client.sendBox(amp.AmpBox(_ask=b"1", **values))
        pair._pump.pump()
        boxes = pair.sent(pair.server)
        pair._pump.serverIO.stream = []
        return boxes

    def test_whatIsWrong(self):
        """The answer to a malformed box names its wrong key."""
        for values, word in (
            ({"_command": b"stream.Data"}, b"missing"),
            ({"_command": b"stream.Data", "data": b"", "id": b"x"}, b"id"),
            (
                {"_command": b"stream.Data", "data": b"", "id": b"1", "offset": b""},
                b"offset",
            ),
            (
                {
                    "_command": b"stream.Data",
                    "data": b"",
                    "id": b"1",
                    "offset": b"0",
                    "fin": b"yes",
                },
                b"fin",
            ),
            ({"_command": b"stream.MaxData", "id": b"1"}, b"maximum"),
            ({"_command": b"stream.StopSending", "id": b"1"}, b"code"),
            ({"_command": b"stream.Reset", "id": b"1", "code": b"X"}, b"final_size"),
        ):
            box = self.exchange(**values)[-1]
            self.assertEqual(box[b"_error_code"], b"STREAM_INVALID_CHUNK")
            self.assertIn(word, box[b"_error_description"])

    def test_answersToNobody(self):
        """A malformed answer to a chunk fails the chunk's stream."""
        pair = connectInMemory(
            StreamAMP(config=StreamConfig(version=1)),
            StreamAMP(config=StreamConfig(version=1)),
        )
        stream = pair.server.streams.send(bytes(1000))
        (chunk,) = pair.sent(pair.server)
        pair._pump.serverIO.stream = []
        pair.client.sendBox(amp.AmpBox(_answer=chunk[b"_ask"], maximum=b"lots"))
        pair._pump.pump()
        self.failureResultOf(stream.done, classOf(b"STREAM_INVALID_CHUNK"))
        pair.lose()

    def test_malformedChunkStopsItsStream(self):
        """
        A malformed chunk that does not ask is answered with C{StopSending} for
        its stream.
        """
        pair = connectInMemory(
            StreamAMP(config=StreamConfig(version=1)),
            StreamAMP(config=StreamConfig(version=1)),
        )
        pair.client.sendBox(
            amp.AmpBox(_command=b"stream.Data", id=b"4", data=b"abc", offset=b"?")
        )
        pair._pump.pump()
        (box,) = pair.sent(pair.server)
        self.assertEqual(
            box,
            {
                b"_command": b"stream.StopSending",
                b"id": b"4",
                b"code": b"STREAM_INVALID_CHUNK",
            },
        )
        self.failureResultOf(collect(pair.server, 4), classOf(b"STREAM_INVALID_CHUNK"))
        pair.lose()

    def test_ourOwnFault(self):
        """
        A mistake in this package is logged and answered, and the
        connection lives.
        """
        pair = connectInMemory(amp.AMP(), StreamAMP())
        pair.server.streams._multiplexer._receiveStreams.reset = None
        results = []
        pair.client.callRemoteString(
            b"stream.Reset", id=b"1", code=b"X", final_size=b"0"
        ).addErrback(results.append)
        pair.flush()
        self.assertEqual(results[0].value.errorCode, b"STREAM_ERROR")
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        pair.lose()


class FrameTests(SynchronousTestCase):
    """Frames written as boxes."""

    def test_boxes(self):
        """Each frame is written with the keys of its command."""
        self.assertEqual(
            [
                frameToBox(frame)
                for frame in (
                    MaxStreamData(1, 2),
                    ResetStream(3, b"CODE", 4),
                    StopSending(5, b"CODE"),
                )
            ],
            [
                {b"_command": b"stream.MaxData", b"id": b"1", b"maximum": b"2"},
                {
                    b"_command": b"stream.Reset",
                    b"id": b"3",
                    b"code": b"CODE",
                    b"final_size": b"4",
                },
                {b"_command": b"stream.StopSending", b"id": b"5", b"code": b"CODE"},
            ],
        )

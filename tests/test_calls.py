# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests for L{amp_stream._calls}."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from amp_stream import StreamAMP
from amp_stream._calls import asAnswer, asError, resultIfFired
from amp_stream.testing import connectInMemory
from tests.commands import Ping

BOX = amp.AmpBox(x=b"y")


class AnswerThereTests(SynchronousTestCase):
    """L{resultIfFired}."""

    def test_there(self):
        """C{resultIfFired} returns the result of a Deferred that has fired."""
        self.assertIs(resultIfFired(succeed(BOX)), BOX)

    def test_notThere(self):
        """C{resultIfFired} ignores unfired and failed Deferreds, and other results."""
        failed = Deferred()
        failed.errback(ValueError())
        for result in (Deferred(), failed, succeed(None), succeed({})):
            self.assertIsNone(resultIfFired(result))
        self.failureResultOf(failed, ValueError)

    def test_notLast(self):
        """C{resultIfFired} ignores Deferreds that are paused or run callbacks."""
        paused = succeed(BOX)
        paused.pause()
        self.assertIsNone(resultIfFired(paused))
        paused.addCallback(lambda box: None)
        paused.unpause()
        running = Deferred()
        found = []
        running.addCallback(lambda box: found.append(resultIfFired(running)) or box)
        running.addCallback(lambda box: found.append(resultIfFired(running)))
        running.callback(BOX)
        self.assertEqual(found[0], None)


class BoxTests(SynchronousTestCase):
    """L{asAnswer} and L{asError}."""

    def test_answer(self):
        """An answer carries the tag of the call that it answers."""
        box = amp.AmpBox(x=b"y")
        self.assertIs(asAnswer(box, b"1"), box)
        self.assertEqual(box, {b"x": b"y", b"_answer": b"1"})

    def test_declared(self):
        """
        An error that the command declares is sent with its code and text, and the
        connection closes only if it is fatal.
        """
        for fatal, kind in ((False, amp.AmpBox), (True, amp.QuitBox)):
            for text in ("caf\xe9", "caf\xe9".encode()):
                error = amp.RemoteAmpError(b"CODE", "", fatal)
                error.description = text
                box = asError(Failure(error), b"1")
                self.assertIs(type(box), kind)
                self.assertEqual(
                    box,
                    {
                        b"_error": b"1",
                        b"_error_code": b"CODE",
                        b"_error_description": "caf\xe9".encode(),
                    },
                )

    def test_undeclared(self):
        """
        An undeclared error is logged, hidden from the peer, and ends the
        connection.
        """
        box = asError(Failure(ZeroDivisionError("secret")), b"1")
        self.assertIs(type(box), amp.QuitBox)
        self.assertEqual(box[b"_error_code"], b"UNKNOWN")
        self.assertEqual(box[b"_error_description"], b"Unknown Error")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class Oops(Exception):
    """A declared error."""


class Fail(amp.Command):
    """A command whose responder fails with a text."""

    arguments = [(b"text", amp.Unicode()), (b"count", amp.Integer())]
    errors = {Oops: b"OOPS"}


class Failing(StreamAMP):
    """Fails with a long text."""

    @Fail.responder
    def fail(self, text, count):
        raise Oops(text * count)


class TextTests(SynchronousTestCase):
    """The texts of errors."""

    def textOf(self, pair, text, count):
        """Find the text with which a call fails."""
        caught = []
        result = pair.client.callRemote(Fail, text=text, count=count)
        result.addErrback(lambda failure: caught.append(failure.value))
        pair.flush()
        self.assertIs(type(caught[0]), Oops)
        return str(caught[0])

    def test_whole(self):
        """Between two L{StreamAMP}s, the text of an error arrives whole."""
        pair = connectInMemory(StreamAMP(), Failing())
        pair.flush()
        self.assertEqual(self.textOf(pair, "\u20ac", 100_000), "\u20ac" * 100_000)
        pair.lose()

    def test_stockPeer(self):
        """
        A stock peer gets 65,535 bytes of the text; a longer one is cut between two
        characters.
        """
        pair = connectInMemory(amp.AMP(), Failing())
        pair.flush()
        self.assertEqual(self.textOf(pair, "x", 65_535), "x" * 65_535)
        self.assertEqual(self.textOf(pair, "\u00e4", 33_000), "\u00e4" * 32_767)
        pair.lose()


class Late(StreamAMP):
    """Answers when it is told to."""

    def __init__(self):
        super().__init__()
        self.late = Deferred()

    @Ping.responder
    def ping(self, number):
        return {} if self.late.called else self.late


class CommandTests(SynchronousTestCase):
    """How the protocol sends the answers of responders."""

    def call(self, early=False):
        """Call a responder that answers at once, or one that answers later."""
        self.pair = connectInMemory(StreamAMP(), Late())
        if early:
            self.pair.server.late.callback({})
        called = self.pair.client.callRemote(Ping)
        self.pair.flush()
        return called

    def test_late(self):
        """The answer of a responder's Deferred is sent when the Deferred fires."""
        called = self.call()
        self.assertNoResult(called)
        self.pair.server.late.callback({})
        self.pair.flush()
        self.assertEqual(self.successResultOf(called), {"number": None})

    def test_lateFailure(self):
        """The failure of a responder's Deferred is sent when it fires."""
        called = self.call()
        failures = []
        called.addErrback(failures.append)
        self.pair.server.late.errback(ZeroDivisionError())
        self.pair.flush()
        self.assertIsInstance(failures[0].value, amp.UnknownRemoteError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_unsent(self):
        """
        If an answer cannot be written for an unforeseen reason, the error is logged and
        the connection closes, as with C{amp.AMP}.
        """
        self.patch(Late, "_safeEmit", lambda server, box: 1 / 0)
        for early in (True, False):
            called = self.call(early)
            if not early:
                self.pair.server.late.callback({})
                self.pair.flush()
            self.failureResultOf(called, ConnectionDone)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""L{BigString} and L{BigUnicode}: in boxes, in lists, and between stock AMP peers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    connectProtocol,
)
from twisted.internet.protocol import Factory
from twisted.protocols import amp
from twisted.python.failure import Failure
from twisted.test.iosim import IOPump, connectedServerAndClient
from twisted.trial.unittest import SynchronousTestCase, TestCase

from amp_stream._arguments import BigString, BigUnicode
from amp_stream._boxes import BoxErrors
from amp_stream._sansio.splitting import PIECE_SIZE
from amp_stream.errors import STREAM_ERRORS, StreamError, UsageError, ValueTooLong
from tests.codes import classOf

LONG = bytes(range(256)) * 1000
EURO = "\N{EURO SIGN}"


class Echo(amp.Command):
    """A command that returns the values of its request."""

    arguments = [(b"body", BigString()), (b"note", BigUnicode(optional=True))]
    response = [(b"body", BigString()), (b"note", BigUnicode(optional=True))]


class Plain(amp.Command):
    """L{Echo} as Twisted alone declares it."""

    commandName = b"Echo"
    arguments = [(b"body", amp.String()), (b"note", amp.Unicode(optional=True))]
    response = [(b"body", amp.String()), (b"note", amp.Unicode(optional=True))]


class Small(amp.Command):
    """A command with a bound, and with lists."""

    arguments = [
        (b"body", BigString(optional=True, maxSize=10)),
        (b"items", amp.AmpList([(b"body", BigString(maxSize=10))], optional=True)),
        (b"texts", amp.ListOf(BigUnicode(maxSize=10), optional=True)),
    ]
    response = [(b"ok", amp.Boolean())]


class Loose(amp.Command):
    """L{Small} for a caller without a bound."""

    commandName = b"Small"
    arguments = [(b"body", BigString())]
    response = [(b"ok", amp.Boolean())]


class LooseDeclared(Loose):
    """L{Loose} with the errors of this package declared."""

    commandName = b"Small"
    errors = STREAM_ERRORS


class Broken(amp.Command):
    """A command with a response that cannot be read."""

    arguments = [(b"keys", amp.ListOf(amp.String()))]
    response = [
        (b"body", BigString(maxSize=10)),
        (b"note", BigUnicode(optional=True)),
        (b"texts", amp.ListOf(BigUnicode(), optional=True)),
    ]
    errors = {}


class BrokenRaw(amp.Command):
    """L{Broken} for the responder: each key becomes a key of the response."""

    commandName = b"Broken"
    arguments = [(b"keys", amp.ListOf(amp.String()))]

    @classmethod
    def makeResponse(cls, objects: dict[str, Any], proto: Any) -> amp.Box:
        return amp.Box(objects)


class Server(amp.AMP):
    """A stock protocol that answers the commands above."""

    @Echo.responder
    def echo(self, body: bytes, note: str | None) -> dict[str, Any]:
        return {"body": body, "note": note}

    @Small.responder
    def small(self, **arguments: Any) -> dict[str, Any]:
        return {"ok": True}

    @BrokenRaw.responder
    def broken(self, keys: list[bytes]) -> dict[bytes, bytes]:
        return dict(key.split(b"=", 1) for key in keys)  # type: ignore[misc]


def toBox(
    arguments: list[tuple[bytes, amp.Argument]], **objects: Any
) -> dict[bytes, bytes]:
    """Make a box as AMP does."""
    cls = type("Some", (amp.Command,), {"arguments": arguments})
    return dict(cls.makeArguments(objects, None))


def fromBox(
    arguments: list[tuple[bytes, amp.Argument]], box: dict[bytes, bytes]
) -> dict[str, Any]:
    """Parse a response as AMP does."""
    cls = type("Some", (amp.Command,), {"response": arguments})
    return cls.parseResponse(amp.Box({amp.ANSWER: b"1", **box}), None)


class WriteTests(SynchronousTestCase):
    """Values into boxes."""

    @given(st.binary(max_size=300))
    def test_shortAsString(self, value: bytes) -> None:
        """A short value makes the box that C{amp.String} makes."""
        for size in (len(value), PIECE_SIZE):
            body = value.ljust(size, b"-")
            self.assertEqual(
                toBox([(b"body", BigString())], body=body),
                toBox([(b"body", amp.String())], body=body),
            )

    @given(st.text(max_size=300))
    def test_shortAsUnicode(self, text: str) -> None:
        """A short text makes the box that C{amp.Unicode} makes."""
        self.assertEqual(
            toBox([(b"note", BigUnicode())], note=text),
            toBox([(b"note", amp.Unicode())], note=text),
        )

    def test_long(self) -> None:
        """
        A long value takes further keys of the box, beside the keys of other
        arguments.
        """
        box = toBox(
            [(b"id", amp.Integer()), (b"body", BigString()), (b"z", amp.String())],
            id=7,
            body=memoryview(LONG),
            z=b"z",
        )
        self.assertEqual(
            {key: len(value) for key, value in box.items()},
            {
                b"id": 1,
                b"body": 65_535,
                b"body.2": 65_535,
                b"body.3": 65_535,
                b"body.4": 59_395,
                b"z": 1,
            },
        )

    def test_optional(self) -> None:
        """
        An optional value that is L{None} or left out has no key; a required one must be
        present, and be bytes.
        """
        optional = [(b"body", BigString(optional=True)), (b"t", BigUnicode(True))]
        self.assertEqual(toBox(optional), {})
        self.assertEqual(toBox(optional, body=None, t=None), {})
        self.assertEqual(toBox(optional, body=b"", t=""), {b"body": b"", b"t": b""})
        required = [(b"body", BigString())]
        self.assertRaises(KeyError, toBox, required)
        self.assertRaises(TypeError, toBox, required, body=None)

    def test_wrongType(self) -> None:
        """
        Text for L{BigString} and bytes for L{BigUnicode} are refused with an error that
        names the right one.
        """
        error = self.assertRaises(
            TypeError, toBox, [(b"body", BigString())], body="text"
        )
        self.assertIn("'body'", str(error))
        self.assertIn("BigUnicode", str(error))
        error = self.assertRaises(
            TypeError, toBox, [(b"note", BigUnicode())], note=b"bytes"
        )
        self.assertIn("'note'", str(error))
        self.assertIn("BigString", str(error))

    def test_splitAfterEncoding(self) -> None:
        """A text is encoded first; its bytes are split and counted."""
        text = EURO * 30_000
        box = toBox([(b"t", BigUnicode(maxSize=90_000))], t="x" + text[:-1])
        self.assertEqual([len(piece) for piece in box.values()], [65_535, 24_463])
        self.assertRaises(UnicodeDecodeError, bytes(box[b"t"]).decode, "utf-8")
        self.assertRaises(
            classOf(b"BIG_VALUE_TOO_LONG"),
            toBox,
            [(b"t", BigUnicode(maxSize=89_999))],
            t=text,
        )

    def test_notUTF8(self) -> None:
        """
        Text that UTF-8 cannot encode is refused as C{amp.Unicode} refuses it; the
        error does not show the text.
        """
        error = self.assertRaises(
            UnicodeEncodeError, toBox, [(b"note", BigUnicode())], note="secret\ud800"
        )
        self.assertIn("position 6", str(error))
        self.assertNotIn("secret", str(error))

    def test_tooLong(self) -> None:
        """A value over C{maxSize} is refused; the default is 16 MiB."""
        error = self.assertRaises(
            classOf(b"BIG_VALUE_TOO_LONG"),
            toBox,
            [(b"body", BigString(maxSize=2))],
            body=b"abc",
        )
        self.assertIn("'body'", str(error))
        self.assertEqual(BigString().maxSize, 16_777_216)
        self.assertRaises(
            classOf(b"BIG_VALUE_TOO_LONG"),
            toBox,
            [(b"body", BigString())],
            body=bytes(16_777_217),
        )

    def test_declaration(self) -> None:
        """An impossible C{maxSize} is refused when the argument is declared."""
        self.assertRaises(ValueError, BigString, maxSize=-1)
        self.assertRaises(ValueError, BigUnicode, maxSize=-1)
        self.assertEqual(toBox([(b"v", BigString(maxSize=0))], v=b""), {b"v": b""})

    def test_callersDictionary(self) -> None:
        """Writing a box leaves the caller's dictionary unchanged."""
        objects = {"body": LONG, "note": "x" * 70_000}
        before = dict(objects)
        Echo.makeArguments(objects, None)
        Echo.makeResponse(objects, None)
        self.assertEqual(objects, before)

    def test_pythonNames(self) -> None:
        """Argument names that are Python keywords are translated as AMP does."""
        box = toBox(
            [(b"from", BigString()), (b"big-body", BigString())],
            From=b"a",
            big_body=LONG,
        )
        self.assertEqual(sorted(box)[:2], [b"big-body", b"big-body.2"])
        self.assertEqual(box[b"from"], b"a")

    def test_clash(self) -> None:
        """
        An argument whose name is a key that the value may need is refused, wherever it
        is declared and however short the value is.
        """
        big = (b"body", BigString())
        for name in (b"body.0", b"body.1", b"body.2", b"body.77"):
            other = (name, amp.String())
            values = {"body": b"short", name.decode("ascii"): b"x"}
            for arguments in ([big, other], [other, big]):
                self.assertRaises(UsageError, toBox, arguments, **values)
        others = [(b"body.size", amp.Integer()), (b"body2", amp.String())]
        values = {"body": LONG, "body.size": 1, "body2": b"x"}
        self.assertEqual(len(toBox([*others, big], **values)), 6)
        self.assertEqual(len(toBox([big, *others], **values)), 6)


class ReadTests(SynchronousTestCase):
    """Boxes into values."""

    def test_both(self) -> None:
        """Pieces numbered from zero and from two both join to the value."""
        for box in (
            {b"body": b"ab", b"body.2": b"c"},
            {b"body.0": b"ab", b"body.1": b"c"},
        ):
            self.assertEqual(fromBox([(b"body", BigString())], box), {"body": b"abc"})

    def test_roundTrip(self) -> None:
        """A value that was written is read back as the declared type."""
        arguments = [(b"big-body", BigString()), (b"class", BigUnicode())]
        objects = {"big_body": LONG, "Class": EURO * 50_000}
        box = toBox(arguments, **objects)
        self.assertEqual(fromBox(arguments, box), objects)

    def test_optional(self) -> None:
        """An absent value is L{None} if it is optional, and an error otherwise."""
        self.assertEqual(
            fromBox([(b"body", BigString(True)), (b"t", BigUnicode(True))], {}),
            {"body": None, "t": None},
        )
        error = self.assertRaises(
            classOf(b"BIG_VALUE_GAP"), fromBox, [(b"body", BigString())], {}
        )
        self.assertIn("'body'", str(error))

    def test_gap(self) -> None:
        """A missing piece is an error, for an optional value as well."""
        box = {b"body": b"a", b"body.3": b"c"}
        for optional in (False, True):
            self.assertRaises(
                classOf(b"BIG_VALUE_GAP"),
                fromBox,
                [(b"body", BigString(optional))],
                box,
            )

    def test_notUTF8(self) -> None:
        """Bytes that are not UTF-8 are refused; the error does not show the bytes."""
        box = {b"note": b"secret", b"note.2": b"\xff"}
        error = self.assertRaises(
            classOf(b"BIG_VALUE_TEXT"), fromBox, [(b"note", BigUnicode())], box
        )
        self.assertIn("byte 6", str(error))
        self.assertNotIn("secret", str(error))

    def test_clash(self) -> None:
        """
        A piece is never mistaken for another argument, nor for a shorter value, even if
        the sender left out an argument.
        """
        arguments = [(b"body.2", amp.String(optional=True)), (b"body", BigString())]
        box = toBox(arguments, body=b"x" * 70_000)
        self.assertRaises(UsageError, fromBox, arguments, box)
        self.assertRaises(UsageError, fromBox, arguments, {b"body": b"short"})

    def test_boxIsKept(self) -> None:
        """Reading a box leaves the caller's box unchanged."""
        box = amp.Box({amp.ANSWER: b"1", b"body": b"a", b"body.2": b"b"})
        before = dict(box)
        Echo.parseResponse(box, None)
        self.assertEqual(dict(box), before)


class BoxErrorTests(SynchronousTestCase):
    """C{BoxErrors}: the form in which a box's error is raised."""

    def fail(self, *box: Any) -> None:  # type: ignore[override]
        """Raise an error inside C{BoxErrors}."""
        with BoxErrors(*box):
            raise ValueTooLong("so long", b"BIG_VALUE_TOO_LONG")

    def test_response(self) -> None:
        """C{BoxErrors} leaves an error in a response unchanged."""
        box = amp.Box({amp.ANSWER: b"1"})
        error = self.assertRaises(classOf(b"BIG_VALUE_TOO_LONG"), self.fail, box)
        self.assertEqual(str(error), "so long")

    def test_request(self) -> None:
        """
        C{BoxErrors} turns an error in a request into one that AMP answers without
        closing the connection, with the same code, text and cause.
        """
        request = amp.Box({amp.COMMAND: b"Echo", amp.ASK: b"1"})
        for box in ([request], [amp.Box({b"body": b"item"})], []):
            error = self.assertRaises(amp.RemoteAmpError, self.fail, *box)
            self.assertEqual(error.errorCode, b"BIG_VALUE_TOO_LONG")
            self.assertEqual(error.description, "so long")
            self.assertFalse(error.fatal)
            self.assertIsInstance(error.__cause__, classOf(b"BIG_VALUE_TOO_LONG"))
            self.assertIs(error.local.value, error.__cause__)

    def test_others(self) -> None:
        """C{BoxErrors} passes errors from outside the package's tree through."""
        with self.assertRaises(ZeroDivisionError), BoxErrors():
            raise ZeroDivisionError


class ListTests(SynchronousTestCase):
    """Big values in AMP's lists."""

    def test_ampList(self) -> None:
        """The items of an C{AmpList} are boxes and hold big values of any length."""
        argument = amp.AmpList(
            [(b"body", BigString()), (b"note", BigUnicode(optional=True))]
        )
        items = [{"body": LONG, "note": None}, {"body": b"", "note": EURO * 40_000}]
        written = argument.toStringProto(items, None)
        self.assertEqual(argument.fromStringProto(written, None), items)

    def test_listOf(self) -> None:
        """The elements of a C{ListOf} may have up to 65,535 bytes."""
        for argument, elements in (
            (BigString(), [b"", bytearray(b"a"), b"x" * 65_535]),
            (BigUnicode(), ["", "a", EURO * 21_845]),
        ):
            elementsList = amp.ListOf(argument)
            self.assertEqual(
                elementsList.fromString(elementsList.toString(elements)), elements
            )

    def test_longElement(self) -> None:
        """A C{ListOf} element over 65,535 bytes is refused with a clear error text."""
        for argument, element in (
            (BigString(), bytes(65_536)),
            (BigUnicode(), EURO * 21_846),
        ):
            error = self.assertRaises(
                classOf(b"BIG_VALUE_TOO_LONG"), amp.ListOf(argument).toString, [element]
            )
            self.assertIn("ListOf has at most 65,535 bytes", str(error))
            self.assertIn("Stream()", str(error))

    def test_elementTypes(self) -> None:
        """A C{ListOf} element must have the declared type and at most C{maxSize}."""
        self.assertRaises(TypeError, BigString().toString, "text")
        self.assertRaises(TypeError, BigUnicode().toString, b"bytes")
        self.assertRaises(
            classOf(b"BIG_VALUE_TOO_LONG"), BigString(maxSize=2).toString, b"abc"
        )

    def test_badElement(self) -> None:
        """
        AMP can answer the error of a C{ListOf} element that is too long or
        not UTF-8.
        """
        for argument, element, code in (
            (BigString(maxSize=2), b"abc", b"BIG_VALUE_TOO_LONG"),
            (BigUnicode(), b"\xff", b"BIG_VALUE_TEXT"),
        ):
            error = self.assertRaises(amp.RemoteAmpError, argument.fromString, element)
            self.assertEqual(error.errorCode, code)


class StockTests(SynchronousTestCase):
    """Big arguments between two stock C{amp.AMP} that are connected in memory."""

    def setUp(self) -> None:
        self.client: amp.AMP
        self.server: amp.AMP
        self.pump: IOPump
        self.client, self.server, self.pump = connectedServerAndClient(Server, amp.AMP)

    def outcome(self, call: Callable[..., Deferred[Any]], *a: Any, **kw: Any) -> Any:
        """Make a call, deliver all bytes, and return the Deferred's result."""
        outcomes: list[Any] = []
        # Before the answer comes: AMP closes the connection after an unhandled failure.
        call(*a, **kw).addBoth(outcomes.append)
        self.pump.flush()
        [outcome] = outcomes
        return outcome

    def error(self, call: Callable[..., Deferred[Any]], *a: Any, **kw: Any) -> Any:
        """Make a call that fails, and check that the connection works after it."""
        failure = self.outcome(call, *a, **kw)
        self.assertIsInstance(failure, Failure)
        echo = self.outcome(self.client.callRemote, Echo, body=b"still here")
        self.assertEqual(echo["body"], b"still here")
        return failure.value

    def test_lengths(self) -> None:
        """Values around each multiple of 65,535 bytes arrive in both directions."""
        for pieces in range(4):
            for length in range(
                max(0, pieces * PIECE_SIZE - 1), pieces * PIECE_SIZE + 2
            ):
                body = b"%d" % (length % 10) * length
                answer = self.outcome(self.client.callRemote, Echo, body=body)
                self.assertEqual(answer, {"body": body, "note": None})

    def test_text(self) -> None:
        """A text arrives unchanged, whichever character a split between pieces cuts."""
        for shift in range(4):
            note = "x" * shift + "\N{SNAKE}" * 40_000
            answer = self.outcome(self.client.callRemote, Echo, body=b"", note=note)
            self.assertEqual(answer["note"], note)

    def test_withPlainDeclarations(self) -> None:
        """
        Short values are exchanged with a peer that declares C{amp.String} and
        C{amp.Unicode}.
        """
        values = {"body": b"x" * 65_535, "note": EURO}
        self.assertEqual(self.outcome(self.client.callRemote, Plain, **values), values)

    def test_otherNumbering(self) -> None:
        """A request with pieces numbered from zero is answered with our numbering."""
        pieces = {"body.0": b"x" * 65_535, "body.1": b"y" * 10}
        box = self.outcome(self.client.callRemoteString, b"Echo", **pieces)
        self.assertEqual(
            (box[b"body"], box[b"body.2"]), (pieces["body.0"], pieces["body.1"])
        )

    def test_badRequests(self) -> None:
        """
        The answer to an unreadable request has the error's code; the
        connection lives.
        """
        for command, box, code in (
            (b"Echo", {"body": b"a", "body.3": b"c"}, b"BIG_VALUE_GAP"),
            (b"Echo", {"body": b"a", "body.0": b"b"}, b"BIG_VALUE_GAP"),
            (b"Echo", {"note": b"no body"}, b"BIG_VALUE_GAP"),
            (b"Echo", {"body": b"", "note": b"\xff"}, b"BIG_VALUE_TEXT"),
            (b"Small", {"body": b"x" * 11}, b"BIG_VALUE_TOO_LONG"),
            (b"Small", {"body": b"x" * 6, "body.2": b"y" * 5}, b"BIG_VALUE_TOO_LONG"),
            (
                b"Small",
                {"items": amp.Box({b"body": b"x" * 11}).serialize()},
                b"BIG_VALUE_TOO_LONG",
            ),
            (b"Small", {"items": amp.Box({b"b": b""}).serialize()}, b"BIG_VALUE_GAP"),
            (b"Small", {"texts": b"\x00\x01\xff"}, b"BIG_VALUE_TEXT"),
            (b"Small", {"texts": b"\x00\x0b" + b"x" * 11}, b"BIG_VALUE_TOO_LONG"),
        ):
            error = self.error(self.client.callRemoteString, command, **box)
            self.assertEqual(error.errorCode, code)

    def test_declaredErrors(self) -> None:
        """
        A caller whose command declares the errors gets their classes; another gets the
        text in AMP's C{UnknownRemoteError}.
        """
        error = self.error(self.client.callRemote, Loose, body=b"x" * 11)
        self.assertIsInstance(error, amp.UnknownRemoteError)
        self.assertIn("maxSize is 10", error.description)
        error = self.error(self.client.callRemote, LooseDeclared, body=b"x" * 11)
        self.assertIsInstance(error, classOf(b"BIG_VALUE_TOO_LONG"))

    def test_badResponses(self) -> None:
        """
        An unreadable response fails the caller's Deferred with the error itself,
        although the command declares none, and the connection lives.
        """
        errors: list[tuple[list[bytes], type[StreamError]]] = [
            ([], classOf(b"BIG_VALUE_GAP")),
            ([b"body=a", b"body.3=c"], classOf(b"BIG_VALUE_GAP")),
            ([b"body=123456", b"body.2=12345"], classOf(b"BIG_VALUE_TOO_LONG")),
            ([b"body=", b"note=\xff"], classOf(b"BIG_VALUE_TEXT")),
        ]
        for keys, cls in errors:
            error = self.error(self.client.callRemote, Broken, keys=keys)
            self.assertIs(type(error), cls)
            self.assertIsInstance(error, StreamError)

    def test_badListInResponse(self) -> None:
        """
        An unreadable list in a response fails the call with the text of the error,
        under another class.
        """
        error = self.error(
            self.client.callRemote, Broken, keys=[b"body=", b"texts=\x00\x01\xff"]
        )
        self.assertIsInstance(error, amp.UnknownRemoteError)
        self.assertIn("cannot be UTF-8", error.description)

    def test_unsendable(self) -> None:
        """A value that cannot be sent makes the call raise, and nothing is sent."""
        for cls, arguments in (
            (classOf(b"BIG_VALUE_TOO_LONG"), {"body": b"x" * 11}),
            (TypeError, {"body": "text"}),
            (classOf(b"BIG_VALUE_TOO_LONG"), {"texts": ["x" * 11]}),
            (classOf(b"BIG_VALUE_TOO_LONG"), {"items": [{"body": b"x" * 11}]}),
        ):
            self.assertRaises(cls, self.client.callRemote, Small, **arguments)
        self.assertFalse(self.client.transport.getOutBuffer())
        self.assertEqual(self.outcome(self.client.callRemote, Small), {"ok": True})


class LoopbackTests(TestCase):
    """Big arguments between two stock C{amp.AMP} over TCP."""

    async def test_megabytes(self) -> None:
        """Concurrent calls with values of megabytes each get their own value back."""
        listening = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(
            Factory.forProtocol(Server)
        )
        self.addCleanup(listening.stopListening)
        client = await connectProtocol(
            TCP4ClientEndpoint(reactor, "127.0.0.1", listening.getHost().port),
            amp.AMP(),
        )
        bodies = [bytes([n]) * (2**20 + n) for n in range(4)]
        answers = [client.callRemote(Echo, body=body, note="n") for body in bodies]
        for body, answer in zip(bodies, answers, strict=True):
            self.assertEqual(await answer, {"body": body, "note": "n"})
        gone: Deferred[None] = Deferred()
        client.connectionLost = lambda reason: gone.callback(None)
        client.transport.loseConnection()
        await gone

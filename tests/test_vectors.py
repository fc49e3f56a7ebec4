# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The vectors in C{tests/vectors}, against which other implementations check themselves,
hold for this one. C{docs/vectors.md} says how to read them.
"""

from __future__ import annotations

import json
from pathlib import Path

from twisted.internet.protocol import Protocol
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from amp_stream import BigString, BigUnicode, StreamConfig, errors
from amp_stream._sansio.boxes import BoxParser, encodeBox
from amp_stream.testing import connectInMemory
from tests import makevectors
from tests.commands import Server

FOLDER = Path(__file__).with_name("vectors")


def load(name):
    """Read a file."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def bytesOf(parts):
    """Put described bytes together."""
    return b"".join(
        bytes.fromhex(part)
        if isinstance(part, str)
        else bytes.fromhex(part["repeat"]) * part["count"]
        for part in parts
    )


def valueOf(value):
    """Read a described value."""
    return value.encode("ascii") if isinstance(value, str) else bytesOf(value["bytes"])


def boxOf(box):
    """Read a described box."""
    return {key.encode("ascii"): valueOf(value) for key, value in box.items()}


def codeOf(error):
    """@return: The code of an error, or of its answer."""
    code = error.errorCode if isinstance(error, amp.RemoteAmpError) else error.code
    return code.decode("ascii")


class Fit(amp.Command):
    """A command with a value that fits into the peer's box, and comes back."""

    arguments = [(b"value", amp.String())]
    response = [(b"value", amp.String())]


class Echo(Fit):
    """A command whose value comes back."""

    commandName = b"Echo"


class VectorServer(Server):
    """A server for the calls of the conversations."""

    @Fit.responder
    def fit(self, value):
        return {"value": value}

    @Echo.responder
    def echo(self, value):
        return {"value": value}


class Recorder(Protocol):
    """The other end of a conversation, which records the bytes that it gets."""

    def __init__(self):
        self.received = b""

    def dataReceived(self, data):
        self.received += data


class FileTests(SynchronousTestCase):
    """The vector files."""

    def test_generated(self):
        """The vector files are the output of their generator."""
        for name, make in (
            ("boxes", makevectors.boxes),
            ("bigstring", makevectors.bigStrings),
            ("streams", makevectors.streams),
            ("negotiation", makevectors.negotiations),
        ):
            self.assertEqual(load(name), json.loads(json.dumps(make())), name)

    def test_all(self):
        """Every vector file is tested here."""
        self.assertEqual(
            {path.stem for path in FOLDER.glob("*.json")},
            {"boxes", "bigstring", "streams", "negotiation", "errors"},
        )


class BoxVectorTests(SynchronousTestCase):
    """The vectors of C{boxes.json}."""

    def setUp(self):
        self.vectors = load("boxes")

    def test_write(self):
        """Each box of C{boxes.json} is written as its bytes."""
        for vector in self.vectors["boxes"]:
            items = sorted(boxOf(vector["box"]).items())
            self.assertEqual(
                b"".join(encodeBox(items, vector["version"])),
                bytesOf(vector["bytes"]),
                vector["name"],
            )

    def test_read(self):
        """
        The bytes of each box in C{boxes.json} are read as that box, in one
        piece or in many.
        """
        for vector in self.vectors["boxes"]:
            data, box = bytesOf(vector["bytes"]), boxOf(vector["box"])
            for step in (len(data), 1000):
                parser = BoxParser(vector["version"], 2**24, 100)
                for start in range(0, len(data), step):
                    self.assertIsNone(parser.next())
                    parser.feed(data[start : start + step])
                self.assertEqual(parser.next(), box, vector["name"])
                self.assertTrue(parser.isBetweenBoxes)

    def test_unwritable(self):
        """The unwritable boxes of C{boxes.json} are refused with their errors."""
        for vector in self.vectors["unwritable"]:
            error = self.assertRaises(
                errors.StreamError,
                encodeBox,
                boxOf(vector["box"]).items(),
                vector["version"],
            )
            self.assertEqual(codeOf(error), vector["error"], vector["name"])

    def test_unreadable(self):
        """
        The unreadable bytes of C{boxes.json} are refused with their errors at their
        last byte, not before.
        """
        for vector in self.vectors["unreadable"]:
            parser = BoxParser(
                vector["version"], vector["maxBoxSize"], vector["maxBoxKeys"]
            )
            data = bytesOf(vector["bytes"])
            parser.feed(data[:-1])
            self.assertIsNone(parser.next())
            parser.feed(data[-1:])
            error = self.assertRaises(errors.FramingError, parser.next)
            self.assertEqual(codeOf(error), vector["error"], vector["name"])


class BigStringVectorTests(SynchronousTestCase):
    """The vectors of C{bigstring.json}."""

    def setUp(self):
        self.vectors = load("bigstring")
        self.key = self.vectors["argument"]
        self.name = self.key.encode("ascii")

    def test_write(self):
        """Each value of C{bigstring.json} is written under its keys."""
        for vector in self.vectors["written"]:
            box = amp.AmpBox()
            BigString().toBox(
                self.name, box, {self.key: valueOf(vector["value"])}, None
            )
            self.assertEqual(box, boxOf(vector["box"]), vector["name"])

    def test_read(self):
        """
        The keys of C{bigstring.json}, also in the numbering of others, are read as
        their values.
        """
        for vector in self.vectors["written"] + self.vectors["read"]:
            objects = {}
            box = amp.AmpBox(boxOf(vector["box"]))
            BigString().fromBox(self.name, box, objects, None)
            self.assertEqual(
                objects, {self.key: valueOf(vector["value"])}, vector["name"]
            )

    def test_unreadable(self):
        """The unreadable keys of C{bigstring.json} are refused with their errors."""
        for vector in self.vectors["unreadable"]:
            box = amp.AmpBox(boxOf(vector["box"]))
            with self.assertRaises(amp.RemoteAmpError) as caught:
                BigString(maxSize=vector["maxSize"]).fromBox(self.name, box, {}, None)
            self.assertEqual(codeOf(caught.exception), vector["error"], vector["name"])

    def test_unwritable(self):
        """The unwritable values of C{bigstring.json} are refused with their errors."""
        for vector in self.vectors["unwritable"]:
            objects = {self.key: valueOf(vector["value"]), **vector["others"]}
            with self.assertRaises(errors.StreamError) as caught:
                BigString(maxSize=vector["maxSize"]).toBox(
                    self.name, amp.AmpBox(), objects, None
                )
            self.assertEqual(codeOf(caught.exception), vector["error"], vector["name"])

    def test_text(self):
        """The texts of C{bigstring.json} are encoded first and then split."""
        for vector in self.vectors["text"]:
            before = vector["text"]["before"]
            text = before["repeat"] * before["count"] + vector["text"]["then"]
            box, objects = amp.AmpBox(), {}
            BigUnicode().toBox(self.name, box, {self.key: text}, None)
            self.assertEqual(box, boxOf(vector["box"]))
            BigUnicode().fromBox(self.name, box, objects, None)
            self.assertEqual(objects, {self.key: text})


class ConversationTests(SynchronousTestCase):
    """
    The conversations of C{streams.json} and C{negotiation.json}, with this package
    as C{self}.
    """

    def play(self, conversation):
        """Send the peer's boxes, and compare the boxes that come back."""
        server = VectorServer(config=StreamConfig(version=conversation["version"]))
        for name, value in conversation.get("stored", {}).items():
            server.stored[name] = valueOf(value)
        pair = connectInMemory(Recorder(), server)
        pair.flush()
        parser = BoxParser(1, 2**24, 100)
        for step in conversation["steps"]:
            where = f"{conversation['name']}: {step}"[:300]
            if "do" in step:
                self.act(server, step["do"])
                pair.flush()
                continue
            box, data = boxOf(step["box"]), bytesOf(step["bytes"])
            if step["from"] == "peer":
                pair.client.transport.write(data)
                pair.flush()
                continue
            parser.version = step["version"]
            received, pair.client.received = pair.client.received, b""
            parser.feed(received)
            said = parser.next()
            free = [key.encode("ascii") for key in step.get("free", [])]
            if not free:
                items = sorted(said.items()) if said else []
                self.assertEqual(
                    b"".join(encodeBox(items, step["version"])), data, where
                )
            for key in free:
                box.pop(key)
                self.assertIn(key, said or {}, where)
                said.pop(key)
            self.assertEqual(said, box, where)
        self.assertEqual(pair.client.received + parser.takeRest(), b"")
        self.assertFalse(server.transport.disconnecting)
        pair.lose()

    def act(self, server, what):
        """Do the application's part, or check its values."""
        for name, value in what.get("stored", {}).items():
            self.assertEqual(server.stored[name], valueOf(value))
        if "abort" in what:
            server.taken[what["abort"]].abort()

    def test_streams(self):
        """Streams begin, go on, end and fail on the wire as C{streams.json} records."""
        for conversation in load("streams"):
            self.play(conversation)

    def test_negotiation(self):
        """
        Versions are negotiated and large boxes sent on the wire as
        C{negotiation.json} records.
        """
        for conversation in load("negotiation"):
            self.play(conversation)

    def test_bytes(self):
        """The bytes of each recorded step are those of its box."""
        for conversation in load("streams") + load("negotiation"):
            for step in conversation["steps"]:
                if "do" in step:
                    continue
                items = sorted(boxOf(step["box"]).items())
                self.assertEqual(
                    b"".join(encodeBox(items, step["version"])), bytesOf(step["bytes"])
                )


class ErrorVectorTests(SynchronousTestCase):
    """The vectors of C{errors.json}."""

    def test_codes(self):
        """C{errors.json} lists every error class with its code and its parent."""
        vectors = load("errors")
        self.assertEqual(
            {vector["code"].encode("ascii") for vector in vectors},
            set(errors.STREAM_ERRORS.values()),
        )
        codes = [vector["code"] for vector in vectors]
        self.assertEqual(len(codes), len(set(codes)))
        for vector in vectors:
            error = errors.errorForCode(vector["code"].encode("ascii"))
            self.assertIsInstance(error, getattr(errors, vector["class"]))
            public = getattr(errors, vector["class"])
            code = getattr(public.__mro__[1], "code", None)
            self.assertEqual(code and code.decode("ascii"), vector["parent"])
            self.assertTrue(vector["meaning"].endswith("."))

    def test_used(self):
        """The other vector files use only codes of C{errors.json}."""
        codes = {vector["code"] for vector in load("errors")}
        for name in ("boxes", "bigstring"):
            for vectors in load(name).values():
                for vector in vectors:
                    if "error" in vector and isinstance(vector, dict):
                        self.assertIn(vector["error"], codes)

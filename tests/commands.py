# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The commands that the tests call, and protocols that answer them."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.protocols import amp

from amp_stream import Stream, StreamAMP, StreamChunk, StreamReceiver


class Store(amp.Command):
    """A command with a stream in its request."""

    arguments = [(b"name", amp.Unicode()), (b"body", Stream())]
    response = [(b"size", amp.Integer())]
    errors = {ValueError: b"VALUE"}


class StoreChecked(Store):
    """A command with a stream in its request that carries a digest."""

    commandName = b"StoreChecked"
    arguments = [(b"name", amp.Unicode()), (b"body", Stream(digest=True))]


class StoreMaybe(amp.Command):
    """A command with optional streams of bounded size in request and response."""

    arguments = [(b"body", Stream(optional=True, maxSize=100_000))]
    response = [(b"body", Stream(optional=True))]


class Fetch(amp.Command):
    """A command with a stream in its response."""

    arguments = [(b"name", amp.Unicode())]
    response = [(b"body", Stream())]
    errors = {KeyError: b"KEY"}


class Swap(amp.Command):
    """A command with two streams in its request and two in its response."""

    arguments = [(b"left", Stream()), (b"right", Stream())]
    response = [(b"left", Stream()), (b"right", Stream())]


class Ping(amp.Command):
    """A small command without streams."""

    arguments = [(b"number", amp.Integer(optional=True))]
    response = [(b"number", amp.Integer(optional=True))]


class Piece(amp.Command):
    """An application's own command that carries a chunk."""

    arguments = [(b"piece", StreamChunk()), (b"note", amp.Unicode(optional=True))]
    response = []


class Quiet(amp.Command):
    """A command with a stream that wants no answer."""

    arguments = [(b"body", Stream())]
    requiresAnswer = False


class Responders(amp.CommandLocator):
    """Responders for the commands; a test may replace C{take} to use the stream."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.streams: dict[str, object] = {}
        self.take = self.collectIt

    def collectIt(self, name, body):
        def keep(value):
            self.stored[name] = value
            return {"size": len(value)}

        self.streams[name] = body
        return body.collect().addCallback(keep)

    @Store.responder
    def store(self, name, body):
        return self.take(name, body)

    @StoreChecked.responder
    def storeChecked(self, name, body):
        return self.take(name, body)

    @StoreMaybe.responder
    def storeMaybe(self, body):
        if body is None:
            return {"body": None}
        return body.collect().addCallback(lambda value: {"body": value})

    @Fetch.responder
    def fetch(self, name):
        return {"body": self.stored[name]}

    @Swap.responder
    def swap(self, left, right):
        return {"left": right, "right": left}

    @Ping.responder
    def ping(self, number=None):
        return {"number": number}

    @Quiet.responder
    def quiet(self, body):
        self.streams["quiet"] = body
        return body.collect().addCallback(lambda value: {})


class Server(StreamAMP, Responders):
    """A protocol that is its own locator."""

    def __init__(self, *args, **kw):
        StreamAMP.__init__(self, *args, **kw)
        Responders.__init__(self)


class PlainServer(StreamReceiver, Responders, amp.AMP):
    """The smallest receiver of streams: a stock C{amp.AMP} with the mix-in."""

    def __init__(self):
        amp.AMP.__init__(self)
        Responders.__init__(self)

    @Piece.responder
    def piece(self, piece, note=None):
        return self.chunkReceived(piece)


def held() -> tuple[list[Deferred], object]:
    """Make a responder's behaviour that answers only when the test fires a Deferred."""
    waiting: list[Deferred] = []

    def take(name, body):
        waiting.append(Deferred())
        return waiting[-1]

    return waiting, take

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The commands that the tests call, and protocols that answer them."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail
from twisted.protocols import amp

from amp_stream import Stream, StreamAMP, StreamChunk, StreamReceiver
from amp_stream.errors import STREAM_ERRORS


class StreamData(amp.Command):
    """
    Bytes of a stream.

    The response says up to which offset the sender may go on without another
    answer; one that waits for each answer need not look at it.
    """

    commandName = b"stream.Data"

    arguments = [(b"data", StreamChunk())]
    response = [(b"maximum", amp.Integer(optional=True))]
    errors = STREAM_ERRORS


class MaxStreamData(amp.Command):
    """
    The receiver will take the bytes of a stream below C{maximum}, an absolute
    offset that never goes back (RFC 9000, section 19.10).
    """

    commandName = b"stream.MaxData"

    arguments = [(b"id", amp.Integer()), (b"maximum", amp.Integer())]
    errors = STREAM_ERRORS
    requiresAnswer = False


class ResetStream(amp.Command):
    """
    The sender of a stream gives up after C{final_size} bytes (RFC 9000, section
    19.4).  What was sent must not be taken for the whole.
    """

    commandName = b"stream.Reset"

    arguments = [
        (b"id", amp.Integer()),
        (b"code", amp.String()),
        (b"final_size", amp.Integer()),
    ]
    errors = STREAM_ERRORS
    requiresAnswer = False


class StopSending(amp.Command):
    """
    The receiver of a stream wants no more of it (RFC 9000, section 19.5).  The
    sender answers with L{ResetStream}.
    """

    commandName = b"stream.StopSending"

    arguments = [(b"id", amp.Integer()), (b"code", amp.String())]
    errors = STREAM_ERRORS
    requiresAnswer = False


class OfferTicket(amp.Command):
    """
    The receiver of a stream that was announced as L{OutOfBand}, which has an HTTP
    server, tells its sender how to C{PUT} the bytes there.

    An answer without an error says that the sender is going to.
    """

    commandName = b"stream.OfferTicket"

    arguments = [
        (b"id", amp.Integer()),
        (b"url", amp.String()),
        (b"token", amp.String()),
        (b"method", amp.String()),
        (b"lifetime", amp.Integer()),
        (b"max_size", amp.Integer(optional=True)),
        (b"certificate", amp.String(optional=True)),
        (b"server_name", amp.String(optional=True)),
    ]
    errors = STREAM_ERRORS


class RequestTicket(amp.Command):
    """
    The receiver of such a stream, which has no HTTP server, asks its sender, which
    has one, how to C{GET} the bytes.
    """

    commandName = b"stream.RequestTicket"

    arguments = [(b"id", amp.Integer())]
    response = OfferTicket.arguments[1:]
    errors = STREAM_ERRORS


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
        self.taken: dict[str, object] = {}
        self.take = self.collectIt

    def collectIt(self, name, body):
        def keep(value):
            self.stored[name] = value
            return {"size": len(value)}

        self.taken[name] = body
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
        self.taken["quiet"] = body
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
        return self.streams.chunkReceived(piece)


def held() -> tuple[list[Deferred], object]:
    """Make a responder's behaviour that answers only when the test fires a Deferred."""
    waiting: list[Deferred] = []

    def take(name, body):
        waiting.append(Deferred())
        return waiting[-1]

    return waiting, take


def collect(protocol, id, maxSize=None):
    """Gather a stream that belongs to no call; a Deferred fails if there is none."""
    try:
        return protocol.streams.accept(id).collect(maxSize)
    except Exception:
        return fail()

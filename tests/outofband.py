# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
What the tests of out-of-band transfers have in common: servers that end with the
test, clients that say anything over a real socket, and servers that do.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor, ssl
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.endpoints import (
    clientFromString,
    connectProtocol,
    serverFromString,
    wrapClientTLS,
)
from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.logger import eventAsText, globalLogPublisher
from twisted.protocols import amp
from zope.interface import implementer

from amp_stream import OutOfBand, StreamAMP, StreamConfig
from amp_stream.outofband import OutOfBandClient, OutOfBandServer
from tests.commands import (
    MaxStreamData,
    OfferTicket,
    Ping,
    RequestTicket,
    ResetStream,
    Responders,
    StopSending,
)
from tests.loopback import LoopbackTestCase, Watched

__all__ = [
    "LOCAL",
    "Clocked",
    "Consumer",
    "Endless",
    "Exchange",
    "Get",
    "GetChecked",
    "GetLimited",
    "Hasty",
    "Log",
    "OutOfBandTestCase",
    "Peer",
    "Puppet",
    "Put",
    "PutChecked",
    "PutLimited",
    "Raw",
    "RawServer",
    "Taker",
    "head",
    "run",
]

LOCAL = "tcp:0:interface=127.0.0.1"
LIMIT = 100_000


class Put(amp.Command):
    """A stream out of band in the request."""

    arguments = [(b"body", OutOfBand())]
    response = [(b"size", amp.Integer())]
    errors = {ValueError: b"VALUE"}


class PutChecked(Put):
    """The same with a digest."""

    commandName = b"PutChecked"
    arguments = [(b"body", OutOfBand(digest=True))]


class PutLimited(Put):
    """The same with a limit."""

    commandName = b"PutLimited"
    arguments = [(b"body", OutOfBand(maxSize=LIMIT))]


class Get(amp.Command):
    """A stream out of band in the response."""

    arguments = []
    response = [(b"body", OutOfBand())]


class GetChecked(Get):
    """The same with a digest."""

    commandName = b"GetChecked"
    response = [(b"body", OutOfBand(digest=True))]


class GetLimited(Get):
    """The same with a limit."""

    commandName = b"GetLimited"
    response = [(b"body", OutOfBand(maxSize=LIMIT))]


class Both(amp.Command):
    """Two streams out of band each way."""

    arguments = [(b"left", OutOfBand(digest=True)), (b"right", OutOfBand())]
    response = [(b"left", OutOfBand()), (b"right", OutOfBand(digest=True))]


def run(method: Any) -> Any:
    """Make a test of a coroutine."""

    def test(self: Any) -> Any:
        return ensureDeferred(method(self))

    test.__name__ = method.__name__
    test.__qualname__ = method.__qualname__
    test.__doc__ = method.__doc__
    return test


def collectBody(body: Any) -> Any:
    """Take a body, and answer with its size."""
    return body.collect().addCallback(lambda value: {"size": len(value)})


class Peer(Watched, StreamAMP, Responders):
    """
    One end of an AMP connection.

    @ivar value: What it answers with.

    @ivar bodies: The streams that it got.

    @ivar ends: Fires for each stream that it got with its value, or what it failed
        with.
    """

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        Responders.__init__(self)
        self.value: Any = b""
        self.bodies: list[Any] = []
        self.arrived: Deferred[Any] = Deferred()
        self.ended: Deferred[Any] = Deferred()
        self.takeBody: Any = collectBody

    @Put.responder
    def put(self, body):
        self.bodies.append(body)
        taken = self.takeBody(body)
        if isinstance(taken, Deferred) and not self.ended.called:
            taken.addBoth(self._end)
        if not self.arrived.called:
            self.arrived.callback(body)
        return taken

    def callRemote(self, *args, **kw):
        """Make a call whose error can wait until the test looks at it."""
        call = super().callRemote(*args, **kw)
        told: Deferred[Any] = Deferred(lambda _: call.cancel())
        call.addCallbacks(told.callback, told.errback)
        return told

    def _end(self, result):
        if not self.ended.called:
            self.ended.callback(getattr(result, "value", result))
        return result

    @PutChecked.responder
    def putChecked(self, body):
        return self.put(body)

    @PutLimited.responder
    def putLimited(self, body):
        return self.put(body)

    @Get.responder
    def get(self):
        return {"body": self.value}

    @GetChecked.responder
    def getChecked(self):
        return {"body": self.value}

    @GetLimited.responder
    def getLimited(self):
        return {"body": self.value}

    @Both.responder
    def both(self, left, right):
        both = gatherResults([left.collect(), right.collect()])
        return both.addCallback(lambda got: {"left": got[1], "right": got[0]})


class Puppet(Watched, amp.AMP):
    """
    A peer without any of this package's code for streams: it says on the wire what
    the test wants, and answers what the test wants.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ticket: Deferred[dict[str, Any]] = Deferred()
        self.asked: Deferred[int] = Deferred()
        self.answer: Any = None

    @OfferTicket.responder
    def takeTicket(self, **ticket):
        self.ticket.callback(ticket)
        return {}

    @RequestTicket.responder
    def askTicket(self, id):
        self.asked.callback(id)
        return self.answer

    @ResetStream.responder
    def resetStream(self, **values):
        return {}

    @StopSending.responder
    def stopSending(self, **values):
        return {}

    @MaxStreamData.responder
    def maxStreamData(self, **values):
        return {}

    def tell(self, command: bytes, **values: bytes) -> Deferred[Any]:
        """Send a box, and get the answer."""
        told: Deferred[Any] = Deferred()
        # What AMP does not see handled, it hangs up for.
        self.callRemoteString(command, **values).addCallbacks(
            told.callback, told.errback
        )
        return told


class Taker(OutOfBandClient):
    """
    Takes tickets for the test to use.

    @ivar ticket: Fires with the first ticket.
    """

    def __init__(self) -> None:
        super().__init__(allowPlainHTTP=True)
        self.ticket: Deferred[Any] = Deferred()
        self.carrier: Any = None

    def _get(self, ticket: Any, receiver: Any) -> None:
        self.carrier = receiver
        self.ticket.callback(ticket)

    def _put(self, ticket: Any, size: Any, sender: Any) -> Any:
        self.carrier = sender
        self.ticket.callback(ticket)
        return Deferred()


class Raw(Protocol):
    """
    One end of a connection that says what the test wants.

    @ivar received: What the other end said.

    @ivar closed: Fires with that when the connection is gone.
    """

    def __init__(self) -> None:
        self.received = bytearray()
        self.closed: Deferred[bytes] = Deferred()
        self.made: Deferred[Raw] = Deferred()
        self.reason: Any = None
        self._waiting: list[tuple[Any, Deferred[bytes]]] = []

    def connectionMade(self) -> None:
        self.made.callback(self)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        waiting, self._waiting = self._waiting, []
        for condition, deferred in waiting:
            if condition(bytes(self.received)):
                deferred.callback(bytes(self.received))
            else:
                self._waiting.append((condition, deferred))

    def connectionLost(self, reason: Any) -> None:
        self.reason = reason
        waiting, self._waiting = self._waiting, []
        for _, deferred in waiting:
            deferred.errback(reason)
        self.closed.callback(bytes(self.received))

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def until(self, condition: Any) -> Deferred[bytes]:
        """
        Wait for the other end to say something.

        @param condition: What it has to say, or a function of what it has said.
        """
        if isinstance(condition, bytes):
            text = condition

            def condition(received):
                return text in received

        if condition(bytes(self.received)):
            done: Deferred[bytes] = Deferred()
            done.callback(bytes(self.received))
            return done
        if self.closed.called:
            raise AssertionError(f"it only said {bytes(self.received)!r}")
        waiting: Deferred[bytes] = Deferred()
        self._waiting.append((condition, waiting))
        return waiting

    @property
    def status(self) -> int:
        """The status of the last response."""
        found = self.received.rfind(b"HTTP/1.1 ")
        if found < 0:
            raise AssertionError(f"there is no response in {bytes(self.received)!r}")
        return int(self.received[found + 9 : found + 12])


class RawServer(Factory):
    """
    Makes connections that do what the test says.

    @ivar url: Where.

    @ivar connections: All that there were.

    @ivar connected: Fires with the first.
    """

    noisy = False

    def __init__(self, behave: Any = lambda connection: None) -> None:
        self.behave = behave
        self.url = ""
        self.connections: list[Raw] = []
        self.connected: Deferred[Raw] = Deferred()

    def buildProtocol(self, addr: Any) -> Raw:
        raw = Raw()
        self.connections.append(raw)
        raw.made.addCallback(self._made)
        return raw

    def _made(self, raw: Raw) -> Raw:
        self.behave(raw)
        if not self.connected.called:
            self.connected.callback(raw)
        return raw


class Clocked:
    """The global reactor with a time that the test makes pass."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.callLater = clock.callLater
        self.seconds = clock.seconds
        self.getDelayedCalls = clock.getDelayedCalls

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


class Hasty:
    """
    The global reactor with delays that are a twentieth of what was asked for, for tests
    in which a real delay has to pass.
    """

    def callLater(self, seconds: float, *call: Any, **options: Any) -> Any:
        return reactor.callLater(seconds / 20, *call, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


class Exchange:
    """
    What a ticket is for, without a stream.

    @ivar messages: Those that have begun.

    @ivar errors: Why it failed.
    """

    def __init__(self, welcome: bool = True) -> None:
        self.welcome = welcome
        self.messages: list[Any] = []
        self.errors: list[BaseException] = []
        self.received = bytearray()
        self.isOver = False
        self.begun: Deferred[Any] = Deferred()
        self.over: Deferred[Any] = Deferred()

    def begin(self, message: Any) -> None:
        self.messages.append(message)
        if not self.begun.called:
            self.begun.callback(message)

    def fail(self, error: BaseException) -> None:
        self.errors.append(error)

    def data(self, data: bytes) -> None:
        self.received += data

    def ended(self) -> None:
        self.isOver = True
        self.messages[-1].finish()
        self.over.callback(None)

    def cut(self, error: BaseException) -> None:
        self.errors.append(error)
        self.over.callback(error)

    def pauseProducing(self) -> None:
        pass

    def resumeProducing(self) -> None:
        pass


@implementer(IConsumer)
class Consumer:
    """Takes one piece, and the rest when it is told to."""

    def __init__(self) -> None:
        self.received = 0
        self.producer: Any = None
        self._isFirst = True

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        self.received += len(data)
        if self._isFirst:
            self._isFirst = False
            self.producer.pauseProducing()


@implementer(IPushProducer)
class Endless:
    """Writes zeros for as long as a transport takes them."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport
        self.written = 0
        self._going = False
        self._paused = False
        self.paused: Deferred[int] = Deferred()
        transport.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        self._paused = False
        if not self._going:
            self._going = True
            reactor.callLater(0, self._go)

    def _go(self) -> None:
        self._going = False
        if not self._paused:
            self.written += 65_536
            self.transport.write(bytes(65_536))
            self.resumeProducing() if not self._paused else None

    def pauseProducing(self) -> None:
        self._paused = True

    def stopProducing(self) -> None:
        self._paused = True


class Log:
    """Everything that is logged."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.texts: list[str] = []

    def __call__(self, event: Any) -> None:
        self.events.append(event)
        self.texts.append(eventAsText(event, includeTraceback=True))
        # What a careless observer would write.
        self.texts.append(repr(event))

    def text(self) -> str:
        return "\n".join(self.texts)

    def ends(self) -> list[BaseException]:
        """
        What the streams that were announced here have failed with at their
        sender.
        """
        return [
            event["error"]
            for event in self.events
            if event.get("log_format") == "{stream} ended: {error}"
        ]


def head(
    method: str = "PUT", token: bytes | None = None, *lines: str, url: str = "/"
) -> bytes:
    """The head of a request."""
    text = [f"{method} {url} HTTP/1.1", "Host: 127.0.0.1", *lines]
    if token is not None:
        text.append(f"Authorization: Bearer {token.decode()}")
    return ("\r\n".join(text) + "\r\n\r\n").encode()


class OutOfBandTestCase(LoopbackTestCase):
    """Tests of out-of-band transfers over real sockets."""

    timeout = 30

    def setUp(self) -> None:
        self.log = Log()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)

    async def oobServer(
        self, endpoint: Any = LOCAL, plain: bool = False, **kw: Any
    ) -> OutOfBandServer:
        """Start a server."""
        server = OutOfBandServer(endpoint, plainHTTP=plain, **kw)
        server.startService()
        self.addCleanup(server.stopService)
        await server.whenListening()
        return server

    async def pair(
        self,
        listens: str = "server",
        plain: bool = True,
        oob: dict[str, Any] | None = None,
        client: Any = None,
        server: Any = None,
        hasty: bool = False,
    ) -> tuple[Peer, Peer]:
        """
        Connect two ends over TCP.

        @param listens: Which has a L{OutOfBandServer}: client, server, both or none.

        @param hasty: Whether the delays of their streams and servers are short.
        """
        ends = []
        for name, given in (("client", client), ("server", server)):
            taker = OutOfBandClient(allowPlainHTTP=plain)
            options: dict[str, Any] = {"outOfBandClient": taker}
            if listens in (name, "both"):
                options["outOfBandServer"] = await self.oobServer(
                    plain=plain, **(oob or ({"reactor": Hasty()} if hasty else {}))
                )
            if hasty:
                options["reactor"] = Hasty()
            options.update(given or {})
            ends.append(Peer(config=StreamConfig(**options)))
        await self.tcp(*ends)
        return ends[0], ends[1]

    async def raw(self, where: Any, tls: bool = False, rcvbuf: int = 0) -> Raw:
        """Connect to a L{OutOfBandServer}, or a URL, or a port."""
        if isinstance(where, OutOfBandServer):
            where = where._urlFor("")
        if isinstance(where, str):
            tls = where.startswith("https:")
            where = int(where.rstrip("/").rpartition(":")[2])
        endpoint = clientFromString(reactor, f"tcp:127.0.0.1:{where}")
        if tls:
            endpoint = wrapClientTLS(ssl.CertificateOptions(), endpoint)
        raw = Raw()
        await connectProtocol(endpoint, raw)
        self._closeLater(raw)
        return raw

    def _closeLater(self, raw: Raw) -> None:
        def close() -> Deferred[bytes]:
            if not raw.closed.called:
                raw.transport.abortConnection()
            return raw.closed

        self.addCleanup(close)

    async def ask(self, where: Any, request: bytes, tls: bool = False) -> Raw:
        """Send a request, and wait for the server to close."""
        raw = await self.raw(where, tls)
        raw.write(request)
        await raw.until(b"\r\n\r\n")
        return raw

    async def rawServer(
        self, behave: Any = lambda raw: None, identity: Any = None
    ) -> RawServer:
        """
        Listen with a server that does what the test says.

        @param identity: Its certificate, if it does TLS.
        """
        factory: Any = RawServer(behave)
        listening = factory
        if identity is not None:
            from twisted.protocols.tls import TLSMemoryBIOFactory

            listening = TLSMemoryBIOFactory(identity.options, False, factory)
        port = await serverFromString(reactor, LOCAL).listen(listening)
        self.addCleanup(port.stopListening)
        scheme = "http" if identity is None else "https"
        factory.url = f"{scheme}://127.0.0.1:{port.getHost().port}/"

        def close() -> Any:
            for raw in factory.connections:
                if not raw.closed.called and raw.transport is not None:
                    raw.transport.abortConnection()
            return gatherResults([raw.closed for raw in factory.connections])

        self.addCleanup(close)
        return factory

    async def works(self, client: Any) -> None:
        """The AMP connection is up."""
        await client.callRemote(Ping, number=1)

    async def fails(self, deferred: Any, error: type[BaseException]) -> Any:
        """
        Wait for a Deferred to fail.

        @return: Its error.
        """
        try:
            result = await deferred
        except error as failed:
            return failed
        raise AssertionError(f"it has not failed, and gave {result!r:.100}")

    def turn(self) -> Deferred[None]:
        """Let the reactor turn once."""
        turned: Deferred[None] = Deferred()
        reactor.callLater(0, turned.callback, None)
        return turned

    async def turns(self, condition: Any) -> None:
        """Let the reactor turn until something is so."""
        while not condition():
            await self.turn()

    async def settled(self, measure: Any, quiet: int = 300) -> Any:
        """
        Let the reactor turn until something changes no more.

        @return: What it is then.
        """
        last, still = measure(), 0
        while still < quiet:
            await self.turn()
            now = measure()
            still = still + 1 if now == last else 0
            last = now
        return last

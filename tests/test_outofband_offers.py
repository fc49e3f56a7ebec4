# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Offers to clients without AMP, and tickets of a server that is being started."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError, ConnectionClosed
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

from amp_stream.errors import NoOutOfBandServer, StreamAborted, StreamCancelled
from amp_stream.outofband import OutOfBandServer
from tests.outofband import LOCAL, OutOfBandTestCase, Put, head, run


def zeros() -> Any:
    """Make a source without an end."""
    while True:
        yield bytes(65_536)


class OfferTests(OutOfBandTestCase):
    """Values for clients that have a ticket and nothing else."""

    async def offer(self, source: Any) -> Any:
        """
        Make an offer over a new connection.

        @return: It, and its AMP connection.
        """
        _client, server = await self.pair("server")
        return await server.streams.offer(source), server

    async def get(self, offer: Any) -> Any:
        """Make the request that an offer is for."""
        raw = await self.raw(offer.ticket.url)
        raw.write(head("GET", offer.ticket.token))
        return raw

    async def isVoid(self, offer: Any) -> None:
        """Check that the ticket of an offer is refused."""
        raw = await self.get(offer)
        await raw.until(b"\r\n\r\n")
        self.assertEqual(raw.status, 401)

    @run
    async def test_once(self):
        """An offered value can be got once, and C{done} fires with its size."""
        offer, _ = await self.offer(b"abc" * 1000)
        self.assertIn("0 bytes sent", repr(offer))
        raw = await self.get(offer)
        received = await raw.closed
        self.assertTrue(received.endswith(b"abc" * 1000))
        self.assertEqual(await offer.done, 3000)
        self.assertIn("3000 bytes sent", repr(offer))
        await self.isVoid(offer)
        offer.abort()

    @run
    async def test_abort(self):
        """
        An aborted offer fails with the reason that was given, and its ticket is
        void.
        """
        for reasons, kind in (
            ((), StreamAborted),
            ((b"MINE",), StreamAborted),
            ((StreamCancelled("no"),), StreamCancelled),
            ((KeyError("mine"),), KeyError),
            ((Failure(KeyError("mine")),), KeyError),
        ):
            offer, _ = await self.offer(b"abc")
            offer.abort(*reasons)
            offer.abort()
            error = await self.fails(offer.done, kind)
            if reasons == (b"MINE",):
                self.assertEqual(error.code, b"MINE")
            await self.isVoid(offer)

    @run
    async def test_cancel(self):
        """Cancelling C{done} revokes the ticket."""
        offer, _ = await self.offer(b"abc")
        offer.done.cancel()
        await self.fails(offer.done, CancelledError)
        await self.isVoid(offer)

    @run
    async def test_abortInTheMiddle(self):
        """Aborting an offer whose transfer has begun closes its connection."""
        offer, _ = await self.offer(zeros())
        raw = await self.get(offer)
        await raw.until(lambda received: len(received) > 100_000)
        offer.abort(KeyError("mine"))
        await self.fails(offer.done, KeyError)
        await raw.closed

    @run
    async def test_connectionLost(self):
        """An offer ends with its AMP connection, whose reason it fails with."""
        offer, server = await self.offer(b"abc")
        server.transport.abortConnection()
        await self.fails(offer.done, ConnectionClosed)
        await self.isVoid(offer)

    @run
    async def test_noServer(self):
        """Without a server, an offer cannot be made, and says so."""
        _, server = await self.pair("none")
        await self.fails(server.streams.offer(b"abc"), NoOutOfBandServer)


@implementer(IStreamServerEndpoint)
class SlowEndpoint:
    """
    An endpoint that listens when the test says so.

    @ivar may: Fires when it may.
    """

    def __init__(self) -> None:
        self.may: Deferred[None] = Deferred()

    def listen(self, factory: Any) -> Deferred[Any]:
        """Wait, and listen."""
        endpoint = serverFromString(reactor, LOCAL)
        return self.may.addCallback(lambda ignored: endpoint.listen(factory))


class StartingTests(OutOfBandTestCase):
    """Transfers that are asked for while the server is being started."""

    async def starting(self) -> Any:
        """
        Connect two ends, one with a server that is being started.

        @return: The client, the server, and the endpoint of the HTTP server.
        """
        endpoint = SlowEndpoint()
        oob = OutOfBandServer(endpoint, plainHTTP=True)
        oob.startService()
        self.addCleanup(oob.stopService)
        client, server = await self.pair("none", server={"outOfBandServer": oob})
        return client, server, endpoint

    @run
    async def test_waits(self):
        """A transfer and an offer wait until the server listens."""
        client, server, endpoint = await self.starting()
        call = client.callRemote(Put, body=b"abc")
        await server.arrived
        offering = server.streams.offer(b"abc")
        await self.works(client)
        self.assertFalse(call.called or offering.called)
        endpoint.may.callback(None)
        self.assertEqual(await call, {"size": 3})
        offer = await offering
        offer.abort()
        await self.fails(offer.done, StreamAborted)

    @run
    async def test_fails(self):
        """If the server cannot listen, what has waited for it fails."""
        client, server, endpoint = await self.starting()
        call = client.callRemote(Put, body=b"abc")
        await server.arrived
        waiting = server.streams.config.outOfBandServer.whenListening()
        endpoint.may.errback(CannotListenError("a", 1, OSError("taken")))
        await self.fails(call, NoOutOfBandServer)
        await self.fails(waiting, CannotListenError)
        await self.works(client)

    @run
    async def test_givesUp(self):
        """A transfer that has been given up meanwhile gets no ticket."""
        client, server, endpoint = await self.starting()
        call = client.callRemote(Put, body=b"abc")
        await server.arrived
        call.cancel()
        await self.fails(call, Exception)
        await self.works(client)
        waiting = server.streams.config.outOfBandServer.whenListening()
        cancelled = server.streams.config.outOfBandServer.whenListening()
        cancelled.cancel()
        await self.fails(cancelled, Exception)
        endpoint.may.callback(None)
        await waiting
        self.assertIn("0 tickets", repr(server.streams.config.outOfBandServer))

    @run
    async def test_connectionLost(self):
        """An offer that waits fails with the reason for which AMP is lost."""
        _client, server, endpoint = await self.starting()
        offering = server.streams.offer(b"abc")
        server.transport.abortConnection()
        await self.fails(offering, ConnectionClosed)
        endpoint.may.callback(None)
        await server.streams.config.outOfBandServer.whenListening()
        self.assertIn("0 tickets", repr(server.streams.config.outOfBandServer))

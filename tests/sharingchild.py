# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
A process that shares the port of its HTTP server with others.

    python -m tests.sharingchild FD CERTIFICATE REDIS deaf|hearing

It listens for AMP at a port of its own, which it prints, and with C{FD}, an inherited
socket, for out-of-band transfers.  One that is deaf leaves every connection of that to
the others.
"""

from __future__ import annotations

import hashlib
import socket
import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString
from twisted.internet.protocol import Factory
from twisted.internet.task import react
from twisted.protocols import amp

from amp_stream import BulkServer, OutOfBand, StreamAMP
from amp_stream.outofband.redisstore import RedisTicketStore


class Digest(amp.Command):
    """
    Tell the SHA-256 of a value.
    """

    arguments = [(b"body", OutOfBand(digest=True))]
    response = [(b"sha256", amp.String())]


class Repeat(amp.Command):
    """
    Give a value of so many bytes.
    """

    arguments = [(b"size", amp.Integer())]
    response = [(b"body", OutOfBand(digest=True))]


class Offer(amp.Command):
    """
    Make a ticket for a value of so many bytes.
    """

    arguments = [(b"size", amp.Integer())]
    response = [
        (b"url", amp.Unicode()),
        (b"token", amp.String()),
        (b"certificate", amp.String()),
        (b"server_name", amp.Unicode()),
    ]


class Sharing(StreamAMP):
    """
    What answers.
    """

    @Digest.responder
    async def digest(self, body):
        found = hashlib.sha256()
        async for piece in body:
            found.update(piece)
        return {"sha256": found.digest()}

    @Repeat.responder
    def repeat(self, size):
        return {"body": b"r" * size}

    @Offer.responder
    async def makeOffer(self, size):
        offer = await self.offer(b"o" * size)
        # It fails if the connection ends before somebody uses it.
        offer.done.addErrback(lambda failure: None)
        ticket = offer.ticket
        return {
            "url": ticket.url,
            "token": ticket.token,
            "certificate": ticket.certificate,
            "server_name": ticket.serverName,
        }


async def main(reactor, fd, certificate, redis, hearing):
    """
    Serve until the process is ended.
    """
    ports = []

    class Endpoint(AdoptedStreamServerEndpoint):
        def listen(self, factory):
            listening = super().listen(factory)
            return listening.addCallback(lambda port: ports.append(port) or port)

    server = BulkServer(
        Endpoint(reactor, int(fd), socket.AF_INET),
        certificate=certificate,
        store=RedisTicketStore(path=redis),
        handover="tcp:0:interface=127.0.0.1",
    )
    server.startService()
    Sharing.bulkServer = await server.listening
    if hearing == "deaf":
        ports[0].stopReading()
    endpoint = serverFromString(reactor, "tcp:0:interface=127.0.0.1")
    port = await endpoint.listen(Factory.forProtocol(Sharing))
    print(f"AMP at {port.getHost().port}", flush=True)
    await Deferred()


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, *sys.argv[1:])))

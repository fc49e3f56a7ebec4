# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Several processes behind one port, which share their tickets in Redis.
"""

from __future__ import annotations

import hashlib
import os
import socket
from importlib.util import find_spec

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.error import ProcessTerminated
from twisted.web.client import Agent, readBody
from twisted.web.http_headers import Headers

from amp_stream import StreamAMP
from tests.processes import spawnPython
from tests.redisserver import MISSING, RedisTestCase

SIZE = 3_000_000

SKIP = MISSING
if find_spec("treq") is None or find_spec("OpenSSL") is None:
    SKIP = "amp_stream was installed without its extra, http"


def writeIdentity(path):
    """
    Make a file with a key and a certificate for 127.0.0.1.
    """
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    from amp_stream.outofband.certificates import selfSigned

    identity = selfSigned(["127.0.0.1"])
    key = identity.options.privateKey.to_cryptography_key()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with open(path, "wb") as file:
        file.write(pem + identity.certificate)


class SharingTests(RedisTestCase):
    """
    Two processes that listen with one socket.
    """

    skip = SKIP

    async def setUp(self):
        """
        Start them.
        """
        await super().setUp()
        self.certificate = self.mktemp()
        writeIdentity(self.certificate)
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.addCleanup(self.socket.close)

    async def start(self, hearing):
        """
        Start one process.

        @return: An AMP connection to it.
        """
        fd = self.socket.fileno()
        arguments = [str(fd), os.path.abspath(self.certificate), self.server.path]
        child = spawnPython("-m", "tests.sharingchild", *arguments, hearing, inherit=fd)
        child.ended.addErrback(lambda failure: failure.trap(ProcessTerminated))
        self.addCleanup(lambda: ensureDeferred(self.end(child)))
        match = await child.expect(rb"AMP at (\d+)")
        endpoint = HostnameEndpoint(reactor, "127.0.0.1", int(match[1]))
        connection = await connectProtocol(endpoint, StreamAMP())
        self.addCleanup(connection.transport.abortConnection)
        return connection

    async def end(self, child):
        """
        End a process.
        """
        if child.process.pid:
            child.process.signalProcess("KILL")
        await child.ended

    async def test_otherProcess(self):
        """
        A ticket of a process that the request cannot reach is honoured by the one that
        it does reach, in both directions, with every byte.
        """
        from tests.sharingchild import Digest, Repeat

        issuer = await self.start("deaf")
        await self.start("hearing")
        body = os.urandom(SIZE)
        answer = await issuer.callRemote(Digest, body=body)
        self.assertEqual(answer["sha256"], hashlib.sha256(body).digest())
        answer = await issuer.callRemote(Repeat, size=SIZE)
        self.assertEqual(await answer["body"].collect(), b"r" * SIZE)

    async def test_exactlyOnce(self):
        """
        Of a hundred clients that present one ticket at both processes at once, exactly
        one is served.
        """
        from amp_stream.outofband.certificates import TrustPolicy
        from tests.sharingchild import Offer

        first = await self.start("hearing")
        second = await self.start("hearing")
        for issuer in (first, second):
            ticket = await issuer.callRemote(Offer, size=SIZE)
            trust = TrustPolicy(ticket["certificate"], ticket["server_name"])
            agent = Agent(reactor, trust)
            authorisation = b"Bearer " + ticket["token"]
            headers = Headers({b"Authorization": [authorisation]})
            url = ticket["url"].encode("ascii")

            async def get(agent=agent, url=url, headers=headers):
                response = await agent.request(b"GET", url, headers)
                return response.code, len(await readBody(response))

            answers = await gatherResults([ensureDeferred(get()) for _ in range(100)])
            served = [size for code, size in answers if code == 200]
            self.assertEqual(served, [SIZE])
            self.assertEqual({code for code, _ in answers}, {200, 401})

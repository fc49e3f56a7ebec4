# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests over real sockets: TCP, TLS, UNIX, and a relay that is slow."""

from __future__ import annotations

import datetime as dt
import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import reactor, ssl
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    gatherResults,
    inlineCallbacks,
)
from twisted.internet.endpoints import (
    SSL4ClientEndpoint,
    SSL4ServerEndpoint,
    clientFromString,
    connectProtocol,
    serverFromString,
)
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import Factory
from twisted.protocols import amp
from twisted.trial.unittest import TestCase

from amp_stream import StreamAMP
from amp_stream.errors import StreamCancelled
from tests.commands import Ping, Server, Store, StoreChecked


def makeCertificate() -> ssl.PrivateCertificate:
    """Make a key and a certificate for C{localhost}."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        .sign(key, hashes.SHA256())
    )
    return ssl.PrivateCertificate.loadPEM(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


class EndpointTests(TestCase):
    """Streams and calls over every kind of connection."""

    timeout = 60

    @inlineCallbacks
    def connect(self, serverEndpoint, clientEndpointFor):
        """Listen, connect, and close both ends when the test is over."""
        servers = []
        closed = []

        class Kept(Server):
            @amp.StartTLS.responder
            def startTLS(self):
                return {"tls_localCertificate": self.certificate}

            def connectionMade(self):
                servers.append(self)
                self.gone = Deferred()
                closed.append(self.gone)

            def connectionLost(self, reason):
                super().connectionLost(reason)
                self.gone.callback(None)

        port = yield serverEndpoint.listen(Factory.forProtocol(Kept))
        self.addCleanup(port.stopListening)
        gone = Deferred()

        class Client(StreamAMP):
            def connectionLost(self, reason):
                super().connectionLost(reason)
                gone.callback(None)

        client = yield connectProtocol(clientEndpointFor(port), Client())

        @inlineCallbacks
        def close():
            if client.transport is not None:
                client.transport.abortConnection()
            yield gone
            yield gatherResults(closed)

        self.addCleanup(close)
        yield client.callRemote(Ping)
        return client, servers[0]

    def tcp(self):
        return self.connect(
            serverFromString(reactor, "tcp:0:interface=127.0.0.1"),
            lambda port: clientFromString(
                reactor, f"tcp:127.0.0.1:{port.getHost().port}"
            ),
        )

    def tls(self):
        certificate = makeCertificate()
        trusted = ssl.Certificate.loadPEM(certificate.dumpPEM())
        return self.connect(
            SSL4ServerEndpoint(
                reactor, 0, certificate.options(), interface="127.0.0.1"
            ),
            lambda port: SSL4ClientEndpoint(
                reactor,
                "127.0.0.1",
                port.getHost().port,
                ssl.optionsForClientTLS("localhost", trusted),
            ),
        )

    def unix(self):
        # The path of a UNIX socket must be short.
        path = os.path.relpath(self.mktemp())
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return self.connect(
            serverFromString(reactor, f"unix:{path}"),
            lambda port: clientFromString(reactor, f"unix:{path}"),
        )

    @inlineCallbacks
    def exchange(self, connecting):
        """Send several streams, with small calls between them."""
        client, server = yield connecting
        values = [os.urandom(size) for size in (0, 65_536, 3_000_000, 5_000_000)]
        calls = [
            client.callRemote(StoreChecked, name=str(number), body=value)
            for number, value in enumerate(values)
        ]
        for number in range(20):
            answer = yield client.callRemote(Ping, number=number)
            self.assertEqual(answer, {"number": number})
        for number, call in enumerate(calls):
            answer = yield call
            self.assertEqual(answer, {"size": len(values[number])})
            self.assertEqual(server.stored[str(number)], values[number])

    def test_tcp(self):
        """Streams cross a TCP connection."""
        return self.exchange(self.tcp())

    def test_tls(self):
        """Streams cross a TLS connection."""
        return self.exchange(self.tls())

    def test_unix(self):
        """Streams cross a UNIX socket."""
        return self.exchange(self.unix())

    @inlineCallbacks
    def cancelled(self, connecting):
        client, server = yield connecting
        started = Deferred()
        ended = Deferred()

        def take(name, body):
            started.callback(body)
            body.collect().addErrback(lambda failure: ended.callback(failure.value))
            return Deferred()

        server.take = take

        def endless():
            while True:
                yield bytes(50_000)

        call = client.callRemote(Store, name="x", body=endless())
        yield started
        call.cancel()
        yield self.assertFailure(call, CancelledError)
        error = yield ended
        self.assertIsInstance(error, StreamCancelled)
        answer = yield client.callRemote(Ping, number=1)
        self.assertEqual(answer, {"number": 1})

    def test_cancelTcp(self):
        """A cancelled call stops its stream at the other end of a TCP connection."""
        return self.cancelled(self.tcp())

    def test_cancelTls(self):
        """A cancelled call stops its stream at the other end of a TLS connection."""
        return self.cancelled(self.tls())

    @inlineCallbacks
    def test_startTLS(self):
        """
        C{startTLS} works while streams and large arguments travel in both directions,
        and all of them arrive.
        """
        client, server = yield self.tcp()
        certificate = makeCertificate()
        type(server).certificate = certificate
        up = os.urandom(4_000_000)
        down = os.urandom(4_000_000)
        storing = [
            client.callRemote(Store, name=f"stream {number}", body=up)
            for number in range(3)
        ]
        storing.append(client.callRemote(Store, name="x" * 3_000_000, body=up))
        stream = server.streams.send(down)
        fetched = client.streams.accept(stream.id).collect()
        yield client.callRemote(Ping)
        yield client.callRemote(amp.StartTLS)
        yield client.callRemote(Ping)
        self.assertTrue(ISSLTransport.providedBy(client.transport))
        for stored in storing:
            answer = yield stored
            self.assertEqual(answer, {"size": len(up)})
        self.assertEqual({len(value) for value in server.stored.values()}, {len(up)})
        value = yield fetched
        self.assertEqual(value, down)

    @inlineCallbacks
    def closedWhileSending(self, connecting):
        client, server = yield connecting

        def endless():
            while True:
                yield bytes(50_000)

        stream = client.streams.send(endless())
        taken = server.streams.accept(stream.id).collect()
        yield client.callRemote(Ping)
        client.transport.loseConnection()
        yield self.assertFailure(stream.done, ConnectionDone)
        yield self.assertFailure(taken, ConnectionDone, ConnectionLost)

    def test_closeTcp(self):
        """C{loseConnection} closes a TCP connection with a stream in progress."""
        return self.closedWhileSending(self.tcp())

    def test_closeTls(self):
        """C{loseConnection} closes a TLS connection with a stream in progress."""
        return self.closedWhileSending(self.tls())

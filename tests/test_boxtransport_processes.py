# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""A value of 256 MiB in an ordinary C{amp.String} argument, between two processes."""

from __future__ import annotations

import contextlib
import signal

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.error import ProcessTerminated
from twisted.protocols import amp
from twisted.trial.unittest import TestCase

from amp_stream import Limits, StreamAMP, StreamConfig
from tests.processes import spawnPython

SIZE = 256 * 2**20
LIMITS = "Limits(maxBoxSize=300 * 2**20)"

SERVER = f"""
from twisted.internet import endpoints, protocol, reactor
from twisted.protocols import amp
from amp_stream import Limits, StreamAMP, StreamConfig
from tests.test_boxtransport_processes import Measure, Ping

class Server(StreamAMP):
    streamConfig = StreamConfig(limits={LIMITS})

    @Measure.responder
    def measure(self, value):
        return {{"size": len(value)}}

    @Ping.responder
    def ping(self):
        return {{}}

def listening(port):
    print(f"port={{port.getHost().port}}", flush=True)

endpoint = endpoints.serverFromString(reactor, "tcp:0:interface=127.0.0.1")
endpoint.listen(protocol.Factory.forProtocol(Server)).addCallback(listening)
reactor.run()
"""


class Measure(amp.Command):
    """A command of stock arguments."""

    arguments = [(b"value", amp.String())]
    response = [(b"size", amp.Integer())]


class Ping(amp.Command):
    """A small call."""


class Client(StreamAMP):
    streamConfig = StreamConfig(limits=Limits(maxBoxSize=300 * 2**20))

    def connectionMade(self):
        self.gone = Deferred()

    def connectionLost(self, reason):
        super().connectionLost(reason)
        self.gone.callback(None)


class LargeArgumentTests(TestCase):
    """A large argument over a connection of two processes."""

    timeout = 120

    @inlineCallbacks
    def test_smallCallsMeanwhile(self):
        """
        While a value of 256 MiB travels in a C{amp.String}, at least 100 small calls
        are made and answered, one after the other; on a fast machine, up to four such
        values travel.
        """
        child = spawnPython("-c", SERVER)
        try:
            match = yield child.expect(rb"port=(\d+)")
            endpoint = clientFromString(reactor, f"tcp:127.0.0.1:{int(match[1])}")
            client = yield connectProtocol(endpoint, Client())
            yield client.callRemote(Ping)
            answered = values = 0
            while answered < 100 and values < 4:
                large = client.callRemote(Measure, value=bytes(SIZE))
                values += 1
                while not large.called:
                    yield client.callRemote(Ping)
                    answered += not large.called
                answer = yield large
            client.transport.loseConnection()
            yield client.gone
        finally:
            child.process.signalProcess(signal.SIGTERM)
            with contextlib.suppress(ProcessTerminated):
                yield child.ended
        self.assertEqual(answer, {"size": SIZE})
        self.assertGreaterEqual(answered, 100)

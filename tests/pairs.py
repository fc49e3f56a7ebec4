# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Two connected protocols that send streams, and checks of the state they leave."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from amp_stream import IncomingStream, OutgoingStream, StreamConfig
from amp_stream.testing import ConnectedPair, connectInMemory
from tests.commands import Ping, Server

__all__ = ["VALUE", "PausingConsumer", "StreamTestCase", "TestProducer", "pieces"]

VALUE = bytes(range(251)) * 1000
"""
A value of a few chunks, in which no byte can be taken for another.
"""


def pieces(value: bytes, size: int) -> list[bytes]:
    """Cut a value."""
    return [value[start : start + size] for start in range(0, len(value), size)]


class StreamTestCase(SynchronousTestCase):
    """
    Tests with a pair of protocols.

    The connection must survive everything that a test does to its streams, and keep no
    trace of them.
    """

    def setUp(self) -> None:
        self.pair: ConnectedPair[Server, Server] = connectInMemory(
            Server(config=StreamConfig(version=1)),
            Server(config=StreamConfig(version=1)),
        )
        self.addCleanup(self.checkNothingLeft)

    def checkNothingLeft(self) -> None:
        """Check that the connection works, and that nothing is left after its end."""
        if self.pair.client.transport is not None:
            self.pair.flush()
            ping = self.pair.client.callRemote(Ping)
            self.pair.flush()
            self.successResultOf(ping)
            self.assertIsNone(self.pair.client.transport.producer)
            self.pair.lose()
        self.assertEqual(self.pair.clock.getDelayedCalls(), [])

    def send(self, source: Any, **kw: Any) -> tuple[OutgoingStream, IncomingStream]:
        """
        Send a stream that the receiver does not take yet.

        @return: Its two ends.
        """
        sending = self.pair.client.streams.send(source, **kw)
        return sending, self.pair.server.streams.accept(sending.id)

    def transfer(self, source: Any, **kw: Any) -> bytes:
        """
        Send a stream and collect it.

        @return: The bytes that arrived.
        """
        sending, receiving = self.send(source, **kw)
        collected = receiving.collect()
        self.pair.flush()
        value = self.successResultOf(collected)
        self.assertEqual(self.successResultOf(sending.done), len(value))
        return value

    def fails(self, source: Any, error: type[Exception], **kw: Any) -> Exception:
        """
        Send a stream that fails on its way.

        @return: The sender's exception.
        """
        sending, receiving = self.send(source, **kw)
        collected = receiving.collect()
        self.pair.flush()
        self.failureResultOf(collected, error)
        return self.failureResultOf(sending.done, error).value


@implementer(IBodyProducer)
class TestProducer:
    """
    A body producer that runs a test's callbacks.

    @ivar calls: The names of its called methods, in order.
    """

    __test__ = False

    def __init__(self, length: Any = UNKNOWN_LENGTH) -> None:
        self.length = length
        self.calls: list[str] = []
        self.consumer: Any = None
        self.done: Any = None
        self.onStart: Any = lambda: None
        self.onResume: Any = lambda: None

    def startProducing(self, consumer: Any) -> Any:
        self.calls.append("start")
        self.consumer = consumer
        self.onStart()
        return self.done

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")
        self.onResume()

    def stopProducing(self) -> None:
        self.calls.append("stop")


@implementer(IConsumer)
class PausingConsumer:
    """A consumer that pauses its producer at once, and after each piece."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.producer: Any = None
        self.calls: list[str] = []

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.calls.append("register")
        if not (streaming and IPushProducer.providedBy(producer)):
            raise RuntimeError("a stream is a push producer")
        self.producer = producer
        producer.pauseProducing()

    def unregisterProducer(self) -> None:
        self.calls.append("unregister")
        self.producer = None

    def write(self, data: bytes) -> None:
        self.data += data
        self.producer.pauseProducing()

    def resume(self) -> None:
        """Take one piece."""
        self.producer.resumeProducing()

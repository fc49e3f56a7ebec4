# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Tests for L{amp_stream._incoming} and L{amp_stream._incoming}: what takes the bytes of
a stream, over a connection in memory.
"""

from __future__ import annotations

import errno
import io
import os
from unittest import skipUnless

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IPushProducer, ITransport
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from twisted.protocols.basic import LineReceiver
from twisted.protocols.ftp import FileConsumer
from twisted.python.filepath import FilePath

from amp_stream import Limits
from amp_stream.errors import (
    ConsumerFailed,
    StreamAborted,
    StreamCancelled,
    StreamRefused,
    StreamTooLong,
    UsageError,
)
from tests.pairs import VALUE, PausingConsumer, StreamTestCase, pieces

WINDOW = Limits().initialWindow


class Oops(Exception):
    """What a consumer raises."""


class ConsumerTestCase(StreamTestCase):
    """Tests of what happens at both ends when a consumer fails."""

    def assertStopped(self, sending, written, error, told=ConsumerFailed):
        """Check that a consumer failed, and that the sender was told."""
        self.pair.flush()
        self.failureResultOf(written, error)
        self.failureResultOf(sending.done, told)


class CollectTests(ConsumerTestCase):
    """The whole value in memory."""

    def test_values(self):
        """A value of any size, none included, is collected whole."""
        for value in (b"", b"a", VALUE, VALUE * 10):
            self.assertEqual(self.transfer(value), value)

    def test_atMost(self):
        """A value of exactly C{maxSize} bytes is collected."""
        for value in (b"", b"abc"):
            _, receiving = self.send(iter([value]))
            collected = receiving.collect(maxSize=len(value))
            self.pair.flush()
            self.assertEqual(self.successResultOf(collected), value)

    def test_announcedTooLong(self):
        """
        A value that was announced as longer than C{maxSize} is refused before a
        byte of it has arrived.
        """
        sending = self.pair.client.streams.send(b"abcd")
        receiving = self.pair.server.streams.accept(sending.id, size=4)
        error = self.failureResultOf(receiving.collect(maxSize=3), StreamTooLong)
        self.assertEqual(receiving.received, 0)
        self.assertIn("maxSize", str(error.value))
        self.pair.flush()
        self.failureResultOf(sending.done, StreamTooLong)

    def test_growsTooLong(self):
        """
        A value of unknown size is refused as soon as it is longer than C{maxSize};
        no part of it is taken for the whole, not even if that happens with its last
        piece.
        """
        for source in (pieces(VALUE, 10_000), [b"a" * 100_001], [b"a" * 60_000] * 2):
            sending, receiving = self.send(source)
            collected = receiving.collect(maxSize=100_000)
            self.assertStopped(sending, collected, StreamTooLong, StreamTooLong)
            self.failureResultOf(receiving.collect(), StreamTooLong)

    def test_onePieceTooLong(self):
        """The same is true of a value that comes in one piece."""
        sending, receiving = self.send([b"abcd"])
        collected = receiving.collect(maxSize=3)
        self.assertStopped(sending, collected, StreamTooLong, StreamTooLong)

    def test_alreadyTooLong(self):
        """And of one that is there already."""
        sending, receiving = self.send(b"abcd")
        self.pair.flush()
        self.failureResultOf(receiving.collect(maxSize=3), StreamTooLong)
        self.assertEqual(self.successResultOf(sending.done), 4)

    def test_cancelled(self):
        """Cancelling stops the stream at both ends."""
        sending, receiving = self.send(bytes(5_000_000))
        collected = receiving.collect()
        self.pair.step()
        collected.cancel()
        self.assertStopped(sending, collected, CancelledError, StreamCancelled)
        self.failureResultOf(receiving.collect(), StreamCancelled)


class ShortFile(io.RawIOBase):
    """An unbuffered file that takes a few bytes at once."""

    def __init__(self):
        super().__init__()
        self.data = bytearray()

    def write(self, data):
        self.data += data[:1000]
        return len(data[:1000])


class FileTests(ConsumerTestCase):
    """Files."""

    def writeTo(self, file, source=VALUE):
        """
        Send a value, and write it to a file.

        @return: The sender's end, and what C{writeTo} returned.
        """
        sending, receiving = self.send(source)
        written = receiving.writeTo(file)
        self.pair.flush()
        return sending, written

    def test_file(self):
        """A file, buffered or not, gets every byte, and is not closed."""
        for buffering in (-1, 0):
            path = FilePath(self.mktemp())
            with open(path.path, "wb", buffering=buffering) as file:
                _, written = self.writeTo(file)
                self.assertEqual(self.successResultOf(written), len(VALUE))
                self.assertFalse(file.closed)
            self.assertEqual(path.getContent(), VALUE)

    def test_empty(self):
        """A stream of no bytes writes nothing and succeeds."""
        file = io.BytesIO()
        _, written = self.writeTo(file, b"")
        self.assertEqual(self.successResultOf(written), 0)
        self.assertEqual(file.getvalue(), b"")

    def test_shortWrites(self):
        """A file that takes less than it is given is given the rest."""
        file = ShortFile()
        _, written = self.writeTo(file)
        self.assertEqual(self.successResultOf(written), len(VALUE))
        self.assertEqual(file.data, VALUE)

    def test_saysNothing(self):
        """
        Something that does not return a number takes everything that it is given:
        C{None}, or a truth value that could be mistaken for the number 1.
        """
        for result in (None, True, "ok"):
            data = bytearray()

            class Sink:
                def write(self, piece, data=data, result=result):
                    data.extend(piece)
                    return result

            _, written = self.writeTo(Sink())
            self.assertEqual(self.successResultOf(written), len(VALUE))
            self.assertEqual(data, VALUE)

    def test_takesNothing(self):
        """
        A file that takes no bytes at all fails, and bytes are not lost in silence:
        one that does not block, for example.
        """

        class Full(ShortFile):
            result = 0

            def write(self, data):
                return self.result

        for result in (0, None):
            file = Full()
            file.result = result
            self.assertStopped(*self.writeTo(file, bytes(5_000_000)), BlockingIOError)

    def test_fullPipe(self):
        """A pipe that does not block fails when it is full."""
        readEnd, writeEnd = os.pipe()
        self.addCleanup(os.close, readEnd)
        os.set_blocking(writeEnd, False)
        with open(writeEnd, "wb", buffering=0) as file:
            self.assertStopped(*self.writeTo(file, bytes(5_000_000)), BlockingIOError)

    @skipUnless(os.path.exists("/dev/full"), "there is no /dev/full")
    def test_fullDisk(self):
        """
        On a full disk the caller gets the C{OSError}, and the sender
        L{ConsumerFailed}.
        """
        with open("/dev/full", "wb", buffering=0) as file:
            sending, written = self.writeTo(file, bytes(5_000_000))
        error = self.failureResultOf(written, OSError).value
        self.assertEqual(error.errno, errno.ENOSPC)
        self.failureResultOf(sending.done, ConsumerFailed)
        self.assertLess(sending.sent, 5_000_000)

    def test_lastWriteFails(self):
        """
        A file that fails with the last bytes fails, and the sender hears of it,
        unless it was told before that its bytes have arrived.
        """

        class Last(io.BytesIO):
            def write(self, data):
                raise Oops

        self.assertStopped(*self.writeTo(Last(), b"abc"), Oops)
        sending, receiving = self.send(VALUE)
        self.pair.flush()
        self.assertEqual(self.successResultOf(sending.done), len(VALUE))
        self.failureResultOf(receiving.writeTo(Last()), Oops)
        self.failureResultOf(receiving.collect(), ConsumerFailed)

    def test_closedFile(self):
        """A closed file fails, and stops the sender."""
        file = io.BytesIO()
        file.close()
        self.assertStopped(*self.writeTo(file, bytes(5_000_000)), ValueError)

    def test_hiddenText(self):
        """So does a file of text that does not look like one."""

        class Text:
            def write(self, data):
                return io.StringIO().write(data)

        self.assertStopped(*self.writeTo(Text(), bytes(5_000_000)), TypeError)

    def test_refused(self):
        """
        What cannot be written to, like a file of text, or a path, is refused at
        once, and the stream is there for something else.
        """
        _, receiving = self.send(VALUE)
        with open(os.devnull, "w") as text:
            for refused in (text, io.StringIO(), FilePath("x"), "x", None):
                error = self.failureResultOf(receiving.writeTo(refused), UsageError)
                self.assertIn("stream", str(error.value))
        collected = receiving.collect()
        self.pair.flush()
        self.assertEqual(self.successResultOf(collected), VALUE)

    def test_cancelled(self):
        """Cancelling stops the stream at both ends; nothing more is written."""
        file = io.BytesIO()
        sending, receiving = self.send(bytes(5_000_000))
        written = receiving.writeTo(file)
        self.pair.step()
        written.cancel()
        size = file.tell()
        self.assertStopped(sending, written, CancelledError, StreamCancelled)
        self.assertEqual(file.tell(), size)

    def test_cancelledByTheFile(self):
        """So it is when the file itself cancels, whatever else it does then."""

        class Cancels(io.BytesIO):
            def write(self, data):
                written.cancel()
                raise Oops

        sending, receiving = self.send(bytes(5_000_000))
        written = receiving.writeTo(Cancels())
        self.assertStopped(sending, written, CancelledError, StreamCancelled)
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)

    def test_ownCode(self):
        """A file may say with which code the stream is to be stopped."""

        class Choosy(io.BytesIO):
            def write(self, data):
                raise StreamRefused("no, thank you")

        sending, written = self.writeTo(Choosy(), bytes(5_000_000))
        self.assertStopped(sending, written, StreamRefused, StreamRefused)


class ConsumerTests(ConsumerTestCase):
    """Twisted's consumers."""

    def test_values(self):
        """
        A consumer gets every byte of a value, between registering and
        unregistering.
        """
        for value in (b"", b"abc", VALUE):
            consumer = PausingConsumer()
            _, receiving = self.send(value)
            written = receiving.writeTo(consumer)
            self.pair.flush()
            self.assertNoResult(written)
            while consumer.producer is not None:
                consumer.resume()
                self.pair.flush()
            self.assertEqual(self.successResultOf(written), len(value))
            self.assertEqual(consumer.data, value)
            self.assertEqual(consumer.calls, ["register", "unregister"])

    def test_pausedStopsTheSender(self):
        """
        While a consumer pauses, no more than a window of bytes is sent; it gets
        nothing until it resumes.
        """
        consumer = PausingConsumer()
        sending, receiving = self.send(bytes(5_000_000))
        written = receiving.writeTo(consumer)
        self.pair.flush()
        self.assertEqual(len(consumer.data), 0)
        self.assertEqual((sending.sent, receiving.received), (WINDOW, WINDOW))
        while consumer.producer is not None:
            consumer.resume()
            self.pair.flush()
            self.assertLessEqual(sending.sent - len(consumer.data), WINDOW)
        self.assertEqual(self.successResultOf(written), 5_000_000)

    def test_transport(self):
        """A transport is a consumer."""
        transport = StringTransport()
        _, receiving = self.send(VALUE)
        written = receiving.writeTo(transport)
        self.assertTrue(IPushProducer.providedBy(transport.producer))
        self.pair.flush()
        self.assertEqual(self.successResultOf(written), len(VALUE))
        self.assertEqual(transport.value(), VALUE)
        self.assertIsNone(transport.producer)

    def test_closesWhenUnregistered(self):
        """
        A consumer that closes its file when its producer leaves does so before the
        Deferred fires, and what it raises then is what the Deferred fails with.
        """

        class Late(io.BytesIO):
            def close(self):
                raise Oops

        file = io.BytesIO()
        for file, error in ((io.BytesIO(), None), (Late(), Oops)):
            _, receiving = self.send(VALUE)
            written = receiving.writeTo(FileConsumer(file))
            self.pair.flush()
            if error is None:
                self.assertEqual(self.successResultOf(written), len(VALUE))
                self.assertTrue(file.closed)
            else:
                self.failureResultOf(written, error)

    def test_resumesWhileItIsWrittenTo(self):
        """
        A consumer that pauses and resumes within each write gets the bytes in their
        order, and without deep recursion.
        """
        depth = 0

        class Nervous(PausingConsumer):
            def write(self, data):
                nonlocal depth
                depth += 1
                case.assertEqual(depth, 1)
                super().write(data)
                self.producer.resumeProducing()
                depth -= 1

        case = self
        consumer = Nervous()
        _, receiving = self.send(VALUE)
        self.pair.flush()
        written = receiving.writeTo(consumer)
        consumer.resume()
        self.assertEqual(self.successResultOf(written), len(VALUE))
        self.assertEqual(consumer.data, VALUE)

    def test_stops(self):
        """A consumer that wants no more stops the stream at both ends, at any time."""
        consumer = PausingConsumer()
        sending, receiving = self.send(bytes(5_000_000))
        written = receiving.writeTo(consumer)
        self.pair.flush()
        consumer.producer.stopProducing()
        self.assertStopped(sending, written, StreamAborted, StreamAborted)
        self.assertEqual(consumer.calls, ["register", "unregister"])

    def test_stopsAtOnce(self):
        """Even as soon as it is told of its producer, as a closed transport does."""

        class Closed(PausingConsumer):
            def registerProducer(self, producer, streaming):
                super().registerProducer(producer, streaming)
                producer.stopProducing()

        consumer = Closed()
        sending, receiving = self.send(bytes(5_000_000))
        written = receiving.writeTo(consumer)
        self.assertStopped(sending, written, StreamAborted, StreamAborted)
        self.assertEqual(consumer.calls, ["register", "unregister"])

    def test_tooLate(self):
        """What a consumer tells its producer after the end has no effect."""
        consumer = PausingConsumer()
        _, receiving = self.send(b"abc")
        written = receiving.writeTo(consumer)
        producer = consumer.producer
        self.pair.flush()
        consumer.resume()
        consumer.resume()
        self.assertEqual(self.successResultOf(written), 3)
        producer.pauseProducing()
        producer.resumeProducing()
        producer.stopProducing()

    def test_busy(self):
        """
        A consumer that has a producer already refuses another; the stream is there
        for something else, and does not stay paused.
        """
        transport = StringTransport()
        transport.registerProducer(object(), True)
        for consumer in (transport, PausesAndRefuses()):
            _, receiving = self.send(VALUE)
            self.failureResultOf(receiving.writeTo(consumer), RuntimeError)
            collected = receiving.collect()
            self.pair.flush()
            self.assertEqual(self.successResultOf(collected), VALUE)
        self.assertIsNotNone(transport.producer)

    def test_writeFails(self):
        """
        What the consumer raises, the Deferred fails with; it is unregistered, and
        the sender told.
        """

        class Broken(PausingConsumer):
            def write(self, data):
                raise Oops

        consumer = Broken()
        sending, receiving = self.send(bytes(5_000_000))
        written = receiving.writeTo(consumer)
        consumer.resume()
        self.assertStopped(sending, written, Oops)
        self.assertEqual(consumer.calls, ["register", "unregister"])
        error = self.failureResultOf(receiving.collect(), ConsumerFailed).value
        self.assertIsInstance(error.__cause__, Oops)

    def test_unregisterFails(self):
        """
        What it raises when it is unregistered after a failure is logged, and the
        Deferred fails with the failure.
        """

        class Broken(PausingConsumer):
            def unregisterProducer(self):
                raise Oops

        sending, receiving = self.send(bytes(5_000_000))
        written = receiving.writeTo(Broken())
        receiving.abort()
        self.assertStopped(sending, written, StreamAborted, StreamAborted)
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)
        sending, receiving = self.send(bytes(5_000_000))
        written = receiving.writeTo(Broken())
        written.cancel()
        self.assertStopped(sending, written, CancelledError, StreamCancelled)
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)

    def test_cancelled(self):
        """Cancelling stops the stream at both ends, and unregisters."""
        consumer = PausingConsumer()
        sending, receiving = self.send(bytes(5_000_000))
        written = receiving.writeTo(consumer)
        self.pair.flush()
        written.cancel()
        self.assertStopped(sending, written, CancelledError, StreamCancelled)
        self.assertEqual(consumer.calls, ["register", "unregister"])


class PausesAndRefuses(PausingConsumer):
    """A consumer that pauses a producer before it refuses it."""

    def registerProducer(self, producer, streaming):
        producer.pauseProducing()
        raise RuntimeError


class Recording(Protocol):
    """A protocol that does what the test says."""

    def __init__(self):
        self.data = bytearray()
        self.ends = []
        self.inside = 0
        self.onConnection = lambda: None
        self.onData = lambda: None

    def connectionMade(self):
        self.inside += 1
        self.onConnection()
        self.inside -= 1

    def dataReceived(self, data):
        self.inside += 1
        self.data += data
        try:
            self.onData()
        finally:
            self.inside -= 1

    def connectionLost(self, reason):
        self.ends.append(reason)
        self.endedInside = self.inside


class DeliverTests(ConsumerTestCase):
    """Protocols."""

    def deliver(self, source=b"abc" * 1_000_000):
        """@return: The sender's end, the receiver's, and a protocol for it."""
        return (*self.send(source), Recording())

    def test_values(self):
        """A protocol gets every byte of a value, and then C{ConnectionDone}."""
        for value in (b"", b"abc", VALUE):
            _, receiving, protocol = self.deliver(value)
            receiving.deliverTo(protocol)
            self.assertTrue(protocol.connected)
            self.pair.flush()
            self.assertEqual(protocol.data, value)
            self.assertEqual([end.type for end in protocol.ends], [ConnectionDone])

    def test_transport(self):
        """Its transport says what it is, and cannot be written to."""
        _, receiving, protocol = self.deliver(b"")
        receiving.deliverTo(protocol)
        transport = protocol.transport
        self.assertTrue(ITransport.providedBy(transport))
        self.assertTrue(IPushProducer.providedBy(transport))
        for address in (transport.getPeer(), transport.getHost()):
            self.assertTrue(IAddress.providedBy(address))
            self.assertIn("stream", repr(address))
        with self.assertRaises(UsageError):
            transport.write(b"abc")
        with self.assertRaises(UsageError):
            transport.writeSequence([b"abc"])

    def test_pauses(self):
        """A protocol that pauses its transport stops the sender."""
        sending, receiving, protocol = self.deliver(bytes(5_000_000))
        receiving.deliverTo(protocol)
        protocol.onData = protocol.transport.pauseProducing
        self.pair.flush()
        self.assertLessEqual(sending.sent - len(protocol.data), WINDOW)
        protocol.onData = lambda: None
        protocol.transport.resumeProducing()
        self.pair.flush()
        self.assertEqual(len(protocol.data), 5_000_000)
        self.assertEqual([end.type for end in protocol.ends], [ConnectionDone])

    def test_aborts(self):
        """
        A protocol can close its connection in each of the ways that it knows: the
        stream stops at both ends, and the protocol hears that it is not complete.
        """
        for name in ("loseConnection", "abortConnection", "stopProducing"):
            sending, receiving, protocol = self.deliver()
            receiving.deliverTo(protocol)
            self.pair.step()
            self.assertFalse(protocol.transport.disconnecting)
            getattr(protocol.transport, name)()
            self.assertTrue(protocol.transport.disconnecting)
            self.pair.flush()
            self.assertEqual([end.type for end in protocol.ends], [StreamAborted])
            self.failureResultOf(sending.done, StreamAborted)
            self.assertLess(len(protocol.data), 3_000_000)

    def test_abortsInside(self):
        """
        A protocol that closes its connection while it is connected, or gets bytes,
        hears of the end when it has returned, as from any transport.
        """
        for name in ("onConnection", "onData"):
            sending, receiving, protocol = self.deliver()
            setattr(protocol, name, lambda p=protocol: p.transport.loseConnection())
            receiving.deliverTo(protocol)
            self.pair.flush()
            self.assertEqual([end.type for end in protocol.ends], [StreamAborted])
            self.assertEqual(protocol.endedInside, 0)
            self.failureResultOf(sending.done, StreamAborted)

    def test_lineReceiver(self):
        """A C{LineReceiver} that closes its connection after a line gets no other."""
        lines = []

        class Lines(LineReceiver):
            def lineReceived(self, line):
                lines.append(line)
                self.transport.loseConnection()

        sending, receiving = self.send(b"first\r\nsecond\r\nthird\r\n")
        receiving.deliverTo(Lines())
        self.pair.flush()
        self.assertEqual(lines, [b"first"])
        sending.done.addErrback(lambda failure: failure.trap(StreamAborted))

    def test_fails(self):
        """A stream that fails ends the protocol's connection with its failure."""
        sending, receiving, protocol = self.deliver()
        receiving.deliverTo(protocol)
        sending.abort(b"STREAM_REFUSED")
        self.pair.flush()
        self.assertEqual([end.type for end in protocol.ends], [StreamRefused])
        self.failureResultOf(sending.done, StreamRefused)

    def test_failed(self):
        """
        A protocol that is given a stream that has failed is connected, and hears of
        that.
        """
        sending, receiving, protocol = self.deliver()
        receiving.abort()
        receiving.deliverTo(protocol)
        self.assertTrue(protocol.connected)
        self.assertEqual([end.type for end in protocol.ends], [StreamAborted])
        self.pair.flush()
        self.failureResultOf(sending.done, StreamAborted)

    def test_connectionLost(self):
        """So does a lost connection."""
        sending, receiving, protocol = self.deliver()
        receiving.deliverTo(protocol)
        self.pair.step()
        self.pair.lose()
        self.assertEqual([end.type for end in protocol.ends], [ConnectionDone])
        self.failureResultOf(sending.done, ConnectionDone)

    def test_dataReceivedRaises(self):
        """
        What C{dataReceived} raises is logged, tells the sender, and is the reason
        of C{connectionLost}.
        """
        sending, receiving, protocol = self.deliver()

        def fails():
            raise Oops

        protocol.onData = fails
        receiving.deliverTo(protocol)
        self.pair.flush()
        self.assertEqual([end.type for end in protocol.ends], [Oops])
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)
        self.failureResultOf(sending.done, ConsumerFailed)

    def test_writes(self):
        """
        For the sender, a protocol that writes to its connection is just a consumer
        that fails.
        """
        sending, receiving, protocol = self.deliver()
        protocol.onData = lambda: protocol.transport.write(b"abc")
        receiving.deliverTo(protocol)
        self.pair.flush()
        self.assertEqual([end.type for end in protocol.ends], [UsageError])
        self.assertEqual(len(self.flushLoggedErrors(UsageError)), 1)
        self.failureResultOf(sending.done, ConsumerFailed)

    def test_makeConnectionRaises(self):
        """
        What C{makeConnection} raises, C{deliverTo} raises, and the stream is there
        for something else.
        """
        _, receiving, protocol = self.deliver(VALUE)

        def fails():
            raise Oops

        protocol.onConnection = fails
        with self.assertRaises(Oops):
            receiving.deliverTo(protocol)
        collected = receiving.collect()
        self.pair.flush()
        self.assertEqual(self.successResultOf(collected), VALUE)

    def test_connectionLostRaises(self):
        """
        What C{connectionLost} raises is logged; the sender is told that its bytes
        have arrived, and other streams that end with the connection hear of it.
        """

        def fails(reason):
            raise Oops

        sending, receiving, protocol = self.deliver(VALUE)
        protocol.connectionLost = fails
        receiving.deliverTo(protocol)
        self.pair.flush()
        self.assertEqual(self.successResultOf(sending.done), len(VALUE))
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)

        sending, receiving, protocol = self.deliver()
        protocol.connectionLost = fails
        receiving.deliverTo(protocol)
        others = [self.send(bytes(5_000_000)) for _ in range(2)]
        collected = [other[1].collect() for other in others]
        self.pair.lose()
        for result in (sending.done, *collected, *[other[0].done for other in others]):
            self.failureResultOf(result, ConnectionDone)
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests for L{amp_stream._incoming}: the consumers of a stream."""

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
    UsageError,
)
from tests.codes import classOf
from tests.pairs import VALUE, PausingConsumer, StreamTestCase, pieces

WINDOW = Limits().initialWindow


class Oops(Exception):
    """The exception of a failing consumer."""


class ConsumerTestCase(StreamTestCase):
    """Tests of both ends when a consumer fails."""

    def assertStopped(self, sending, written, error, told=ConsumerFailed):
        """Check that a consumer failed, and that the sender was told."""
        self.pair.flush()
        self.failureResultOf(written, error)
        self.failureResultOf(sending.done, told)


class CollectTests(ConsumerTestCase):
    """C{collect}: the whole value in memory."""

    def test_values(self):
        """C{collect} returns a value of any size, the empty one included."""
        for value in (b"", b"a", VALUE, VALUE * 10):
            self.assertEqual(self.transfer(value), value)

    def test_atMost(self):
        """C{collect} returns a value of exactly C{maxSize} bytes."""
        for value in (b"", b"abc"):
            _, receiving = self.send(iter([value]))
            collected = receiving.collect(maxSize=len(value))
            self.pair.flush()
            self.assertEqual(self.successResultOf(collected), value)

    def test_announcedTooLong(self):
        """
        C{collect} refuses a value announced as over C{maxSize} before its
        first byte.
        """
        sending = self.pair.client.streams.send(b"abcd")
        receiving = self.pair.server.streams.accept(sending.id, size=4)
        error = self.failureResultOf(
            receiving.collect(maxSize=3), classOf(b"STREAM_TOO_LONG")
        )
        self.assertEqual(receiving.received, 0)
        self.assertIn("maxSize", str(error.value))
        self.pair.flush()
        self.failureResultOf(sending.done, classOf(b"STREAM_TOO_LONG"))

    def test_growsTooLong(self):
        """
        C{collect} fails as soon as a value of unknown size exceeds C{maxSize}, also
        with its last piece, and returns no part of it.
        """
        for source in (pieces(VALUE, 10_000), [b"a" * 100_001], [b"a" * 60_000] * 2):
            sending, receiving = self.send(source)
            collected = receiving.collect(maxSize=100_000)
            self.assertStopped(
                sending,
                collected,
                classOf(b"STREAM_TOO_LONG"),
                classOf(b"STREAM_TOO_LONG"),
            )
            self.failureResultOf(receiving.collect(), classOf(b"STREAM_TOO_LONG"))

    def test_onePieceTooLong(self):
        """C{collect} fails for a value over C{maxSize} that arrives in one piece."""
        sending, receiving = self.send([b"abcd"])
        collected = receiving.collect(maxSize=3)
        self.assertStopped(
            sending, collected, classOf(b"STREAM_TOO_LONG"), classOf(b"STREAM_TOO_LONG")
        )

    def test_alreadyTooLong(self):
        """C{collect} fails for a value over C{maxSize} that has arrived before."""
        sending, receiving = self.send(b"abcd")
        self.pair.flush()
        self.failureResultOf(receiving.collect(maxSize=3), classOf(b"STREAM_TOO_LONG"))
        self.assertEqual(self.successResultOf(sending.done), 4)

    def test_cancelled(self):
        """Cancelling C{collect} stops the stream at both ends."""
        sending, receiving = self.send(bytes(5_000_000))
        collected = receiving.collect()
        self.pair.step()
        collected.cancel()
        self.assertStopped(sending, collected, CancelledError, StreamCancelled)
        self.failureResultOf(receiving.collect(), StreamCancelled)


class ShortFile(io.RawIOBase):
    """An unbuffered file that writes a few bytes at once."""

    def __init__(self):
        super().__init__()
        self.data = bytearray()

    def write(self, data):
        self.data += data[:1000]
        return len(data[:1000])


class FileTests(ConsumerTestCase):
    """C{writeTo} with files."""

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
        """
        C{writeTo} writes every byte to a file, buffered or not, without
        closing it.
        """
        for buffering in (-1, 0):
            path = FilePath(self.mktemp())
            with open(path.path, "wb", buffering=buffering) as file:
                _, written = self.writeTo(file)
                self.assertEqual(self.successResultOf(written), len(VALUE))
                self.assertFalse(file.closed)
            self.assertEqual(path.getContent(), VALUE)

    def test_empty(self):
        """C{writeTo} of an empty stream writes nothing and succeeds."""
        file = io.BytesIO()
        _, written = self.writeTo(file, b"")
        self.assertEqual(self.successResultOf(written), 0)
        self.assertEqual(file.getvalue(), b"")

    def test_shortWrites(self):
        """After a short write, C{writeTo} writes the rest."""
        file = ShortFile()
        _, written = self.writeTo(file)
        self.assertEqual(self.successResultOf(written), len(VALUE))
        self.assertEqual(file.data, VALUE)

    def test_saysNothing(self):
        """
        An object whose C{write} returns C{None}, C{True} or text has taken
        every byte.
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
        C{writeTo} fails when the C{write} of a raw file returns 0 or C{None}, so that
        no byte is lost silently.
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
        """C{writeTo} fails when a non-blocking pipe is full."""
        readEnd, writeEnd = os.pipe()
        self.addCleanup(os.close, readEnd)
        os.set_blocking(writeEnd, False)
        with open(writeEnd, "wb", buffering=0) as file:
            self.assertStopped(*self.writeTo(file, bytes(5_000_000)), BlockingIOError)

    @skipUnless(os.path.exists("/dev/full"), "there is no /dev/full")
    def test_fullDisk(self):
        """On a full disk the caller gets C{OSError}, the sender L{ConsumerFailed}."""
        with open("/dev/full", "wb", buffering=0) as file:
            sending, written = self.writeTo(file, bytes(5_000_000))
        error = self.failureResultOf(written, OSError).value
        self.assertEqual(error.errno, errno.ENOSPC)
        self.failureResultOf(sending.done, ConsumerFailed)
        self.assertLess(sending.sent, 5_000_000)

    def test_lastWriteFails(self):
        """
        A file that fails with the last bytes fails C{writeTo}; the sender hears of it,
        unless it was told before that all bytes have arrived.
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
        """C{writeTo} with a closed file fails, and stops the sender."""
        file = io.BytesIO()
        file.close()
        self.assertStopped(*self.writeTo(file, bytes(5_000_000)), ValueError)

    def test_hiddenText(self):
        """A text file that looks binary fails C{writeTo}, and stops the sender."""

        class Text:
            def write(self, data):
                return io.StringIO().write(data)

        self.assertStopped(*self.writeTo(Text(), bytes(5_000_000)), TypeError)

    def test_refused(self):
        """
        C{writeTo} refuses a text file or a path at once, and the stream
        stays free.
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
        """
        Cancelling C{writeTo} stops the stream at both ends and writes no
        more bytes.
        """
        file = io.BytesIO()
        sending, receiving = self.send(bytes(5_000_000))
        written = receiving.writeTo(file)
        self.pair.step()
        written.cancel()
        size = file.tell()
        self.assertStopped(sending, written, CancelledError, StreamCancelled)
        self.assertEqual(file.tell(), size)

    def test_cancelledByTheFile(self):
        """A file that cancels C{writeTo} while it is written to stops the stream."""

        class Cancels(io.BytesIO):
            def write(self, data):
                written.cancel()
                raise Oops

        sending, receiving = self.send(bytes(5_000_000))
        written = receiving.writeTo(Cancels())
        self.assertStopped(sending, written, CancelledError, StreamCancelled)
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)

    def test_ownCode(self):
        """A file's exception can choose the code with which the stream is stopped."""

        class Choosy(io.BytesIO):
            def write(self, data):
                raise StreamRefused("no, thank you")

        sending, written = self.writeTo(Choosy(), bytes(5_000_000))
        self.assertStopped(sending, written, StreamRefused, StreamRefused)


class ConsumerTests(ConsumerTestCase):
    """C{writeTo} with Twisted's consumers."""

    def test_values(self):
        """A consumer gets every byte between registering and unregistering."""
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
        While a consumer pauses, it gets nothing, and the peer sends a
        window at most.
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
        """C{writeTo} can write to a Twisted transport."""
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
        A consumer's C{unregisterProducer}, which may close its file, runs before the
        Deferred fires; its exception fails the Deferred.
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
        A consumer that pauses and resumes within each write gets the bytes in order,
        without deep recursion.
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
        """A consumer can stop the stream at both ends at any time."""
        consumer = PausingConsumer()
        sending, receiving = self.send(bytes(5_000_000))
        written = receiving.writeTo(consumer)
        self.pair.flush()
        consumer.producer.stopProducing()
        self.assertStopped(sending, written, StreamAborted, StreamAborted)
        self.assertEqual(consumer.calls, ["register", "unregister"])

    def test_stopsAtOnce(self):
        """
        A consumer can stop the stream while it registers the producer, as a closed
        transport does.
        """

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
        """Calls that a consumer makes to its producer after the end have no effect."""
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
        A consumer that has a producer already refuses another; the stream can be taken
        by another consumer, and is not left paused.
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
        An exception from a consumer's C{write} fails the Deferred, unregisters the
        producer, and is told to the sender.
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
        An exception from C{unregisterProducer} after a failure is logged; the Deferred
        fails with the first failure.
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
        """Cancelling stops the stream at both ends, and unregisters the producer."""
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
    """A protocol that records its events and runs a test's callbacks."""

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
    """C{deliverTo}: streams for protocols."""

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
        """The transport of C{deliverTo} names the stream, and refuses writes."""
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
        Each way in which a protocol can close its transport stops the stream at both
        ends, and C{connectionLost} says that it is incomplete.
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
        A protocol that closes its transport in C{connectionMade} or C{dataReceived}
        gets C{connectionLost} after it has returned, as from any transport.
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
        """A stream that fails calls C{connectionLost} with its failure."""
        sending, receiving, protocol = self.deliver()
        receiving.deliverTo(protocol)
        sending.abort(b"STREAM_REFUSED")
        self.pair.flush()
        self.assertEqual([end.type for end in protocol.ends], [StreamRefused])
        self.failureResultOf(sending.done, StreamRefused)

    def test_failed(self):
        """
        A protocol that is given a failed stream is connected, and then gets
        C{connectionLost} with the failure.
        """
        sending, receiving, protocol = self.deliver()
        receiving.abort()
        receiving.deliverTo(protocol)
        self.assertTrue(protocol.connected)
        self.assertEqual([end.type for end in protocol.ends], [StreamAborted])
        self.pair.flush()
        self.failureResultOf(sending.done, StreamAborted)

    def test_connectionLost(self):
        """A lost connection calls the protocol's C{connectionLost}."""
        sending, receiving, protocol = self.deliver()
        receiving.deliverTo(protocol)
        self.pair.step()
        self.pair.lose()
        self.assertEqual([end.type for end in protocol.ends], [ConnectionDone])
        self.failureResultOf(sending.done, ConnectionDone)

    def test_dataReceivedRaises(self):
        """
        An exception from C{dataReceived} is logged, sent to the peer, and the reason of
        C{connectionLost}.
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
        A protocol that writes to its transport fails the stream like
        any consumer.
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
        C{deliverTo} raises an exception from C{makeConnection}, and the stream can be
        taken by another.
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
        An exception from C{connectionLost} is logged; the sender is told that all bytes
        arrived, and other streams of a lost connection still hear of it.
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

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
A stream as the application that receives it sees it.

L{IncomingStream} hands the bytes of a stream to one reader: to a file or a consumer, as
one value, or piece by piece to C{async for}.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IProtocol,
    IPushProducer,
    ITransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from amp_stream._sansio.frames import errorToAbortWith
from amp_stream._sansio.reassembly import PieceQueue
from amp_stream._sansio.stream import InlineStream, ReceiveState, ReceiveStream
from amp_stream.errors import (
    ConsumerFailed,
    StreamCancelled,
    StreamError,
    StreamRefused,
    StreamsUnsupported,
    UsageError,
    ValueTooLong,
)

_log = Logger()


class WritableFile(Protocol):
    """A binary file, or enough of one."""

    def write(self, data: bytes, /) -> object:
        """Write; an C{int} that is returned says how much was written."""


class Consumer(Protocol):
    """
    What takes the bytes of one stream.  After L{finish} or L{fail} it is not
    called again.
    """

    def start(self) -> None:
        """The stream is yours, unless this raises an exception."""

    def write(self, data: bytes) -> None:
        """Take the next bytes.  If this raises an exception, the stream is stopped."""

    def finish(self) -> None:
        """Those were all."""

    def fail(self, failure: Failure) -> None:
        """There will be no complete value."""


@implementer(IPushProducer)
class Flow:
    """A stream as the producer that an L{IConsumer} sees."""

    def __init__(self, stream: IncomingStream) -> None:
        self._stream = stream

    def pauseProducing(self) -> None:
        """Let the bytes wait."""
        self._stream.pause()

    def resumeProducing(self) -> None:
        """Let them flow again."""
        self._stream.resume()

    def stopProducing(self) -> None:
        """Want no more."""
        self._stream.abort()


class _DeferredConsumer:
    """The part of a consumer that has a Deferred to fire."""

    def __init__(self, stream: IncomingStream) -> None:
        self._stream = stream
        self.deferred: Deferred[Any] = Deferred(self._cancel)

    def start(self) -> None:
        """Nothing to do."""

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        raise NotImplementedError

    def result(self) -> object:
        """@return: What to fire the Deferred with, once those were all."""
        raise NotImplementedError

    def release(self) -> None:
        """Let go of what is held."""

    def finish(self) -> None:
        """Fire the Deferred."""
        try:
            result = self.result()
            self.release()
        except Exception:
            self.deferred.errback()
        else:
            self.deferred.callback(result)

    def fail(self, failure: Failure) -> None:
        """Fail the Deferred."""
        self._letGo()
        self.deferred.errback(failure)

    def _cancel(self, deferred: Deferred[Any]) -> None:
        self._letGo()
        self._stream.giveUp(self)

    def _letGo(self) -> None:
        try:
            self.release()
        except Exception:
            _log.failure("while letting go of the consumer of a stream that failed")


class CollectConsumer(_DeferredConsumer):
    """Gathers the whole value in memory."""

    def __init__(self, stream: IncomingStream, maxSize: int) -> None:
        """@param maxSize: The most to take (bytes)."""
        super().__init__(stream)
        self._maxSize = maxSize
        self._pieces = PieceQueue()

    def check(self, size: int) -> None:
        """@raise ValueTooLong: If C{size} is more than may be taken."""
        if size > self._maxSize:
            raise ValueTooLong(
                f"the value has {size} bytes or more, and {self._maxSize} may be "
                "collected; pass collect(maxSize=...), or use writeTo() or async for"
            )

    def write(self, data: bytes) -> None:
        """Keep the bytes."""
        self.check(self._pieces.size + len(data))
        self._pieces.append(data)

    def result(self) -> bytes:
        """@return: The value."""
        return self._pieces.join()

    def release(self) -> None:
        """Forget the bytes."""
        self._pieces.clear()


class _WritingConsumer(_DeferredConsumer):
    """Counts what it writes."""

    def __init__(self, stream: IncomingStream) -> None:
        super().__init__(stream)
        self._written = 0

    def result(self) -> int:
        """@return: How many bytes were written."""
        return self._written


class FileConsumer(_WritingConsumer):
    """Writes to a file."""

    def __init__(self, stream: IncomingStream, file: WritableFile) -> None:
        super().__init__(stream)
        self._file = file

    def start(self) -> None:
        """@raise UsageError: If it is not a file that can be written to."""
        file: object = self._file
        if isinstance(file, io.TextIOBase):
            raise UsageError("a stream carries bytes: open the file as wb")
        if not callable(getattr(file, "write", None)):
            raise UsageError(
                "a stream is written to an IConsumer or to something with a write "
                f"method, not to {type(file).__name__}"
            )

    def write(self, data: bytes) -> None:
        """Write all of it: an unbuffered file may take less at once."""
        rest = data
        while rest:
            count = self._file.write(rest)
            if count is None and isinstance(self._file, io.RawIOBase):
                count = 0
            if not isinstance(count, int) or isinstance(count, bool):
                # It does not say, so it takes everything.
                break
            if count <= 0:
                raise BlockingIOError("the file takes no bytes: it must block")
            rest = rest[count:]
        self._written += len(data)


class WriteConsumer(_WritingConsumer):
    """Writes to an L{IConsumer}, which may pause the stream."""

    def __init__(self, stream: IncomingStream, consumer: IConsumer) -> None:
        super().__init__(stream)
        self._consumer = consumer
        self._registered = False

    def start(self) -> None:
        """Register with the consumer."""
        self._consumer.registerProducer(Flow(self._stream), True)
        self._registered = True

    def write(self, data: bytes) -> None:
        """Pass the bytes on."""
        self._consumer.write(data)
        self._written += len(data)

    def release(self) -> None:
        """Unregister."""
        if self._registered:
            self._registered = False
            self._consumer.unregisterProducer()


class ProtocolConsumer:
    """Feeds a protocol."""

    def __init__(self, stream: IncomingStream, protocol: IProtocol) -> None:
        self._wire = _StreamTransport(stream)
        self._protocol = protocol
        self._feeding = False
        self._end: Failure | None = None

    def start(self) -> None:
        """Connect the protocol."""
        self._protocol.makeConnection(self._wire)

    def write(self, data: bytes) -> None:
        """
        Pass the bytes on.  If the protocol closes its connection because of them,
        it hears of its end afterwards, as from any transport.
        """
        self._feeding = True
        try:
            self._protocol.dataReceived(data)
        except Exception:
            # There is no Deferred that would say so.
            _log.failure("while a protocol took the bytes of a stream")
            raise
        finally:
            self._feeding = False
            if self._end is not None:
                self.fail(self._end)

    def finish(self) -> None:
        """Say that those were all."""
        self.fail(Failure(ConnectionDone()))

    def fail(self, failure: Failure) -> None:
        """Say why there are no more."""
        self._wire.disconnecting = True
        if self._feeding:
            self._end = failure
            return
        try:
            self._protocol.connectionLost(failure)
        except Exception:
            _log.failure("while a protocol was told that a stream has ended")


@implementer(ITransport)
class _StreamTransport(Flow):
    """A stream as the transport of a protocol.  There is nothing to write to."""

    disconnecting = False

    def write(self, data: bytes) -> None:
        """@raise UsageError: Always: a stream has one direction."""
        raise UsageError("an incoming stream cannot be written to")

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """@raise UsageError: Always: a stream has one direction."""
        self.write(b"")

    def loseConnection(self) -> None:
        """Want no more."""
        self.disconnecting = True
        self._stream.abort()

    abortConnection = loseConnection

    def getPeer(self) -> IAddress:
        """@return: An address that says no more than what this is."""
        return _StreamAddress()

    getHost = getPeer


@implementer(IAddress)
class _StreamAddress:
    """Where a stream comes from."""

    def __repr__(self) -> str:
        return "<an AMP stream>"


class IteratorConsumer:
    """Hands over one piece each time that the reader asks."""

    def __init__(self, stream: IncomingStream) -> None:
        self._stream = stream
        self._waiter: Deferred[bytes | None] | None = None
        self._end: Failure | None = None
        self._finished = False

    def start(self) -> None:
        """Wait until the reader asks."""
        self._stream.pause()

    def ask(self) -> Deferred[bytes | None]:
        """
        @return: A Deferred that fires with the next piece, or with L{None} after
            the last.

        @raise UsageError: If one is waiting already.
        """
        if self._waiter is not None:
            raise UsageError("take the pieces of a stream one after the other")
        if self._end is not None:
            return fail(self._end)
        if self._finished:
            return succeed(None)
        waiter = self._waiter = Deferred(self._stop)
        self._stream.resume()
        return waiter

    def close(self) -> None:
        """Want no more, and stop the stream."""
        if self._waiter is None:
            self._stop(None)
        else:
            self._waiter.cancel()

    def leave(self) -> None:
        """Want no more, and leave the rest to another."""
        self._stream.detach(self)

    def write(self, data: bytes) -> None:
        """Hand the bytes over, and wait until the reader asks again."""
        self._stream.pause()
        for waiter in self._take():
            waiter.callback(data)

    def finish(self) -> None:
        """Say that those were all."""
        self._finished = True
        for waiter in self._take():
            waiter.callback(None)

    def fail(self, failure: Failure) -> None:
        """Say why there are no more, now or when the reader asks."""
        self._end = failure
        for waiter in self._take():
            waiter.errback(failure)

    def _stop(self, waiter: Deferred[bytes | None] | None) -> None:
        self._waiter = None
        if self._end is None:
            self._end = Failure(StreamCancelled())
        self._stream.giveUp(self)

    def _take(self) -> list[Deferred[bytes | None]]:
        waiter, self._waiter = self._waiter, None
        return [] if waiter is None else [waiter]


class StreamIterator:
    """What C{async for} holds on to.  When it lets go, the stream is free again."""

    def __init__(self, iteration: IteratorConsumer) -> None:
        self._iteration = iteration

    def __aiter__(self) -> StreamIterator:
        return self

    async def __anext__(self) -> bytes:
        data = await self._iteration.ask()
        if data is None:
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        """
        Stop the stream at both ends, unless it has ended.  That is how a stream
        that is the source of another ends with that.
        """
        self._iteration.close()

    def __del__(self) -> None:
        self._iteration.leave()


class IncomingStream:
    """
    Bytes that a peer is sending.

    Take them with one of L{collect}, L{writeTo}, L{deliverTo} or C{async for}.
    Until then, and whenever what takes them pauses, they wait; when the window is
    full, the sender waits too.
    """

    def __init__(self, stream: ReceiveStream | InlineStream, side: Any) -> None:
        """
        Streams come from L{StreamConnection.accept}, or as the value of an
        argument that a command declares as L{Stream}; do not make them.
        """
        self._stream = stream
        self._side = side
        self._consumer: Consumer | None = None
        self._failure: Failure | None = None
        self._paused = False
        self._delivering = False
        self._callEnded = False

    def __repr__(self) -> str:
        size = "?" if self.size is None else self.size
        return f"<IncomingStream {self.id}: {self.received} of {size} bytes>"

    @property
    def id(self) -> int:
        """The number of the stream, chosen by its sender."""
        return self._stream.id

    @property
    def size(self) -> int | None:
        """How many bytes it will have (bytes), or L{None} while that is not known."""
        return self._stream.size

    @property
    def received(self) -> int:
        """How many bytes have arrived (bytes), consumed or not."""
        return self._stream.received

    def collect(self, maxSize: int | None = None) -> Deferred[bytes]:
        """
        Gather the whole value in memory.

        @param maxSize: The most to take (bytes); C{Limits.maxCollectSize} where
            it is L{None}.

        @return: A Deferred that fires with the value.  It fails with
            L{ValueTooLong} if there is more than C{maxSize}, with another
            L{StreamError} if there will be no complete value, and with the
            reason if the connection is lost.  Cancelling it stops the stream at
            both ends.
        """
        most = self._side.collectSize if maxSize is None else maxSize
        gatherer = CollectConsumer(self, most)
        if self.size is not None and self._isFree:
            try:
                gatherer.check(self.size)
            except StreamError as error:
                self._stop(error)
        return self._attachResult(gatherer)

    def writeTo(self, fileOrConsumer: WritableFile | IConsumer) -> Deferred[int]:
        """
        Write the bytes to something as they arrive.

        @param fileOrConsumer: An C{IConsumer}, which may pause the stream; or a
            binary file that blocks, or anything with a C{write} method like that.
            It is not closed.

        @return: A Deferred that fires with how many bytes were written (bytes)
            once the last has been.  It fails like that of L{collect}, or with
            what C{write} raised, which stops the stream.  Cancelling it stops the
            stream at both ends.
        """
        if IConsumer.providedBy(fileOrConsumer):
            return self._attachResult(WriteConsumer(self, fileOrConsumer))
        return self._attachResult(FileConsumer(self, fileOrConsumer))

    def deliverTo(self, protocol: IProtocol) -> None:
        """
        Feed the bytes to a protocol, as C{twisted.web} does with the
        body of a response.

        @param protocol: Its C{makeConnection} gets a transport that can pause and
            abort the stream, its C{dataReceived} the bytes.  At the end its
            C{connectionLost} gets C{ConnectionDone}, or the failure that means
            that the value is not complete.

        @raise UsageError: If the stream has a consumer already.

        @raise Exception: What C{makeConnection} raises; the stream is free then.
        """
        self._attach(ProtocolConsumer(self, protocol))

    def __aiter__(self) -> StreamIterator:
        """
        Take the bytes one piece after the other.  Leaving the loop early leaves
        the rest to the next reader of the stream; cancelling the Deferred of a
        coroutine that waits for a piece stops the stream at both ends.

        @raise UsageError: If the stream has a consumer already.
        """
        iteration = IteratorConsumer(self)
        self._attach(iteration)
        return StreamIterator(iteration)

    def abort(self, code: bytes = b"STREAM_ABORTED") -> None:
        """
        Want no more of it.  The sender is told, and whatever takes the bytes
        fails with the error of the code.  Does nothing once the stream has ended.

        @param code: An error code, of L{amp_stream.errors} or of your own (1 to
            255 bytes).
        """
        self._stop(errorToAbortWith(code))

    # What follows is for the rest of the package.

    def deliver(self) -> None:
        """Bytes have arrived, or may flow again: pass them on."""
        if self._delivering:
            return
        self._delivering = True
        try:
            while (consumer := self._consumer) is not None and not self._paused:
                data = self._side.read(self._stream)
                if not data:
                    break
                try:
                    consumer.write(data)
                except Exception:
                    self._consumerFailed(consumer, Failure())
                if self._stream.wouldBlock:
                    break
        finally:
            self._delivering = False
        if self._stream.state is ReceiveState.DATA_READ:
            for consumer in self._release():
                consumer.finish()

    def fail(self, failure: Failure) -> None:
        """There will be no complete value."""
        if self._failure is None:
            self._failure = failure
        for consumer in self._release():
            consumer.fail(failure)

    def lost(self, reason: Failure, isComplete: bool) -> None:
        """
        The connection is gone.  A complete value can still be taken: its sender
        was told that it has arrived.
        """
        if not isComplete:
            self.fail(reason)

    def callEnded(self, error: StreamError | None) -> None:
        """
        The call that this stream came with has been answered.

        @param error: Why it failed, or L{None}.  Without a failure the stream
            goes on if something is taking it; otherwise nobody wants it.
        """
        self._callEnded = True
        if error is not None:
            self._stop(error)
        elif self._consumer is None and not self._stream.isEnded:
            self._stop(StreamRefused())

    def pause(self) -> None:
        """Let the bytes wait."""
        self._paused = True

    def resume(self) -> None:
        """Let them flow again."""
        self._paused = False
        self.deliver()

    def giveUp(self, consumer: Consumer) -> None:
        """A consumer wants no more, because a Deferred was cancelled."""
        if self._consumer is consumer:
            self._release()
            self._stop(StreamCancelled())

    def detach(self, consumer: Consumer) -> None:
        """A consumer will take no more; another may take the rest."""
        if self._consumer is consumer:
            self._release()
            if self._callEnded:
                self._stop(StreamRefused())

    @property
    def _isFree(self) -> bool:
        return self._consumer is None and (
            self._stream.state is not ReceiveState.DATA_READ
        )

    def _attach(self, consumer: Consumer) -> None:
        """
        Give the stream to a consumer, or the failure if it has failed.

        @raise UsageError: If it has another, or has been read.

        @raise Exception: What the consumer raises when it starts.
        """
        if not self._isFree:
            raise UsageError("a stream is read once: this has, or had, a consumer")
        self._paused = False
        consumer.start()
        if self._failure is not None:
            consumer.fail(self._failure)
            return
        self._consumer = consumer
        self._stream.hasConsumer = True
        self.deliver()

    def _attachResult(
        self, consumer: CollectConsumer | FileConsumer | WriteConsumer
    ) -> Deferred[Any]:
        try:
            self._attach(consumer)
        except Exception:
            consumer.fail(Failure())
        return consumer.deferred

    def _release(self) -> list[Consumer]:
        """@return: The consumer, if there is one, which is it no longer."""
        consumer, self._consumer = self._consumer, None
        self._paused = False
        self._stream.hasConsumer = False
        return [] if consumer is None else [consumer]

    def _consumerFailed(self, consumer: Consumer, failure: Failure) -> None:
        """A consumer could not take bytes.  It may say with which code to stop."""
        if self._consumer is not consumer:
            _log.failure("in a consumer that wants no more of its stream", failure)
            return
        self._release()
        error = failure.value
        if not isinstance(error, StreamError) or isinstance(
            error, (UsageError, StreamsUnsupported)
        ):
            error = ConsumerFailed()
            error.__cause__ = failure.value
        self._stop(error)
        consumer.fail(failure)

    def _stop(self, error: StreamError) -> None:
        if self._stream.isEnded or self._failure is not None:
            return
        self._side.stop(self._stream, error)
        self.fail(Failure(error))

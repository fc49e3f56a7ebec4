# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Where the bytes of an incoming stream may go.
"""

from __future__ import annotations

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
from twisted.python.failure import Failure
from zope.interface import implementer

from amp_stream._sansio.pieces import PieceQueue
from amp_stream.errors import StreamBusy, StreamCancelled, StreamTooLong, UsageError

__all__ = [
    "Consumer",
    "ConsumerWriter",
    "Delivery",
    "FileWriter",
    "Flow",
    "Gatherer",
    "Iteration",
    "Pausable",
    "StreamIterator",
    "WritableFile",
]


class WritableFile(Protocol):
    """
    A binary file, or enough of one.
    """

    def write(self, data: bytes, /) -> object:
        """
        Write; an C{int} that is returned says how much was written.
        """


class Consumer(Protocol):
    """
    What takes the bytes of one stream.  After L{finish} or L{fail} it is not
    called again.
    """

    def start(self) -> None:
        """
        The stream is yours.
        """

    def write(self, data: bytes) -> None:
        """
        Take the next bytes.
        """

    def finish(self) -> None:
        """
        Those were all.
        """

    def fail(self, failure: Failure) -> None:
        """
        There will be no complete value.
        """


class Pausable(Protocol):
    """
    What a consumer may do to its stream.
    """

    def pause(self) -> None:
        """
        Let the bytes wait.
        """

    def resume(self) -> None:
        """
        Let them flow again.
        """

    def abort(self) -> None:
        """
        Want no more.
        """

    def giveUp(self) -> None:
        """
        Want no more, because a Deferred was cancelled.
        """

    def detach(self, consumer: Consumer) -> None:
        """
        Leave the rest to another.
        """


@implementer(IPushProducer)
class Flow:
    """
    A stream as the producer that an L{IConsumer} sees.
    """

    def __init__(self, stream: Pausable) -> None:
        self._stream = stream

    def pauseProducing(self) -> None:
        """
        Let the bytes wait.
        """
        self._stream.pause()

    def resumeProducing(self) -> None:
        """
        Let them flow again.
        """
        self._stream.resume()

    def stopProducing(self) -> None:
        """
        Want no more.
        """
        self._stream.abort()


@implementer(ITransport)
class _Wire(Flow):
    """
    A stream as the transport of a protocol.  There is nothing to write to.
    """

    disconnecting = False

    def write(self, data: bytes) -> None:
        """
        @raise UsageError: Always: a stream has one direction.
        """
        raise UsageError("an incoming stream cannot be written to")

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """
        @raise UsageError: Always: a stream has one direction.
        """
        self.write(b"")

    def loseConnection(self) -> None:
        """
        Want no more.
        """
        self._stream.abort()

    abortConnection = loseConnection

    def getPeer(self) -> IAddress:
        """
        @return: An address that says no more than what this is.
        """
        return _StreamAddress()

    getHost = getPeer


@implementer(IAddress)
class _StreamAddress:
    """
    Where a stream comes from.
    """

    def __repr__(self) -> str:
        return "<an AMP stream>"


class _Result:
    """
    The part of a consumer that has a Deferred to fire.
    """

    def __init__(self, stream: Pausable) -> None:
        self._stream = stream
        self.deferred: Deferred[Any] = Deferred(self._cancel)

    def start(self) -> None:
        """
        Nothing to do.
        """

    def release(self) -> None:
        """
        Let go of what is held.
        """

    def fail(self, failure: Failure) -> None:
        """
        Fail the Deferred.
        """
        self.release()
        self.deferred.errback(failure)

    def _cancel(self, deferred: Deferred[Any]) -> None:
        self.release()
        self._stream.giveUp()


class Gatherer(_Result):
    """
    Gathers the whole value in memory.
    """

    def __init__(self, stream: Pausable, maxSize: int) -> None:
        """
        @param maxSize: The most to take (bytes).
        """
        super().__init__(stream)
        self._maxSize = maxSize
        self._pieces = PieceQueue()

    def check(self, size: int) -> None:
        """
        @raise StreamTooLong: If C{size} is more than may be taken.
        """
        if size > self._maxSize:
            raise StreamTooLong(
                f"the value has {size} bytes or more, and {self._maxSize} may be "
                "collected; pass collect(maxSize=...), or use writeTo() or async for"
            )

    def write(self, data: bytes) -> None:
        """
        Keep the bytes.
        """
        self.check(self._pieces.size + len(data))
        self._pieces.append(data)

    def finish(self) -> None:
        """
        Fire with the value.
        """
        self.deferred.callback(self._pieces.join())

    def release(self) -> None:
        """
        Forget the bytes.
        """
        self._pieces.clear()


class FileWriter(_Result):
    """
    Writes to a file.
    """

    def __init__(self, stream: Pausable, file: WritableFile) -> None:
        super().__init__(stream)
        self._file = file
        self._written = 0

    def write(self, data: bytes) -> None:
        """
        Write all of it: an unbuffered file may take less at once.
        """
        self._written += len(data)
        rest = data
        while rest:
            count = self._file.write(rest)
            if not isinstance(count, int) or count >= len(rest):
                return
            if count <= 0:
                raise UsageError("the file takes no bytes; it must be a blocking one")
            rest = rest[count:]

    def finish(self) -> None:
        """
        Fire with the number of bytes.
        """
        self.deferred.callback(self._written)


class ConsumerWriter(_Result):
    """
    Writes to an L{IConsumer}, which may pause the stream.
    """

    def __init__(self, stream: Pausable, consumer: IConsumer) -> None:
        super().__init__(stream)
        self._consumer = consumer
        self._written = 0
        self._registered = False

    def start(self) -> None:
        """
        Register with the consumer.
        """
        self._consumer.registerProducer(Flow(self._stream), True)
        self._registered = True

    def write(self, data: bytes) -> None:
        """
        Pass the bytes on.
        """
        self._written += len(data)
        self._consumer.write(data)

    def finish(self) -> None:
        """
        Unregister, and fire with the number of bytes.
        """
        self.release()
        self.deferred.callback(self._written)

    def release(self) -> None:
        """
        Unregister.
        """
        if self._registered:
            self._registered = False
            self._consumer.unregisterProducer()


class Delivery:
    """
    Feeds a protocol.
    """

    def __init__(self, stream: Pausable, protocol: IProtocol) -> None:
        self._stream = stream
        self._protocol = protocol

    def start(self) -> None:
        """
        Connect the protocol.
        """
        self._protocol.makeConnection(_Wire(self._stream))

    def write(self, data: bytes) -> None:
        """
        Pass the bytes on.
        """
        self._protocol.dataReceived(data)

    def finish(self) -> None:
        """
        Say that those were all.
        """
        self._protocol.connectionLost(Failure(ConnectionDone()))

    def fail(self, failure: Failure) -> None:
        """
        Say why there are no more.
        """
        self._protocol.connectionLost(failure)


class Iteration:
    """
    Hands over one piece each time that somebody asks.
    """

    def __init__(self, stream: Pausable) -> None:
        self._stream = stream
        self._waiter: Deferred[bytes | None] | None = None
        self._end: Failure | None = None
        self._finished = False

    def start(self) -> None:
        """
        Wait until somebody asks.
        """
        self._stream.pause()

    def ask(self) -> Deferred[bytes | None]:
        """
        @return: A Deferred that fires with the next piece, or with L{None} after
            the last.

        @raise StreamBusy: If one is waiting already.
        """
        if self._waiter is not None:
            raise StreamBusy("take the pieces of a stream one after the other")
        if self._end is not None:
            return fail(self._end)
        if self._finished:
            return succeed(None)
        waiter = self._waiter = Deferred(self._cancel)
        self._stream.resume()
        return waiter

    def write(self, data: bytes) -> None:
        """
        Hand the bytes over, and wait until somebody asks again.
        """
        self._stream.pause()
        for waiter in self._take():
            waiter.callback(data)

    def finish(self) -> None:
        """
        Say that those were all.
        """
        self._finished = True
        for waiter in self._take():
            waiter.callback(None)

    def fail(self, failure: Failure) -> None:
        """
        Say why there are no more, now or when somebody asks.
        """
        self._end = failure
        for waiter in self._take():
            waiter.errback(failure)

    def _take(self) -> list[Deferred[bytes | None]]:
        waiter, self._waiter = self._waiter, None
        return [] if waiter is None else [waiter]

    def _cancel(self, deferred: Deferred[bytes | None]) -> None:
        self._waiter = None
        self._end = Failure(StreamCancelled())
        self._stream.giveUp()


class StreamIterator:
    """
    What C{async for} holds on to.  When it lets go, the stream is free again.
    """

    def __init__(self, iteration: Iteration, stream: Pausable) -> None:
        self._iteration = iteration
        self._stream = stream

    def __aiter__(self) -> StreamIterator:
        return self

    async def __anext__(self) -> bytes:
        data = await self._iteration.ask()
        if data is None:
            raise StopAsyncIteration
        return data

    def __del__(self) -> None:
        self._stream.detach(self._iteration)

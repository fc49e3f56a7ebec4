# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
A stream as the application that receives it sees it.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from amp_stream._sansio.receiving import ReceiveStream
from amp_stream._sansio.states import ReceiveState
from amp_stream.codes import errorToAbortWith
from amp_stream.consumers import (
    Consumer,
    ConsumerWriter,
    FileWriter,
    Gatherer,
    WritableFile,
)
from amp_stream.delivery import Delivery
from amp_stream.errors import (
    ConsumerFailed,
    StreamBusy,
    StreamCancelled,
    StreamError,
    StreamRefused,
    UsageError,
)
from amp_stream.iteration import Iteration, StreamIterator

__all__ = ["IncomingStream", "ReadingSide"]

_log = Logger()


class ReadingSide(Protocol):
    """
    What a stream needs of its connection.
    """

    def read(self, stream: ReceiveStream) -> bytes:
        """
        Take the next bytes; C{b""} if there is none now.
        """

    def stop(self, stream: ReceiveStream, error: StreamError) -> None:
        """
        Give the stream up, at both ends.
        """

    @property
    def collectSize(self) -> int:
        """
        How much to gather in memory where nobody says how much.
        """


class IncomingStream:
    """
    Bytes that a peer is sending.

    Take them with one of L{collect}, L{writeTo}, L{deliverTo} or C{async for}.
    Until then, and whenever what takes them pauses, they wait; when the window is
    full, the sender waits too.
    """

    def __init__(self, stream: ReceiveStream, side: ReadingSide) -> None:
        """
        Streams come from L{StreamReceiver.incoming}, or as the value of an
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
        """
        The number of the stream, chosen by its sender.
        """
        return self._stream.id

    @property
    def size(self) -> int | None:
        """
        How many bytes it will have (bytes), or L{None} while that is not known.
        """
        return self._stream.size

    @property
    def received(self) -> int:
        """
        How many bytes have arrived (bytes), consumed or not.
        """
        return self._stream.received

    def collect(self, maxSize: int | None = None) -> Deferred[bytes]:
        """
        Gather the whole value in memory.

        @param maxSize: The most to take (bytes); C{Limits.maxCollectSize} where
            it is L{None}.

        @return: A Deferred that fires with the value.  It fails with
            L{StreamTooLong} if there is more than C{maxSize}, with another
            L{StreamError} if there will be no complete value, and with the
            reason if the connection is lost.  Cancelling it stops the stream at
            both ends.
        """
        most = self._side.collectSize if maxSize is None else maxSize
        gatherer = Gatherer(self, most)
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
            return self._attachResult(ConsumerWriter(self, fileOrConsumer))
        return self._attachResult(FileWriter(self, fileOrConsumer))

    def deliverTo(self, protocol: IProtocol) -> None:
        """
        Feed the bytes to a protocol, as C{treq} and C{twisted.web} do with the
        body of a response.

        @param protocol: Its C{makeConnection} gets a transport that can pause and
            abort the stream, its C{dataReceived} the bytes.  At the end its
            C{connectionLost} gets C{ConnectionDone}, or the failure that means
            that the value is not complete.

        @raise StreamBusy: If the stream has a consumer already.

        @raise Exception: What C{makeConnection} raises; the stream is free then.
        """
        self._attach(Delivery(self, protocol))

    def __aiter__(self) -> StreamIterator:
        """
        Take the bytes one piece after the other.  Leaving the loop early leaves
        the rest to whoever takes the stream next; cancelling the Deferred of a
        coroutine that waits for a piece stops the stream at both ends.

        @raise StreamBusy: If the stream has a consumer already.
        """
        iteration = Iteration(self)
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
        """
        Bytes have arrived, or may flow again: pass them on.
        """
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
                if self._stream.isDry:
                    break
        finally:
            self._delivering = False
        if self._stream.state is ReceiveState.DATA_READ:
            for consumer in self._release():
                consumer.finish()

    def fail(self, failure: Failure) -> None:
        """
        There will be no complete value.
        """
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
        """
        Let the bytes wait.
        """
        self._paused = True

    def resume(self) -> None:
        """
        Let them flow again.
        """
        self._paused = False
        self.deliver()

    def giveUp(self, consumer: Consumer) -> None:
        """
        A consumer wants no more, because a Deferred was cancelled.
        """
        if self._consumer is consumer:
            self._release()
            self._stop(StreamCancelled())

    def detach(self, consumer: Consumer) -> None:
        """
        A consumer will take no more; another may take the rest.
        """
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

        @raise StreamBusy: If it has another, or has been read.

        @raise Exception: What the consumer raises when it starts.
        """
        if not self._isFree:
            raise StreamBusy
        self._paused = False
        consumer.start()
        if self._failure is not None:
            consumer.fail(self._failure)
            return
        self._consumer = consumer
        self._stream.attended = True
        self.deliver()

    def _attachResult(
        self, consumer: Gatherer | FileWriter | ConsumerWriter
    ) -> Deferred[Any]:
        try:
            self._attach(consumer)
        except Exception:
            consumer.fail(Failure())
        return consumer.deferred

    def _release(self) -> list[Consumer]:
        """
        @return: The consumer, if there is one, which is it no longer.
        """
        consumer, self._consumer = self._consumer, None
        self._paused = False
        self._stream.attended = False
        return [] if consumer is None else [consumer]

    def _consumerFailed(self, consumer: Consumer, failure: Failure) -> None:
        """
        A consumer could not take bytes.  It may say with which code to stop.
        """
        if self._consumer is not consumer:
            _log.failure("in a consumer that wants no more of its stream", failure)
            return
        self._release()
        error = failure.value
        if not isinstance(error, StreamError) or isinstance(error, UsageError):
            error = ConsumerFailed()
            error.__cause__ = failure.value
        self._stop(error)
        consumer.fail(failure)

    def _stop(self, error: StreamError) -> None:
        if self._stream.isEnded or self._failure is not None:
            return
        self._side.stop(self._stream, error)
        self.fail(Failure(error))

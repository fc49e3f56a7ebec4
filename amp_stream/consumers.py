# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Where the bytes of an incoming stream may go.
"""

from __future__ import annotations

import io
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from amp_stream._sansio.pieces import PieceQueue
from amp_stream.errors import StreamTooLong, UsageError

__all__ = [
    "Consumer",
    "ConsumerWriter",
    "FileWriter",
    "Flow",
    "Gatherer",
    "Pausable",
    "WritableFile",
]

_log = Logger()


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
        The stream is yours, unless this raises an exception.
        """

    def write(self, data: bytes) -> None:
        """
        Take the next bytes.  If this raises an exception, the stream is stopped.
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

    def giveUp(self, consumer: Consumer) -> None:
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

    def write(self, data: bytes) -> None:
        """
        Take the next bytes.
        """
        raise NotImplementedError

    def result(self) -> object:
        """
        @return: What to fire the Deferred with, once those were all.
        """
        raise NotImplementedError

    def release(self) -> None:
        """
        Let go of what is held.
        """

    def finish(self) -> None:
        """
        Fire the Deferred.
        """
        try:
            result = self.result()
            self.release()
        except Exception:
            self.deferred.errback()
        else:
            self.deferred.callback(result)

    def fail(self, failure: Failure) -> None:
        """
        Fail the Deferred.
        """
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

    def result(self) -> bytes:
        """
        @return: The value.
        """
        return self._pieces.join()

    def release(self) -> None:
        """
        Forget the bytes.
        """
        self._pieces.clear()


class _Writer(_Result):
    """
    Counts what it writes.
    """

    def __init__(self, stream: Pausable) -> None:
        super().__init__(stream)
        self._written = 0

    def result(self) -> int:
        """
        @return: How many bytes were written.
        """
        return self._written


class FileWriter(_Writer):
    """
    Writes to a file.
    """

    def __init__(self, stream: Pausable, file: WritableFile) -> None:
        super().__init__(stream)
        self._file = file

    def start(self) -> None:
        """
        @raise UsageError: If it is not a file that can be written to.
        """
        file: object = self._file
        if isinstance(file, io.TextIOBase):
            raise UsageError("a stream carries bytes: open the file as wb")
        if not callable(getattr(file, "write", None)):
            raise UsageError(
                "a stream is written to an IConsumer or to something with a write "
                f"method, not to {type(file).__name__}"
            )

    def write(self, data: bytes) -> None:
        """
        Write all of it: an unbuffered file may take less at once.
        """
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


class ConsumerWriter(_Writer):
    """
    Writes to an L{IConsumer}, which may pause the stream.
    """

    def __init__(self, stream: Pausable, consumer: IConsumer) -> None:
        super().__init__(stream)
        self._consumer = consumer
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
        self._consumer.write(data)
        self._written += len(data)

    def release(self) -> None:
        """
        Unregister.
        """
        if self._registered:
            self._registered = False
            self._consumer.unregisterProducer()

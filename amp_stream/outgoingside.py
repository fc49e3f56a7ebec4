# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The outgoing streams of one connection, between the rules and the transport.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from amp_stream._sansio.frames import Frame
from amp_stream._sansio.limits import MAX_CHUNK, Limits
from amp_stream._sansio.outbound import Outbound
from amp_stream._sansio.sending import SendStream
from amp_stream.errors import StreamError
from amp_stream.outgoing import OutgoingStream, WritingSide
from amp_stream.sources import Source
from amp_stream.timer import IdleTimer

__all__ = ["ChunkWriter", "OutgoingCarrier", "OutgoingSide"]

ChunkWriter = Callable[[int, int, "bytes | memoryview", bool, "bytes | None"], None]
"""
Sends a chunk: id, offset, bytes, whether they are the last, digest.
"""


class OutgoingCarrier(WritingSide, Protocol):
    """
    Gets the bytes of a stream out by another connection.
    """

    def release(self, error: BaseException | None) -> None:
        """
        The stream has ended.

        @param error: Why the peer has not got all of it, or L{None} if it has.
        """


class OutgoingSide:
    """
    Drives an L{Outbound}: gives streams their turns and reads their sources.

    @ivar clock: The reactor.

    @ivar maxBulkDelay: See L{Limits}.
    """

    clock: IReactorTime

    def __init__(
        self,
        limits: Limits,
        send: Callable[[Frame], object],
        write: ChunkWriter,
        kick: Callable[[], None],
    ) -> None:
        """
        @param send: What sends a control message to the peer.

        @param write: What sends a chunk.

        @param kick: What to call when there may be a chunk to send; it leads to
            L{writeNext} being called once the transport has drained.
        """
        self._outbound = Outbound(limits)
        self.maxBulkDelay = limits.maxBulkDelay
        self._send = send
        self._write = write
        self._kick = kick
        self._handles: dict[int, OutgoingStream] = {}
        self._carriers: dict[int, OutgoingCarrier] = {}
        # Ends of streams whose bytes went elsewhere: id, length, digest.
        self._ends: list[tuple[int, int, bytes | None]] = []
        self._timer = IdleTimer(self._outbound.interval, self._expire)

    @property
    def isBusy(self) -> bool:
        """
        Whether there is anything that the peer has not got yet.
        """
        return bool(self._handles)

    def useClock(self, clock: IReactorTime) -> None:
        """
        Measure from now on how long streams wait.
        """
        self.clock = clock
        self._timer.useClock(clock)

    def open(
        self,
        source: Source,
        digest: bool,
        carry: Callable[[SendStream], OutgoingCarrier] | None = None,
    ) -> OutgoingStream:
        """
        Make a stream.  Nothing is sent before it is started.

        @param carry: Makes what gets its bytes out by another connection; L{None} to
            send them in chunks.
        """
        core = self._outbound.open()
        side: WritingSide = self
        if carry is not None:
            side = self._carriers[core.id] = carry(core)
        handle = self._handles[core.id] = OutgoingStream(core, source, side, digest)
        self._timer.arm()
        return handle

    def carrier(self, id: int) -> OutgoingCarrier | None:
        """
        @return: What gets the bytes of a stream out, if that is not done in chunks,
            and the stream has not ended.
        """
        return self._carriers.get(id)

    def finish(self, id: int, size: int, sha256: bytes | None) -> None:
        """
        The last byte of a stream has left by another connection: say so here.
        """
        self._ends.append((id, size, sha256))
        self._kick()

    def writeNext(self, most: int = MAX_CHUNK) -> int | None:
        """
        Let the stream whose turn it is send one chunk.

        @param most: How many bytes it may have.

        @return: How many it has, or L{None} if no stream has any to send.
        """
        while self._ends:
            id, size, sha256 = self._ends.pop(0)
            if id in self._handles:
                self._write(id, size, b"", True, sha256)
                return 0
        outbound = self._outbound
        outbound.chunk = most
        while (core := outbound.next()) is not None:
            before = core.window.offset
            if self._handles[core.id].sendChunk():
                return core.window.offset - before
        return None

    def granted(self, id: int, maximum: int) -> None:
        """
        The peer will take more of a stream.
        """
        if self._outbound.grant(id, maximum):
            self._kick()

    def acknowledged(self, id: int) -> None:
        """
        The peer has every byte of a stream.
        """
        if self._outbound.acknowledge(id) is not None:
            self._drop(id, None).succeed()

    def stopped(self, id: int, error: StreamError, tell: bool = True) -> None:
        """
        The peer wants no more of a stream.

        @param tell: Whether it expects to be told that no more will come.
        """
        if self._outbound.reset(id, error, tell) is not None:
            self._flush()
            self._drop(id, error).fail(Failure(error))

    def connectionLost(self, reason: Failure) -> None:
        """
        Fail everything.
        """
        self._timer.stop()
        self._outbound.clear()
        self._ends.clear()
        handles, self._handles = self._handles, {}
        carriers, self._carriers = self._carriers, {}
        for handle in handles.values():
            handle.fail(reason)
        for carrier in carriers.values():
            carrier.release(reason.value)

    def offer(self, stream: SendStream) -> None:
        """
        See L{WritingSide.offer}.
        """
        self._outbound.offer(stream)
        if self._outbound.hasTurn:
            self._kick()

    def allowance(self, stream: SendStream) -> int:
        """
        See L{WritingSide.allowance}.
        """
        return self._outbound.allowance(stream)

    def withdraw(self, stream: SendStream) -> None:
        """
        See L{WritingSide.withdraw}.
        """
        self._outbound.withdraw(stream)

    def writeChunk(
        self,
        stream: SendStream,
        data: bytes | memoryview,
        fin: bool,
        sha256: bytes | None,
    ) -> None:
        """
        See L{WritingSide.writeChunk}.
        """
        offset = stream.send(len(data), fin)
        self._write(stream.id, offset, data, fin, sha256)

    def reset(self, stream: SendStream, error: StreamError) -> None:
        """
        See L{WritingSide.reset}.
        """
        if self._outbound.reset(stream.id, error) is not None:
            self._flush()
            self._drop(stream.id, error)

    def _drop(self, id: int, error: StreamError | None) -> OutgoingStream:
        handle = self._handles.pop(id)
        if self._carriers and id in self._carriers:
            self._carriers.pop(id).release(error)
        if not self._handles:
            self._timer.stop()
        return handle

    def _flush(self) -> None:
        frames, self._outbound.frames = self._outbound.frames, []
        for frame in frames:
            self._send(frame)

    def _expire(self, now: float) -> bool:
        expired = self._outbound.expire(now)
        self._flush()
        for stream in expired:
            if stream.error is not None:
                self._drop(stream.id, stream.error).fail(Failure(stream.error))
        return bool(self._handles)

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
When the bytes of streams are given to the transport.

Small calls go to the transport at once.  Bulk waits until the transport has handed
all that it had to the kernel, so that a call has at most one turn of bulk before it.
L{amp_stream._sansio.pacer} computes how long a turn is.

L{StreamProducer} is a pull producer, so the transport asks it for bytes.  Where there
is TLS, the transport below TLS asks.  It is registered only while there is something to
send: a transport with a producer does not close, and AMP must be able to close it.

Two smaller parts stand here too: the options of the socket that keep the kernel's queue
short, and the timer that all streams of one direction share.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from struct import Struct
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IDelayedCall, IPullProducer, IReactorTime
from twisted.protocols.policies import ProtocolWrapper
from zope.interface import implementer

from amp_stream._sansio.congestion import CongestionController, Sample
from amp_stream._sansio.pacer import SHORTEST


class IdleTimer:
    """Calls something again and again, as long as there is a reason to."""

    def __init__(self, interval: float | None, look: Callable[[float], bool]) -> None:
        """
        @param interval: How long between two calls (seconds), or L{None} for no
            calls at all.

        @param look: What to call, with the time (seconds); it returns whether
            there is a reason to go on.
        """
        self._interval = interval
        self._look = look
        self._clock: IReactorTime | None = None
        self._call: IDelayedCall | None = None

    def useClock(self, clock: IReactorTime) -> None:
        """Without a clock nothing is ever called."""
        self._clock = clock

    def arm(self) -> None:
        """There is a reason."""
        if self._call is None and self._clock is not None and self._interval:
            self._call = self._clock.callLater(self._interval, self._tick)

    def stop(self) -> None:
        """There is no reason any more."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _tick(self) -> None:
        self._call = None
        if self._clock is not None and self._look(self._clock.seconds()):
            self.arm()


try:
    from fcntl import ioctl
except ImportError:  # pragma: no cover
    # Windows has no such thing.
    ioctl = None  # type: ignore[assignment]


NOT_SENT_LOWAT = 16_384
"""
How many bytes that are not yet on their way the kernel may hold before it says
that the socket is full (bytes).
"""

BUFFER = 65_536
"""
How many bytes Twisted reads at once, unless it is told otherwise.
"""

_READ_SIZE = 98_304
"""
How many bytes to read at once from a peer that sends much (bytes).  With less, a stream
over TCP loses a fifth of its rate.  With more, calls with values of 60 KB over a UNIX
socket lose a tenth or two of theirs: the two ends wait for each other in larger steps.
"""

BULK_BUFFER = 262_144
"""
How many bytes to read at once, and to keep before a producer is paused, on a
connection that has only one thing to do (bytes).
"""

_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_OPTION: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", None)
_SIOCOUTQNSD = 0x894B
_number = Struct("i")
_MAX_PACING_RATE = getattr(socket, "SO_MAX_PACING_RATE", 47)
_UNLIMITED = 0xFFFFFFFF
_TCP_INFO = getattr(socket, "TCP_INFO", 11)
# The parts of Linux's struct tcp_info (linux/tcp.h) that are used, in its order:
# snd_mss, sacked, rtt, rttvar, snd_cwnd, bytes_acked, notsent_bytes, and, since Linux
# 4.19, bytes_sent, bytes_retrans.
_info = Struct("=16xI8xI36xII4xI36xQ16xI52xQQ")


def tuneForLatency(transport: Any) -> None:
    """
    Set C{TCP_NODELAY} and, where the system has it, C{TCP_NOTSENT_LOWAT}.

    @param transport: Any transport; one that is not TCP below is left as it is.
    """
    handle = _socketOf(transport)
    if handle is None:
        return
    # A connection that was lost already, or an old kernel, is no reason to fail.
    with suppress(OSError):
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if _OPTION is not None:
            handle.setsockopt(socket.IPPROTO_TCP, _OPTION, NOT_SENT_LOWAT)


def readMore(transport: Any, size: int) -> None:
    """
    Read more at once from a transport that gave as much as it could.

    @param size: How many bytes it gave.
    """
    if getattr(transport, "bufferSize", None) == size < _READ_SIZE:
        transport.bufferSize = _READ_SIZE


class KernelQueue:
    """
    The bytes of a connection that the kernel holds and has not sent.

    @ivar isTCP: Whether the kernel can be asked: there is TCP below, on Linux.
    """

    __slots__ = ("_limit", "_pacing", "_socket", "isTCP")

    def __init__(self, transport: Any) -> None:
        """
        @param transport: Any transport; of one that is not TCP below nothing is
            known.
        """
        self._socket = _socketOf(transport) if sys.platform == "linux" else None
        self.isTCP = self._socket is not None
        self._limit = NOT_SENT_LOWAT
        self._pacing = 0.0

    def unsent(self) -> int | None:
        """
        @return: How many bytes have not been sent (bytes), or L{None} if that is not
            known.
        """
        if self._socket is None:
            return None
        try:
            answer = ioctl(self._socket.fileno(), _SIOCOUTQNSD, bytes(_number.size))
        except (OSError, ValueError):
            # The connection is lost.
            self._socket = None
            return None
        size: int = _number.unpack(answer)[0]
        return size

    def sample(self) -> Sample | None:
        """
        Find out what is in flight.

        @return: L{None} if that is not known: no TCP, or a system that does not say.
        """
        if self._socket is None:
            return None
        try:
            answer = self._socket.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _info.size)
        except (OSError, ValueError):
            self._socket = None
            return None
        if len(answer) < _info.size:
            # An older kernel has a shorter struct.
            return None
        segment, sacked, rtt, variation, window, acked, unsent, sent, again = (
            _info.unpack(answer)
        )
        # Not SIOCOUTQ: while a loss is repaired, it counts what has arrived behind it.
        # C{bytes_acked} counts the SYN, so an idle connection may have -1 in flight.
        sacked *= segment
        return Sample(
            inFlight=sent - again - acked - sacked + unsent,
            delivered=acked + sacked,
            rtt=rtt / 1e6,
            variation=variation / 1e6,
            segment=segment,
            window=window,
        )

    def pace(self, rate: float) -> None:
        """
        Let the kernel send no faster than this.

        @param rate: In bytes a second; 0 leaves it as it is.  Once it has been set, the
            kernel always paces this connection.
        """
        if not rate or 0.95 < self._pacing / rate < 1.05 or self._socket is None:
            return
        self._pacing = rate
        with suppress(OSError):
            self._socket.setsockopt(
                socket.SOL_SOCKET, _MAX_PACING_RATE, int(min(rate, _UNLIMITED - 1))
            )

    def allow(self, size: int) -> None:
        """
        Let the kernel hold about as much as this, where it makes a difference.

        @param size: How many bytes that are not yet on their way it may hold.
        """
        if self._limit // 2 < size < self._limit * 2:
            return
        self._limit = size
        if self._socket is not None and _OPTION is not None:
            with suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, _OPTION, size)


class SendGate:
    """
    Says when bulk may be written to a connection, so that no more is in flight than
    small calls can bear: a L{CongestionController}, and the kernel that it is told of.

    @ivar kernel: The kernel's side of the connection.

    @ivar delay: How long to wait if nothing may be written (seconds), otherwise 0.
    """

    __slots__ = ("_controller", "_isBounded", "delay", "kernel")

    def __init__(
        self,
        transport: Any,
        maxBulkDelay: float | None,
        kernel: KernelQueue | None = None,
    ) -> None:
        """
        @param transport: Any transport; where there is no TCP below, all may be
            written.

        @param maxBulkDelay: See L{amp_stream.StreamConfig}.

        @param kernel: The kernel's side of the connection, where it is not the
            transport's.
        """
        self.kernel = kernel or KernelQueue(transport)
        self.delay = 0.0
        self._controller = CongestionController(maxBulkDelay)
        self._isBounded = maxBulkDelay is not None and self.kernel.isTCP

    def isShort(self, now: float, most: int) -> bool:
        """Whether the kernel must be asked before so many bytes are written."""
        controller = self._controller
        return self._isBounded and (now >= controller.due or controller.room < most)

    def turn(self, now: float, most: int) -> int:
        """
        Find out how much may be written.  All that was written before must have been
        handed to the kernel, as far as it takes it.

        @param now: The time (seconds, from any start).

        @param most: How much there is to write at the most (bytes).

        @return: How much to write at once (bytes), as soon as L{delay} has passed.
        """
        self.delay = 0.0
        if not self._isBounded or not self.isShort(now, most):
            return most
        controller = self._controller
        controller.sampled(now, self.kernel.sample())
        self.kernel.pace(controller.pacingRate)
        if controller.room < most:
            most = max(SHORTEST, min(most, controller.turn))
            self.delay = controller.wait(now, most)
        return most

    def wrote(self, count: int) -> None:
        """Count bytes that have been written."""
        if self._isBounded:
            self._controller.wrote(count)


def _socketOf(transport: Any) -> socket.socket | None:
    """@return: The TCP socket below a transport, if there is one."""
    handle = getattr(lowestTransport(transport), "getHandle", lambda: None)()
    # Not by interface: in Twisted, a UNIX socket provides that of TCP, too.
    if isinstance(handle, socket.socket) and handle.family in _FAMILIES:
        return handle
    return None


def tuneForBulk(transport: Any) -> None:
    """
    Read and write in pieces of L{BULK_BUFFER}.

    @param transport: Any transport; one that is not Twisted's own is left as it is.
    """
    transport = lowestTransport(transport)
    if isinstance(transport, FileDescriptor):
        transport.bufferSize = BULK_BUFFER


def drainingTransport(transport: Any) -> Any:
    """
    Find what knows when everything that was written has been handed to the kernel.
    TLS does not: it asks a pull producer for more in each turn of the reactor, until
    64 KiB wait.  What is below it does.

    @param transport: Any transport.

    @return: The transport below TLS, if what was made of it is only TLS, and it is
        one of Twisted's own; otherwise C{transport}.
    """
    tls = sys.modules.get("twisted.protocols.tls")
    below = transport
    while tls is not None and isinstance(below, tls.TLSMemoryBIOProtocol):
        below = below.transport
    return below if isinstance(below, FileDescriptor) else transport


def lowestTransport(transport: Any) -> Any:
    """@return: The transport below TLS and whatever else is wrapped around it."""
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    return transport


@implementer(IPullProducer)
class StreamProducer:
    """
    Writes when the transport has drained.

    It is an object of its own, and not the protocol: the protocol has methods of
    the same names already, with which it pauses its parser.
    """

    def __init__(self, writeNext: Callable[[], bool], clock: IReactorTime) -> None:
        """
        @param writeNext: What writes one turn and returns whether there was one.

        @param clock: The reactor; for transports that cannot say when
            they have drained, one chunk is written in each of its turns.
        """
        self._writeNext = writeNext
        self._clock = clock
        self._transport: Any = None
        self._running = False
        # What it is registered with, if it is.
        self._registered: Any = None
        self._busy = False
        self._asked = False
        self._turn: IDelayedCall | None = None
        self._wait = 0.0

    def start(self, transport: Any) -> None:
        """@param transport: What to write to."""
        self._transport = transport

    def wake(self) -> None:
        """There may be something to send."""
        if self._running or self._transport is None:
            return
        self._running = True
        if not self._register():
            self._nextTurn()
        elif self._asked:
            self.resumeProducing()

    def resumeProducing(self) -> None:
        """
        The transport has drained.  If it says so while it is being written to, the
        next chunk waits until that is done.
        """
        self._asked = True
        if self._busy:
            return
        if getattr(self._registered, "disconnecting", False):
            # TLS may have found an error: then it drops what is written, what is below
            # waits for the last of its producer, and nobody says so above.
            self._pause()
            return
        self._busy = True
        try:
            while self._asked and self._running:
                self._asked = False
                if not self._writeNext():
                    self._pause()
        finally:
            self._busy = False

    @property
    def isBusy(self) -> bool:
        """
        Whether a turn is being written, and what is offered meanwhile will be
        seen.
        """
        return self._busy and self._running

    def hold(self, wait: float) -> None:
        """
        Write nothing now, and try again later, or when the transport asks before that.
        To be called by what writes a turn.

        @param wait: How long to wait (seconds).
        """
        self._asked = False
        if self._registered is None:
            self._wait = wait
        elif self._turn is None:
            self._turn = self._clock.callLater(wait, self._resume)

    def stopProducing(self) -> None:
        """The transport is gone, or belongs to another protocol from now on."""
        self._pause()
        self._transport = None

    def _register(self) -> bool:
        """@return: Whether the transport will say when it has drained."""
        transport = drainingTransport(self._transport)
        self._asked = False
        self._busy = True
        try:
            transport.registerProducer(self, False)
        except (AttributeError, RuntimeError):
            # It cannot, or does so for another producer.
            return False
        finally:
            self._busy = False
        if self._running:
            self._registered = transport
        return True

    def _pause(self) -> None:
        self._running = False
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.cancel()
        registered, self._registered = self._registered, None
        if registered is not None:
            registered.unregisterProducer()

    def _resume(self) -> None:
        self._turn = None
        self.resumeProducing()

    def _nextTurn(self) -> None:
        wait, self._wait = self._wait, 0.0
        self._turn = self._clock.callLater(wait, self._takeTurn)

    def _takeTurn(self) -> None:
        self._turn = None
        self.resumeProducing()
        if self._running:
            self._nextTurn()

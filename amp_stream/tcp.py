# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
How to use a socket: for small calls with a short queue in the kernel, so that they do
not wait in it; for bulk alone, in large pieces.
"""

from __future__ import annotations

import socket
import sys
from contextlib import suppress
from struct import Struct
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.protocols.policies import ProtocolWrapper

try:
    from fcntl import ioctl
except ImportError:  # pragma: no cover
    # Windows has no such thing.
    ioctl = None  # type: ignore[assignment]

__all__ = [
    "BUFFER",
    "BULK_BUFFER",
    "NOT_SENT_LOWAT",
    "KernelQueue",
    "drainingTransport",
    "lowestTransport",
    "readMore",
    "tuneForBulk",
    "tuneForLatency",
]

NOT_SENT_LOWAT = 16_384
"""
How many bytes that are not yet on their way the kernel may hold before it says
that the socket is full (bytes).
"""

BUFFER = 65_536
"""
How many bytes Twisted reads at once, unless it is told otherwise.
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
    if getattr(transport, "bufferSize", None) == size < BULK_BUFFER:
        transport.bufferSize = 2 * size


class KernelQueue:
    """
    What the kernel holds of a connection and has not sent.
    """

    __slots__ = ("_limit", "_socket")

    def __init__(self, transport: Any) -> None:
        """
        @param transport: Any transport; of one that is not TCP below nothing is known.
        """
        self._socket = _socketOf(transport) if sys.platform == "linux" else None
        self._limit = NOT_SENT_LOWAT

    @property
    def unsent(self) -> int | None:
        """
        How many bytes have not been sent (bytes), or L{None} if that is not known.
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


def _socketOf(transport: Any) -> socket.socket | None:
    """
    @return: The TCP socket below a transport, if there is one.
    """
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
    """
    @return: The transport below TLS and whatever else is wrapped around it.
    """
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    return transport

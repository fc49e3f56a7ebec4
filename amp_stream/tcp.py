# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
How to use a socket: for small calls with a short queue in the kernel, so that they do
not wait in it; for bulk alone, in large pieces.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.protocols.policies import ProtocolWrapper

__all__ = [
    "BULK_BUFFER",
    "NOT_SENT_LOWAT",
    "lowestTransport",
    "tuneForBulk",
    "tuneForLatency",
]

NOT_SENT_LOWAT = 16_384
"""
How many bytes that are not yet on their way the kernel may hold before it says
that the socket is full (bytes).
"""

BULK_BUFFER = 262_144
"""
How many bytes to read at once, and to keep before a producer is paused, on a
connection that has only one thing to do (bytes).
"""

_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_OPTION: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", None)


def tuneForLatency(transport: Any) -> None:
    """
    Set C{TCP_NODELAY} and, where the system has it, C{TCP_NOTSENT_LOWAT}.

    @param transport: Any transport; one that is not TCP below is left as it is.
    """
    transport = lowestTransport(transport)
    handle = getattr(transport, "getHandle", lambda: None)()
    # Not by interface: in Twisted, a UNIX socket provides that of TCP, too.
    if not isinstance(handle, socket.socket) or handle.family not in _FAMILIES:
        return
    # A connection that was lost already, or an old kernel, is no reason to fail.
    with suppress(OSError):
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if _OPTION is not None:
            handle.setsockopt(socket.IPPROTO_TCP, _OPTION, NOT_SENT_LOWAT)


def tuneForBulk(transport: Any) -> None:
    """
    Read and write in pieces of L{BULK_BUFFER}.

    @param transport: Any transport; one that is not Twisted's own is left as it is.
    """
    transport = lowestTransport(transport)
    if isinstance(transport, FileDescriptor):
        transport.bufferSize = BULK_BUFFER


def lowestTransport(transport: Any) -> Any:
    """
    @return: The transport below TLS and whatever else is wrapped around it.
    """
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    return transport

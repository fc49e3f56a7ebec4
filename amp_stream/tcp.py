# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Keep the kernel's queue short, so that a small call does not wait in it.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.interfaces import ITCPTransport
from twisted.protocols.policies import ProtocolWrapper

__all__ = ["NOT_SENT_LOWAT", "tuneForLatency"]

NOT_SENT_LOWAT = 16_384
"""
How many bytes that are not yet on their way the kernel may hold before it says
that the socket is full (bytes).
"""

_FAMILIES = (socket.AF_INET, socket.AF_INET6)

_OPTION: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", None)


def tuneForLatency(transport: Any) -> None:
    """
    Set C{TCP_NODELAY} and, where the system has it, C{TCP_NOTSENT_LOWAT}.

    @param transport: Any transport; one that is not TCP below is left as it is.
    """
    while isinstance(transport, ProtocolWrapper):
        # TLS, and policies, are wrapped around it.
        transport = transport.transport
    if not ITCPTransport.providedBy(transport):
        return
    handle = getattr(transport, "getHandle", lambda: None)()
    if not isinstance(handle, socket.socket) or handle.family not in _FAMILIES:
        # A UNIX socket says that it is TCP, too.
        return
    transport.setTcpNoDelay(True)
    if _OPTION is not None:
        handle.setsockopt(socket.IPPROTO_TCP, _OPTION, NOT_SENT_LOWAT)

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Keep the kernel's queue short, so that a small call does not wait in it.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

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
    handle = getattr(transport, "getHandle", lambda: None)()
    # Not by interface: in Twisted, a UNIX socket provides that of TCP, too.
    if not isinstance(handle, socket.socket) or handle.family not in _FAMILIES:
        return
    # A connection that was lost already, or an old kernel, is no reason to fail.
    with suppress(OSError):
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if _OPTION is not None:
            handle.setsockopt(socket.IPPROTO_TCP, _OPTION, NOT_SENT_LOWAT)

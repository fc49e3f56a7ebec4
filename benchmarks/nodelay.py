# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
C{TCP_NODELAY} for every connection of a process, whoever makes it.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import tcp

__all__ = ["setNoDelayEverywhere"]


def setNoDelayEverywhere() -> None:
    """
    Change how Twisted makes connections, in this process.
    """
    original = tcp.Connection.__init__

    def withNoDelay(self: Any, skt: socket.socket, *rest: Any, **more: Any) -> None:
        original(self, skt, *rest, **more)
        skt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    tcp.Connection.__init__ = withNoDelay

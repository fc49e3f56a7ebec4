# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
What the file service and the command line do alike with out-of-band transfers.
"""

from __future__ import annotations

from importlib.util import find_spec

from twisted.internet.defer import Deferred

from amp_stream.outofband import OutOfBandServer

__all__ = ["startBulk", "whyNoHTTP"]

_NEEDED = ("cryptography", "OpenSSL", "h11", "service_identity")


def whyNoHTTP() -> str | None:
    """
    @return: Why there can be no out-of-band transfers, or L{None} if there can be.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if not missing:
        return None
    return (
        f"out-of-band transfers need {', '.join(missing)}: "
        "pip install 'amp-stream[http]'"
    )


def startBulk(server: OutOfBandServer) -> Deferred[object]:
    """
    Let a server listen.

    @return: Fires when it does, and fails with the reason if it cannot.
    """
    started: Deferred[object] = Deferred()
    # Before it starts: its own Deferred tells of a failure once.
    server.whenListening().addCallbacks(started.callback, started.errback)
    server.privilegedStartService()
    return started.addCallback(lambda ignored: server.startService())

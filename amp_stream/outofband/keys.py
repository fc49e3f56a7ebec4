# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The keys by which a box announces a stream whose bytes travel over HTTP.
"""

from __future__ import annotations

__all__ = ["outOfBandKey"]


def outOfBandKey(name: bytes, what: bytes) -> bytes:
    """
    @param name: The key of the argument, which has the number of the stream.

    @param what: C{b"listens"}: whether the side that sends the box has an HTTP server.
        C{b"digest"}: whether the SHA-256 of the bytes will come.

    @return: The key that says so.
    """
    return name + b"." + what

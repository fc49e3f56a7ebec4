# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
What the parts of the package expect of each other.
"""

from __future__ import annotations

from typing import Protocol

from amp_stream.errors import StreamError
from amp_stream.incoming import IncomingStream

__all__ = ["ISendingSide", "IStreamReceiver"]


class ISendingSide(Protocol):
    """
    The outgoing streams of a connection, as far as the peer has a say in them.
    """

    def granted(self, id: int, maximum: int) -> None:
        """
        The peer will take more.
        """

    def stopped(self, id: int, error: StreamError) -> None:
        """
        The peer wants no more.
        """


class IStreamReceiver(Protocol):
    """
    A connection that streams come in by.
    """

    def incoming(
        self, id: int, size: int | None = None, maxSize: int | None = None
    ) -> IncomingStream:
        """
        Ask for a stream.
        """

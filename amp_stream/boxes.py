# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
A box that knows where it came from.
"""

from __future__ import annotations

from twisted.protocols import amp

from amp_stream.errors import StreamError
from amp_stream.incoming import IncomingStream
from amp_stream.interfaces import IStreamReceiver

__all__ = ["StreamBox", "streamKeys"]


def streamKeys(declared: list[tuple[bytes, amp.Argument]]) -> list[bytes]:
    """
    @param declared: The arguments or the response of a command.

    @return: The keys by which it announces streams.
    """
    return [name for name, kind in declared if getattr(kind, "announcesStream", False)]


class StreamBox(amp.AmpBox):
    """
    A box that arrived on a connection with streams.

    AMP hands an argument the locator of its responder, which need not be the
    connection; but it hands it the box, too.

    @ivar connection: Where the streams that it announces come in.

    @ivar claimed: The streams that its arguments have asked for.
    """

    __slots__ = ("claimed", "connection")

    def __init__(self, connection: IStreamReceiver, values: dict[bytes, bytes]) -> None:
        # C{amp.AmpBox} looks for keys that are text; those that were read are bytes.
        dict.__init__(self, values)
        self.connection = connection
        self.claimed: list[IncomingStream] = []

    def copy(self) -> StreamBox:
        """
        A copy, for arguments to take their keys out of.  What they claim, they
        claim for both.
        """
        box = StreamBox(self.connection, self)
        box.claimed = self.claimed
        return box

    def callEnded(self, error: StreamError | None) -> None:
        """
        The call that this box began has been answered.

        @param error: Why it failed, or L{None}.
        """
        for stream in self.claimed:
            stream.callEnded(error)

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The sending half of one stream (RFC 9000, section 3.1).

It counts bytes and never sees them: they go from their source to the transport
without a stop.
"""

from __future__ import annotations

from amp_stream._sansio.states import SENDING, SendInput, SendState, advance
from amp_stream._sansio.window import SendWindow
from amp_stream.errors import StreamError

__all__ = ["SendStream"]

_READY, _SEND = SendState.READY, SendState.SEND


class SendStream:
    """
    One stream of outgoing bytes.

    @ivar id: Its number, unique among the streams that this side sends.

    @ivar state: Where it is in L{SENDING}.

    @ivar window: What may be sent.

    @ivar offered: Whether its source may have something to send.

    @ivar error: Why it was reset, if it was.

    @ivar mark: See L{Watched}.
    """

    __slots__ = ("error", "id", "mark", "offered", "state", "window")

    def __init__(self, id: int) -> None:
        self.id = id
        self.state = SendState.READY
        self.window = SendWindow()
        self.offered = False
        self.error: StreamError | None = None
        self.mark: tuple[int, float] | None = None

    @property
    def isSending(self) -> bool:
        """
        Whether there may be more bytes to send.
        """
        state = self.state
        return state is _SEND or state is _READY

    @property
    def isEnded(self) -> bool:
        """
        Whether nothing more can happen to it.
        """
        return self.state in (SendState.DATA_RECVD, SendState.RESET_SENT)

    @property
    def isIdle(self) -> bool:
        """
        Whether it waits for the peer: the time that its source takes is its own.
        """
        if self.state is SendState.DATA_SENT:
            return True
        return self.isSending and self.offered

    @property
    def progress(self) -> int:
        """
        A number that changes whenever a byte, or the end, has moved.
        """
        return self.window.offset + self.window.maximum + (not self.isSending)

    def send(self, count: int, fin: bool) -> int:
        """
        The next bytes are about to be sent.

        @param count: How many, within what the window allows.

        @param fin: Whether they are the last.

        @return: The offset of the first of them.

        @raise UsageError: If there is not so much credit, or there has been an
            end.
        """
        state = self.state
        if fin or state is not _SEND:
            event = SendInput.FIN if fin else SendInput.DATA
            state = advance(SENDING, state, event)
        offset = self.window.spend(count)
        self.state = state
        return offset

    def acknowledge(self) -> bool:
        """
        The peer has every byte.

        @return: Whether that is news.
        """
        before = self.state
        if before is not SendState.DATA_SENT:
            return False
        self.state = advance(SENDING, before, SendInput.ACKNOWLEDGED)
        return True

    def reset(self, error: StreamError) -> bool:
        """
        Give up, because this side or the peer wants no more.

        @return: Whether that changed anything: it does not once it has ended.
        """
        if self.isEnded:
            return False
        self.state = advance(SENDING, self.state, SendInput.RESET)
        self.error = error
        return True

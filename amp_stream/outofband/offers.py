# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
A value for somebody who has a ticket and nothing else: a browser, curl.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from amp_stream._outgoing import OutgoingStream, Source
from amp_stream._sansio.stream import SendStream
from amp_stream._sansio.ticketbox import Ticket
from amp_stream.errors import StreamCancelled, StreamError
from amp_stream.outofband.carriers import OutgoingCarrier

__all__ = ["Offer"]


class Offer:
    """
    What can be had once with a GET request.

    @ivar ticket: What that takes.

    @ivar done: A Deferred that fires with the number of bytes (bytes) when the last
        has been handed to the HTTP connection; nobody confirms that it arrived.  It
        fails with L{TicketExpired}, L{TransferRefused}, L{TransferCut},
        L{SourceFailed}, or the reason for which the AMP connection was lost.
        Cancelling it revokes the ticket, and cuts a transfer that has begun.
    """

    ticket: Ticket

    def __init__(
        self,
        number: int,
        source: Source,
        clock: IReactorTime,
        maxBulkDelay: float | None,
    ) -> None:
        """
        Offers come from L{StreamAMP.offer}; do not make them.
        """
        core = SendStream(number)
        self._core = core
        self.clock = clock
        self.maxBulkDelay = maxBulkDelay
        # The client has no AMP connection that could tell why the HTTP connection
        # broke.
        self.carrier = OutgoingCarrier(core, self, grace=0.0)
        self._stream = OutgoingStream(core, source, self.carrier, False)
        self.carrier.stream = self._stream
        self.done: Deferred[int] = self._stream.done

    def __repr__(self) -> str:
        return f"<Offer, {self._stream.sent} bytes sent>"

    def cancel(self) -> None:
        """
        Revoke the ticket, or cut the transfer if it has begun.  C{done} fails with
        L{StreamCancelled}.  Does nothing once it has ended.
        """
        self._stream.give(StreamCancelled())

    # What follows is for the rest of the package.

    def start(self, ticket: Ticket) -> Offer:
        """
        There is a ticket.
        """
        self.ticket = ticket
        self._stream.start()
        return self

    def lost(self, reason: Failure) -> None:
        """
        The AMP connection is gone.
        """
        if not self._core.isEnded:
            self.carrier.release(reason.value)
            self._stream.fail(reason)

    def reset(self, stream: SendStream, error: StreamError) -> None:
        """
        See L{SendingSide.reset}.
        """
        if stream.reset(error):
            self.carrier.release(error)

    def finish(self, id: int, size: int, sha256: bytes | None) -> None:
        """
        See L{SendingSide.finish}.
        """
        self._core.acknowledge()
        self.carrier.release(None)
        self._stream.succeed()

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Where tickets are kept until they are used.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime

from amp_stream._sansio.tickets import DEFAULT_MAX_TICKETS, Grant, TicketBook
from amp_stream.errors import TooManyTickets

__all__ = ["MemoryTicketStore", "TicketStore"]


class TicketStore(Protocol):
    """
    Keeps tickets, for one L{BulkServer} or for several that share it.

    It is only ever given the hashes of their tokens.
    """

    def issue(self, hashed: bytes, grant: Grant, lifetime: float) -> Deferred[None]:
        """
        Keep a ticket.

        @param hashed: The SHA-256 of its token: 32 bytes.

        @param lifetime: For how long (seconds).

        @return: Fires once the ticket can be used at every server that shares this
            store.  Fails with L{TooManyTickets} if there are too many.
        """

    def consume(self, hashed: bytes) -> Deferred[Grant | None]:
        """
        Use a ticket.  However many ask for the same one at once, at however many
        servers, one of them gets it.

        @return: Fires with what it allows, or with L{None} if it is not there, or
            not any more.
        """

    def revoke(self, hashed: bytes) -> Deferred[None]:
        """
        Forget a ticket, if it is there.
        """

    def close(self) -> Deferred[None]:
        """
        Let go of everything: the server has been stopped.
        """


class MemoryTicketStore:
    """
    Keeps tickets in the memory of this process.
    """

    def __init__(
        self, reactor: IReactorTime | None = None, maxTickets: int = DEFAULT_MAX_TICKETS
    ) -> None:
        """
        @param reactor: The clock; the global reactor if it is L{None}.

        @param maxTickets: The most to keep at once.
        """
        self._clock = reactor
        self._book = TicketBook(maxTickets)

    def issue(self, hashed: bytes, grant: Grant, lifetime: float) -> Deferred[None]:
        """
        See L{TicketStore.issue}.
        """
        now = self._now()
        try:
            self._book.issue(hashed, grant, now + lifetime, now)
        except TooManyTickets:
            return fail()
        return succeed(None)

    def consume(self, hashed: bytes) -> Deferred[Grant | None]:
        """
        See L{TicketStore.consume}.
        """
        return succeed(self._book.consume(hashed, self._now()))

    def revoke(self, hashed: bytes) -> Deferred[None]:
        """
        See L{TicketStore.revoke}.
        """
        self._book.revoke(hashed)
        return succeed(None)

    def close(self) -> Deferred[None]:
        """
        See L{TicketStore.close}.
        """
        return succeed(None)

    def _now(self) -> float:
        if self._clock is None:
            from twisted.internet import reactor

            return reactor.seconds()
        return self._clock.seconds()

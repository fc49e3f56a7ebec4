# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
What becomes of the tickets for files that one connection has asked for.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from amp_stream.errors import StreamError, TooManyTickets
from amp_stream.fileerrors import NoSuchTicket

__all__ = ["MAX_TICKETS", "FileTickets"]

MAX_TICKETS = 100
"""
How many tickets one connection may have whose end it has not been told: the service
holds an open file for each that can still be used.
"""


class FileTickets:
    """
    The tickets of one connection, by their numbers.
    """

    def __init__(self) -> None:
        self._last = 0
        self._ends: dict[int, Deferred[list[Any]]] = {}
        self._awaited: set[int] = set()

    def reserve(self) -> int:
        """
        There will be a ticket.

        @return: Its number.

        @raise TooManyTickets: If there are too many.
        """
        if len(self._ends) >= MAX_TICKETS:
            raise TooManyTickets(
                f"this connection has {MAX_TICKETS} tickets: wait for the end of one"
            )
        self._last += 1
        self._ends[self._last] = Deferred()
        return self._last

    def cancel(self, number: int) -> None:
        """
        There will not be one, after all.
        """
        del self._ends[number]

    def issued(self, number: int, done: Deferred[int]) -> None:
        """
        There is one.

        @param done: Fires when the last byte has left, or fails with the reason why
            it will not.
        """
        end = self._ends[number]

        def ended(outcome: Any) -> None:
            if isinstance(outcome, Failure) and not outcome.check(StreamError):
                # The connection was lost, so there is nobody to be told.
                return
            # In a list, as nobody may ever ask for it: no failure is unhandled.
            end.callback([outcome])

        done.addBoth(ended)

    async def outcome(self, number: int) -> int:
        """
        Wait for the end of a ticket; this can be done once.

        @return: How many bytes have left (bytes).

        @raise NoSuchTicket: If there is none of this number.

        @raise StreamError: If they have not.
        """
        end = self._ends.get(number)
        if end is None or number in self._awaited:
            raise NoSuchTicket(f"this connection has no ticket {number} (any more)")
        self._awaited.add(number)
        (outcome,) = await end
        self._awaited.discard(number)
        del self._ends[number]
        if isinstance(outcome, Failure):
            outcome.raiseException()
        count: int = outcome
        return count

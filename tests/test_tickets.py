# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The rules of L{amp_stream._sansio.tickets} and L{amp_stream._sansio.ticketbox}.
"""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from amp_stream import MemoryTicketStore
from amp_stream._sansio.ticketbox import Ticket, ticketFromBox, ticketToBox
from amp_stream._sansio.tickets import (
    Grant,
    Owner,
    Refusal,
    TicketBook,
    hashToken,
    judge,
)
from amp_stream.errors import InvalidChunk, TooManyTickets

OWNER = Owner("me")


def grant(method: bytes = b"PUT", **kw: Any) -> Grant:
    """
    Make a grant.
    """
    return Grant(method=method, connection="c", stream=1, owner=OWNER, **kw)


class JudgeTests(SynchronousTestCase):
    """
    Requests, before their bodies.
    """

    def status(self, given: Grant, method: bytes, length: int | None) -> int | None:
        refusal = judge(given, method, length)
        return None if refusal is None else refusal.status

    def test_table(self):
        """
        A request is refused for its method, and for a length that cannot be right.
        """
        for made, method, length, status in (
            (grant(), b"PUT", None, None),
            (grant(), b"PUT", 0, None),
            (grant(), b"PUT", 2**62, None),
            (grant(), b"GET", 0, 405),
            (grant(), b"put", 0, 405),
            (grant(b"GET"), b"PUT", 0, 405),
            (grant(b"GET"), b"HEAD", 0, 405),
            (grant(b"GET"), b"GET", 0, None),
            (grant(b"GET"), b"GET", 1, 400),
            (grant(b"GET"), b"GET", None, 400),
            (grant(b"GET", size=5), b"GET", 0, None),
            (grant(size=5), b"PUT", 5, None),
            (grant(size=5), b"PUT", None, None),
            (grant(size=5), b"PUT", 6, 413),
            (grant(size=5), b"PUT", 4, 400),
            (grant(size=5, maxSize=9), b"PUT", 6, 413),
            (grant(maxSize=5), b"PUT", 5, None),
            (grant(maxSize=5), b"PUT", 0, None),
            (grant(maxSize=5), b"PUT", 6, 413),
            (grant(maxSize=5), b"PUT", None, None),
        ):
            self.assertEqual(self.status(made, method, length), status)

    def test_allowed(self):
        """
        For another method, the answer has the one that would do.
        """
        refusal = judge(grant(b"GET"), b"PUT", 0)
        self.assertIsInstance(refusal, Refusal)
        self.assertEqual(refusal.allowed, b"GET")

    def test_hash(self):
        """
        What is kept of a token is not the token.
        """
        token = b"A" * 43
        self.assertEqual(len(hashToken(token)), 32)
        self.assertEqual(hashToken(token), hashToken(b"A" * 43))
        self.assertNotEqual(hashToken(token), hashToken(b"A" * 42 + b"B"))

    def test_repr(self):
        """
        A certificate is not in the repr of an owner.
        """
        self.assertNotIn("PEM", repr(Owner("me", "https://x/", b"PEM")))


class BookTests(SynchronousTestCase):
    """
    Tickets that wait.
    """

    def test_once(self):
        """
        A ticket can be used once.
        """
        book = TicketBook()
        book.issue(b"h", grant(), 10, 0)
        self.assertEqual(len(book), 1)
        self.assertEqual(book.consume(b"h", 0), grant())
        self.assertIsNone(book.consume(b"h", 0))
        self.assertEqual(len(book), 0)

    def test_time(self):
        """
        It can be used until its time is up, and looking it up then uses it up.
        """
        for now, usable in ((9.999, True), (10, False), (11, False)):
            book = TicketBook()
            book.issue(b"h", grant(), 10, 0)
            self.assertEqual(book.consume(b"h", now) is not None, usable)
            self.assertIsNone(book.consume(b"h", 0))

    def test_revoked(self):
        """
        It cannot be used once it is revoked, which can be done twice.
        """
        book = TicketBook()
        book.issue(b"h", grant(), 10, 0)
        book.revoke(b"h")
        book.revoke(b"h")
        self.assertIsNone(book.consume(b"h", 0))

    def test_tooMany(self):
        """
        There is a bound for those that wait; those that are too old do not count.
        """
        book = TicketBook(2)
        book.issue(b"1", grant(), 10, 0)
        book.issue(b"2", grant(), 20, 0)
        with self.assertRaises(TooManyTickets):
            book.issue(b"3", grant(), 30, 9)
        self.assertIsNone(book.consume(b"3", 9))
        book.issue(b"3", grant(), 30, 10)
        self.assertEqual(len(book), 2)
        self.assertIsNotNone(book.consume(b"2", 10))
        self.assertIsNotNone(book.consume(b"3", 10))

    def test_secrecy(self):
        """
        Hashes are in no repr of the book.
        """
        book = TicketBook()
        book.issue(b"hashed", grant(), 10, 0)
        self.assertNotIn("hashed", repr(book))
        self.assertNotIn("hashed", repr(list(book._entries.values())))

    def test_machine(self):
        """
        Whatever is done in whatever order: a ticket is used at most once, in time,
        and never after it was revoked; and no more are kept than allowed.
        """
        run_state_machine_as_test(BookMachine)


class BookMachine(RuleBasedStateMachine):
    """
    A book beside what it should be.
    """

    MOST = 4

    def __init__(self) -> None:
        super().__init__()
        self.book = TicketBook(self.MOST)
        self.now = 0
        self.number = 0
        self.valid: dict[bytes, tuple[Grant, int]] = {}

    def usable(self) -> set[bytes]:
        return {key for key, (_, expires) in self.valid.items() if expires > self.now}

    @rule(lifetime=st.integers(1, 9), method=st.sampled_from([b"GET", b"PUT"]))
    def issue(self, lifetime, method):
        self.number += 1
        hashed = hashToken(b"%d" % self.number)
        made = grant(method)
        expires = self.now + lifetime
        try:
            self.book.issue(hashed, made, expires, self.now)
        except TooManyTickets:
            assert len(self.usable()) == self.MOST
        else:
            assert len(self.usable()) < self.MOST
            self.valid[hashed] = (made, expires)

    @rule(number=st.integers(0, 30))
    def consume(self, number):
        hashed = hashToken(b"%d" % number)
        usable = hashed in self.usable()
        made = self.valid.pop(hashed, (None, 0))[0]
        assert self.book.consume(hashed, self.now) == (made if usable else None)

    @rule(number=st.integers(0, 30))
    def revoke(self, number):
        hashed = hashToken(b"%d" % number)
        self.valid.pop(hashed, None)
        self.book.revoke(hashed)

    @rule(seconds=st.integers(1, 5))
    def wait(self, seconds):
        self.now += seconds

    @invariant()
    def bounded(self):
        assert len(self.usable()) <= len(self.book) <= self.MOST


class StoreTests(SynchronousTestCase):
    """
    The store in memory.
    """

    def test_store(self):
        """
        It is a book, with the time of the reactor.
        """
        store = MemoryTicketStore(maxTickets=1)
        self.successResultOf(store.issue(b"h", grant(), 60))
        self.failureResultOf(store.issue(b"i", grant(), 60), TooManyTickets)
        self.assertEqual(self.successResultOf(store.consume(b"h")), grant())
        self.assertIsNone(self.successResultOf(store.consume(b"h")))
        self.successResultOf(store.issue(b"h", grant(), 60))
        self.successResultOf(store.revoke(b"h"))
        self.assertIsNone(self.successResultOf(store.consume(b"h")))
        self.successResultOf(store.close())


TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126))
TICKETS = st.builds(
    Ticket,
    url=TEXT.filter(bool),
    token=st.text("aZ09-._~+/=", min_size=22, max_size=512).map(str.encode),
    method=st.sampled_from([b"GET", b"PUT"]),
    lifetime=st.integers(0, 2**62 - 1),
    maxSize=st.none() | st.integers(0, 2**62 - 1),
    certificate=TEXT.map(str.encode),
    serverName=TEXT.filter(lambda text: len(text) < 255),
)


class BoxTests(SynchronousTestCase):
    """
    Tickets in boxes.
    """

    BOX = ticketToBox(
        Ticket(url="https://x/", token=b"A" * 43, method=b"PUT", lifetime=60)
    )

    @given(TICKETS)
    def test_roundTrip(self, ticket):
        """
        A ticket arrives as it was sent.
        """
        self.assertEqual(ticketFromBox(ticketToBox(ticket)), ticket)

    def test_least(self):
        """
        What is not there is not sent.
        """
        self.assertEqual(set(self.BOX), {b"url", b"token", b"method", b"lifetime"})
        ticket = ticketFromBox(self.BOX)
        self.assertIsNone(ticket.maxSize)
        self.assertEqual((ticket.certificate, ticket.serverName), (b"", ""))

    def test_repr(self):
        """
        The token is not in the repr, nor is the certificate.
        """
        ticket = ticketFromBox({**self.BOX, b"certificate": b"PEM"})
        self.assertNotIn("A" * 22, repr(ticket))
        self.assertNotIn("PEM", repr(ticket))

    def test_malformed(self):
        """
        Anything else is refused, and the error does not show the token.
        """
        for change in (
            {b"token": b"Z" * 21},
            {b"token": b"Z" * 513},
            {b"token": b"Z" * 43 + b"\n"},
            {b"token": b"Z" * 43 + b" "},
            {b"token": b""},
            {b"method": b"get"},
            {b"method": b"DELETE"},
            {b"lifetime": b""},
            {b"lifetime": b"1.5"},
            {b"lifetime": b"-1"},
            {b"lifetime": b"%d" % 2**62},
            {b"max_size": b""},
            {b"max_size": b"-1"},
            {b"url": b""},
            {b"url": b"x" * 2049},
            {b"url": b"\xff"},
            {b"certificate": b"\xff"},
            {b"certificate": b"x" * 16_385},
            {b"server_name": b"x" * 256},
            {b"server_name": b"\xff"},
        ):
            error = self.assertRaises(
                InvalidChunk, ticketFromBox, {**self.BOX, **change}
            )
            self.assertNotIn("ZZZ", str(error))
        for missing in self.BOX:
            box = {key: self.BOX[key] for key in self.BOX if key != missing}
            with self.assertRaises(InvalidChunk):
                ticketFromBox(box)

    @given(st.dictionaries(st.sampled_from(sorted(BOX)), st.binary(max_size=60)))
    def test_anything(self, change):
        """
        Whatever is in a box: it is a ticket, or an error that says so.
        """
        with contextlib.suppress(InvalidChunk):
            ticketFromBox({**self.BOX, **change})

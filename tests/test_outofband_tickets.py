# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The rules of L{amp_stream.outofband._tickets}."""

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

from amp_stream.outofband import Ticket
from amp_stream.outofband._tickets import (
    Grant,
    Refusal,
    TicketBook,
    hashToken,
    judge,
    ticketFromBox,
    ticketToBox,
)
from tests.codes import classOf
from tests.simulation import exploration

TARGET = object()


def grant(method: bytes = b"PUT", **kw: Any) -> Grant:
    """Make a grant."""
    return Grant(method=method, target=TARGET, **kw)


class JudgeTests(SynchronousTestCase):
    """Requests, before their bodies."""

    def status(self, given: Grant, method: bytes, length: int | None) -> int | None:
        refusal = judge(given, method, length)
        return None if refusal is None else refusal.status

    def test_table(self):
        """
        A request is refused for its method, and for a length that cannot be
        right.
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

    def test_noLength(self):
        """A PUT without a length and without chunks is refused; a GET needs neither."""
        self.assertEqual(judge(grant(), b"PUT", 0, False).status, 411)
        self.assertEqual(judge(grant(size=0), b"PUT", 0, False).status, 411)
        self.assertEqual(judge(grant(b"GET"), b"PUT", 0, False).status, 405)
        self.assertIsNone(judge(grant(b"GET"), b"GET", 0, False))

    def test_allowed(self):
        """For another method, the answer has the one that would do."""
        refusal = judge(grant(b"GET"), b"PUT", 0)
        self.assertIsInstance(refusal, Refusal)
        self.assertEqual(refusal.allowed, b"GET")

    def test_hash(self):
        """The hash of a token is kept, not the token."""
        token = b"A" * 43
        self.assertEqual(len(hashToken(token)), 32)
        self.assertEqual(hashToken(token), hashToken(b"A" * 43))
        self.assertNotEqual(hashToken(token), hashToken(b"A" * 42 + b"B"))

    def test_repr(self):
        """The repr of a grant leaves its target out, which may have a token."""
        made = Grant(method=b"PUT", target="the token")
        self.assertNotIn("the token", repr(made))


class BookTests(SynchronousTestCase):
    """Tickets that have been issued and not been used."""

    def test_once(self):
        """A ticket can be used once."""
        book = TicketBook(10, 5)
        book.issue(b"h", grant(), 0)
        self.assertEqual(len(book), 1)
        self.assertEqual(book.consume(b"h", 0), grant())
        self.assertIsNone(book.consume(b"h", 0))
        self.assertEqual(len(book), 0)

    def test_unknown(self):
        """A ticket that was never issued cannot be used."""
        self.assertIsNone(TicketBook(10, 5).consume(b"h", 0))

    def test_time(self):
        """A ticket can be used until its time is up."""
        for now, usable in ((9.999, True), (10, False), (11, False)):
            book = TicketBook(10, 5)
            book.issue(b"h", grant(), 0)
            self.assertEqual(book.consume(b"h", now) is not None, usable)

    def test_expire(self):
        """
        Tickets that are too old are given back once, so that their transfers
        can fail.
        """
        book = TicketBook(10, 5)
        self.assertIsNone(book.nextEnd)
        old, new = grant(size=1), grant(size=2)
        book.issue(b"1", old, 0)
        book.issue(b"2", new, 4)
        self.assertEqual(book.nextEnd, 10)
        self.assertEqual(book.expire(9.999), [])
        self.assertEqual(book.expire(10), [old])
        self.assertEqual(book.nextEnd, 14)
        self.assertEqual(book.expire(14), [new])
        self.assertEqual(book.expire(14), [])
        self.assertIsNone(book.nextEnd)

    def test_revoked(self):
        """A revoked ticket cannot be used; revoking it twice does no harm."""
        book = TicketBook(10, 5)
        book.issue(b"h", grant(), 0)
        book.revoke(b"h")
        book.revoke(b"h")
        self.assertIsNone(book.consume(b"h", 0))

    def test_clear(self):
        """When all tickets are forgotten, what they allowed is given back."""
        book = TicketBook(10, 5)
        book.issue(b"1", grant(size=1), 0)
        book.issue(b"2", grant(size=2), 0)
        self.assertEqual(book.clear(), [grant(size=1), grant(size=2)])
        self.assertEqual(book.clear(), [])
        self.assertIsNone(book.consume(b"1", 0))

    def test_tooMany(self):
        """A bounded number of tickets can wait to be used."""
        book = TicketBook(10, 2)
        book.issue(b"1", grant(), 0)
        book.issue(b"2", grant(), 0)
        with self.assertRaises(classOf(b"OOB_TICKETS")):
            book.issue(b"3", grant(), 9)
        self.assertIsNone(book.consume(b"3", 9))
        book.consume(b"1", 9)
        book.issue(b"3", grant(), 9)
        self.assertEqual(len(book), 2)
        self.assertIsNotNone(book.consume(b"3", 10))

    def test_secrecy(self):
        """The hashes of tokens are in no repr of the book."""
        book = TicketBook(10, 5)
        book.issue(b"hashed", grant(), 0)
        self.assertNotIn("hashed", repr(book))
        self.assertNotIn("hashed", repr(list(book._entries.values())))

    @exploration
    def test_machine(self):
        """
        A ticket is used at most once, in time, and never after it was revoked, in
        whatever order things happen; and no more tickets are kept than allowed.
        """
        run_state_machine_as_test(BookMachine)


class BookMachine(RuleBasedStateMachine):
    """A book beside a dictionary that says what it should have."""

    MOST = 4
    LIFETIME = 5

    def __init__(self) -> None:
        super().__init__()
        self.book = TicketBook(self.LIFETIME, self.MOST)
        self.now = 0
        self.number = 0
        self.kept: dict[bytes, tuple[Grant, int]] = {}

    @rule(method=st.sampled_from([b"GET", b"PUT"]))
    def issue(self, method):
        self.number += 1
        hashed = hashToken(b"%d" % self.number)
        made = grant(method)
        try:
            self.book.issue(hashed, made, self.now)
        except classOf(b"OOB_TICKETS"):
            assert len(self.kept) == self.MOST
        else:
            self.kept[hashed] = (made, self.now + self.LIFETIME)

    @rule(number=st.integers(0, 30))
    def consume(self, number):
        hashed = hashToken(b"%d" % number)
        made, expires = self.kept.get(hashed, (None, 0))
        if self.now >= expires:
            made = None
        else:
            del self.kept[hashed]
        assert self.book.consume(hashed, self.now) == made

    @rule(number=st.integers(0, 30))
    def revoke(self, number):
        hashed = hashToken(b"%d" % number)
        self.kept.pop(hashed, None)
        self.book.revoke(hashed)

    @rule(seconds=st.integers(1, 5), looks=st.booleans())
    def wait(self, seconds, looks):
        self.now += seconds
        if looks:
            old = [key for key, (_, end) in self.kept.items() if end <= self.now]
            assert self.book.expire(self.now) == [self.kept.pop(key)[0] for key in old]

    @invariant()
    def bounded(self):
        ends = [end for _, end in self.kept.values()]
        assert len(self.book) == len(self.kept) <= self.MOST
        assert self.book.nextEnd == min(ends, default=None)


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
    """Tickets in boxes."""

    BOX = ticketToBox(
        Ticket(url="https://x/", token=b"A" * 43, method=b"PUT", lifetime=60)
    )

    @given(TICKETS)
    def test_roundTrip(self, ticket):
        """A ticket arrives as it was sent."""
        self.assertEqual(ticketFromBox(ticketToBox(ticket)), ticket)

    def test_least(self):
        """Optional fields without a value are not sent."""
        self.assertEqual(set(self.BOX), {b"url", b"token", b"method", b"lifetime"})
        ticket = ticketFromBox(self.BOX)
        self.assertIsNone(ticket.maxSize)
        self.assertEqual((ticket.certificate, ticket.serverName), (b"", ""))

    def test_repr(self):
        """The token is not in the repr, nor is the certificate."""
        ticket = ticketFromBox({**self.BOX, b"certificate": b"PEM"})
        self.assertNotIn("A" * 22, repr(ticket))
        self.assertNotIn("PEM", repr(ticket))

    def test_malformed(self):
        """Anything else is refused, and the error does not show the token."""
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
                classOf(b"STREAM_INVALID_CHUNK"), ticketFromBox, {**self.BOX, **change}
            )
            self.assertNotIn("ZZZ", str(error))
        for missing in self.BOX:
            box = {key: self.BOX[key] for key in self.BOX if key != missing}
            with self.assertRaises(classOf(b"STREAM_INVALID_CHUNK")):
                ticketFromBox(box)

    @given(st.dictionaries(st.sampled_from(sorted(BOX)), st.binary(max_size=60)))
    def test_anything(self, change):
        """Whatever is in a box: it is a ticket, or an error that says so."""
        with contextlib.suppress(classOf(b"STREAM_INVALID_CHUNK")):
            ticketFromBox({**self.BOX, **change})

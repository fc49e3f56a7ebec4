# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
One-time tokens: what they allow, how long, and what is refused.

Whoever holds a token may make the one request that its grant describes.  The first
request that presents it uses it up, whatever becomes of that request: there is no
second try for somebody who found it.
"""

from __future__ import annotations

import hashlib
from hmac import compare_digest

from attrs import field, frozen

from amp_stream.errors import TooManyTickets

__all__ = [
    "DEFAULT_MAX_TICKETS",
    "Grant",
    "Owner",
    "Refusal",
    "TicketBook",
    "hashToken",
    "judge",
]

DEFAULT_MAX_TICKETS = 10_000
"""
How many tickets may wait to be used at once, where nobody says otherwise.
"""


@frozen
class Owner:
    """
    The server that issued a ticket, for others that share its store.

    @ivar name: Unique among them.

    @ivar url: Where it takes requests that came to another; empty if it does not.

    @ivar certificate: The certificate that it has there, in PEM; empty without TLS.

    @ivar serverName: The name that the certificate is for.
    """

    name: str
    url: str = ""
    certificate: bytes = field(default=b"", repr=False)
    serverName: str = ""


@frozen(kw_only=True)
class Grant:
    """
    What a token allows.

    @ivar method: The HTTP method: C{b"GET"} or C{b"PUT"}.

    @ivar connection: A name of the AMP connection that the stream belongs to, unique
        among all servers that share a store.

    @ivar stream: The number of the stream on that connection.

    @ivar owner: The server that issued it.

    @ivar size: How many bytes the body of the request has (bytes), or L{None} if
        nobody knows.

    @ivar maxSize: The most that it may have (bytes), or L{None} for no bound.
    """

    method: bytes
    connection: str
    stream: int
    owner: Owner
    size: int | None = None
    maxSize: int | None = None


@frozen
class Refusal:
    """
    Why a request is not served.

    @ivar status: The HTTP status code (RFC 9110, section 15).

    @ivar reason: What to tell the client; never anything of the token.

    @ivar allowed: With status 405, the method that would do.
    """

    status: int
    reason: str
    allowed: bytes = b""


def hashToken(token: bytes) -> bytes:
    """
    @return: What to keep of a token: its SHA-256.  A token is random, so that needs
        no salt, and whoever reads it learns nothing that a server would accept.
    """
    return hashlib.sha256(token).digest()


def judge(grant: Grant, method: bytes, length: int | None) -> Refusal | None:
    """
    Look at a request, before its body.

    @param grant: What its token allows.

    @param method: Its method.

    @param length: The length of its body (bytes), or L{None} if it does not say.

    @return: Why it is refused, or L{None} if it is not.
    """
    if method != grant.method:
        text = f"this ticket is for {grant.method.decode('ascii')}"
        return Refusal(405, text, grant.method)
    if grant.method == b"GET":
        return None if length == 0 else Refusal(400, "a GET with a body")
    most = grant.maxSize if grant.size is None else grant.size
    if length is not None and most is not None and length > most:
        return Refusal(413, f"the body may have {most} bytes")
    if length is not None and grant.size is not None and length < grant.size:
        return Refusal(400, f"the body must have {grant.size} bytes")
    return None


@frozen
class _Entry:
    hashed: bytes = field(repr=False)
    grant: Grant
    expires: float


class TicketBook:
    """
    Tickets that have been issued and not been used.

    A token is looked up by its hash.  What such a search gives away by the time that
    it takes is about the hash, of which nobody can choose any part.
    """

    def __init__(self, maxTickets: int = DEFAULT_MAX_TICKETS) -> None:
        """
        @param maxTickets: The most to keep at once.
        """
        self._maxTickets = maxTickets
        self._entries: dict[bytes, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def issue(self, hashed: bytes, grant: Grant, expires: float, now: float) -> None:
        """
        Note a ticket.

        @param hashed: The L{hashToken} of its token.

        @param expires: From when on it is not valid (seconds).

        @param now: The time (seconds, from the same start).

        @raise TooManyTickets: If there are too many.
        """
        if len(self._entries) >= self._maxTickets:
            self._entries = {
                key: entry
                for key, entry in self._entries.items()
                if entry.expires > now
            }
        if len(self._entries) >= self._maxTickets:
            raise TooManyTickets
        self._entries[hashed] = _Entry(hashed, grant, expires)

    def consume(self, hashed: bytes, now: float) -> Grant | None:
        """
        Use a ticket: it is gone afterwards.

        @return: What it allows, or L{None} if it was never issued, has been used or
            revoked, or is too old.
        """
        entry = self._entries.pop(hashed, None)
        if entry is None or not compare_digest(entry.hashed, hashed):
            return None
        return entry.grant if now < entry.expires else None

    def revoke(self, hashed: bytes) -> None:
        """
        Forget a ticket, if it is still there.
        """
        self._entries.pop(hashed, None)

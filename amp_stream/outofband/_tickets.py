# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Tickets: what a one-time token allows, for how long, and how it travels over AMP.

The holder of a token may make the one request that its grant describes.  The first
request that presents the token uses it up, whatever becomes of that request, so that
a token that was found cannot be tried a second time.

This module does no I/O, reads no clock and draws no random numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Protocol

from attrs import field, frozen

from amp_stream._sansio.frames import parseNumber
from amp_stream.errors import CapacityExceeded, InvalidValue, StreamError

MAX_TICKETS = 10_000
"""How many unused tickets a server keeps at once."""

_MAX_URL = 2048
_MAX_TOKEN = 512
_MIN_TOKEN = 22  # 128 bits, six to a character
_MAX_CERTIFICATE = 16_384
_MAX_NAME = 255
_TOKEN = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/="
)


@frozen(kw_only=True)
class Ticket:
    """
    The permission to make one HTTP request.

    @ivar url: Where to send the request.

    @ivar token: The token that follows C{Bearer} in the C{Authorization} header (RFC
        6750, section 2.1).  The C{repr} of a ticket leaves it out.

    @ivar method: C{b"GET"} or C{b"PUT"}.

    @ivar lifetime: For how long the ticket is valid, from when it was issued
        (seconds).

    @ivar maxSize: The most bytes that the body may have, or L{None}.

    @ivar certificate: The certificate that the server must have, in PEM; empty if
        the usual authorities vouch for the server, or if it speaks plain HTTP.

    @ivar serverName: The name that the certificate must be for, if that is not the
        host of C{url}.
    """

    url: str
    token: bytes = field(repr=False)
    method: bytes
    lifetime: int
    maxSize: int | None = None
    certificate: bytes = field(default=b"", repr=False)
    serverName: str = ""


def ticketToBox(ticket: Ticket) -> dict[bytes, bytes]:
    """@return: The keys and values that describe a ticket."""
    box = {
        b"url": ticket.url.encode("ascii"),
        b"token": ticket.token,
        b"method": ticket.method,
        b"lifetime": b"%d" % ticket.lifetime,
    }
    if ticket.maxSize is not None:
        box[b"max_size"] = b"%d" % ticket.maxSize
    if ticket.certificate:
        box[b"certificate"] = ticket.certificate
    if ticket.serverName:
        box[b"server_name"] = ticket.serverName.encode("ascii")
    return box


def ticketFromBox(box: dict[bytes, bytes]) -> Ticket:
    """
    Read a ticket.

    @raise InvalidValue: The box does not describe one.
    """
    token = box.get(b"token", b"")
    if not _MIN_TOKEN <= len(token) <= _MAX_TOKEN or not _TOKEN.issuperset(token):
        raise InvalidValue("token must be 22 to 512 characters of RFC 6750")
    method = box.get(b"method")
    if method not in (b"GET", b"PUT"):
        raise InvalidValue("method must be GET or PUT")
    maxSize = box.get(b"max_size")
    return Ticket(
        url=_text(box, "url", _MAX_URL, least=1),
        token=token,
        method=method,
        lifetime=parseNumber("lifetime", box.get(b"lifetime")),
        maxSize=None if maxSize is None else parseNumber("max_size", maxSize),
        certificate=_text(box, "certificate", _MAX_CERTIFICATE).encode("ascii"),
        serverName=_text(box, "server_name", _MAX_NAME),
    )


def _text(box: dict[bytes, bytes], name: str, most: int, least: int = 0) -> str:
    value = box.get(name.encode("ascii"), b"")
    if not least <= len(value) <= most or not value.isascii():
        raise InvalidValue(f"{name} must be {least} to {most} characters of ASCII")
    return value.decode("ascii")


class RequestTarget(Protocol):
    """The end of a stream that a request is for."""

    def begin(self, message: Any) -> object:
        """
        Start the transfer.

        @param message: For a C{PUT}, the L{BodyReader} of the request; for a C{GET},
            the L{BodyWriter} of the response.
        """

    def data(self, data: bytes) -> object:
        """Take the next bytes of the body of a C{PUT}."""

    def ended(self) -> object:
        """Take note that the body of a C{PUT} is complete."""

    def cut(self, error: StreamError) -> object:
        """Take note that the connection was lost."""

    def fail(self, error: StreamError) -> object:
        """Take note that no request will come."""


@frozen(kw_only=True)
class Grant:
    """
    What a token allows.

    @ivar method: The HTTP method: C{b"GET"} or C{b"PUT"}.

    @ivar target: The end of a stream that the request is for.

    @ivar size: The length of the stream (bytes), or L{None} if it is not known.

    @ivar maxSize: The most bytes that the body may have, or L{None} for no bound.
    """

    method: bytes
    target: RequestTarget = field(repr=False)
    size: int | None = None
    maxSize: int | None = None


@frozen
class Refusal:
    """
    Why a request is not served.

    @ivar status: The HTTP status code (RFC 9110, section 15).

    @ivar reason: The text for the client, which never contains any part of a token.

    @ivar allowed: With status 405, the method that the ticket is for.
    """

    status: int
    reason: str
    allowed: bytes = b""


Authorise = Callable[[bytes, bytes, "int | None", bool], "RequestTarget | Refusal"]
"""
Decides about a request, from its token, its method, the length of its body (bytes, or
L{None} if it is chunked), and whether it says how its body ends.
"""


def hashToken(token: bytes) -> bytes:
    """
    @return: The SHA-256 of a token, which the server keeps in place of the token.  A
        token is random, so its hash needs no salt.
    """
    return hashlib.sha256(token).digest()


def judge(
    grant: Grant, method: bytes, length: int | None, hasLength: bool = True
) -> Refusal | None:
    """
    Check a request before its body is read.

    @param grant: What its token allows.

    @param method: Its method.

    @param length: The length of its body (bytes), or L{None} if it is chunked.

    @param hasLength: Whether it has a header that tells how its body ends.

    @return: Why the request is refused, or L{None} if it is served.
    """
    if method != grant.method:
        text = f"this ticket is for {grant.method.decode('ascii')}"
        return Refusal(405, text, grant.method)
    if grant.method == b"GET":
        return None if length == 0 else Refusal(400, "a GET with a body")
    if not hasLength:
        # RFC 9110, section 15.5.12: such a body would have no bytes.
        return Refusal(411, "a PUT needs Content-Length or Transfer-Encoding")
    most = grant.maxSize if grant.size is None else grant.size
    if length is not None and most is not None and length > most:
        return Refusal(413, f"the body may have {most} bytes")
    if length is not None and grant.size is not None and length < grant.size:
        return Refusal(400, f"the body must have {grant.size} bytes")
    return None


class TicketBook:
    """
    The unused tickets of one server.

    A token is looked up by its hash.  The time that a look-up takes can only reveal
    something about the hash, no part of which a client can choose.
    """

    def __init__(self, lifetime: float, maxTickets: int) -> None:
        """
        @param lifetime: For how long a ticket is valid (seconds).

        @param maxTickets: The most tickets to keep at once.
        """
        self._lifetime = lifetime
        self._maxTickets = maxTickets
        # In the order of their ends, as all live equally long.
        self._entries: dict[bytes, tuple[Grant, float]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def nextEnd(self) -> float | None:
        """When the oldest ticket becomes invalid, or L{None} if there is no ticket."""
        return next((expires for _, expires in self._entries.values()), None)

    def issue(self, hashed: bytes, grant: Grant, now: float) -> None:
        """
        Keep a ticket until it is used, revoked or too old.

        @param hashed: The L{hashToken} of its token.

        @param now: The time (seconds).

        @raise CapacityExceeded: C{maxTickets} tickets are waiting already.
        """
        if len(self._entries) >= self._maxTickets:
            raise CapacityExceeded(code=b"OOB_TICKETS")
        self._entries[hashed] = (grant, now + self._lifetime)

    def consume(self, hashed: bytes, now: float) -> Grant | None:
        """
        Use a ticket up.

        @return: What it allows, or L{None} if it was never issued, was used or revoked
            before, or is too old.
        """
        grant, expires = self._entries.get(hashed, (None, now))
        if now >= expires:
            return None
        del self._entries[hashed]
        return grant

    def revoke(self, hashed: bytes) -> None:
        """Forget a ticket, if it has not been used."""
        self._entries.pop(hashed, None)

    def expire(self, now: float) -> list[Grant]:
        """
        Forget the tickets that are too old.

        @return: What they allowed.
        """
        old = []
        for hashed, (grant, expires) in list(self._entries.items()):
            if expires > now:
                break
            del self._entries[hashed]
            old.append(grant)
        return old

    def clear(self) -> list[Grant]:
        """
        Forget all tickets.

        @return: What they allowed.
        """
        grants = [grant for grant, _ in self._entries.values()]
        self._entries.clear()
        return grants

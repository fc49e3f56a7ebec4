# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
A ticket, as it travels in a box of the AMP connection.
"""

from __future__ import annotations

from attrs import field, frozen

from amp_stream._sansio.frames import parseNumber
from amp_stream.errors import InvalidChunk

__all__ = ["Ticket", "ticketFromBox", "ticketToBox"]

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
    What its holder needs for one HTTP request.

    @ivar url: Where to send the request.

    @ivar token: What goes behind C{Bearer} in the C{Authorization} header (RFC 6750,
        section 2.1).  It is not in the C{repr} of a ticket.

    @ivar method: C{b"GET"} or C{b"PUT"}.

    @ivar lifetime: For how long it can be used, from when it was issued (seconds).

    @ivar maxSize: The most bytes that the body may have, or L{None}.

    @ivar certificate: The certificate that the server must have, in PEM; empty if
        the usual authorities vouch for it, or if it speaks plain HTTP.

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
    """
    @return: The keys and values that describe a ticket.
    """
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

    @raise InvalidChunk: If it is not one.
    """
    token = box.get(b"token", b"")
    if not _MIN_TOKEN <= len(token) <= _MAX_TOKEN or not _TOKEN.issuperset(token):
        raise InvalidChunk("token must be 22 to 512 characters of RFC 6750")
    method = box.get(b"method")
    if method not in (b"GET", b"PUT"):
        raise InvalidChunk("method must be GET or PUT")
    maxSize = box.get(b"max_size")
    return Ticket(
        url=_text("url", box.get(b"url", b""), _MAX_URL, least=1),
        token=token,
        method=method,
        lifetime=parseNumber("lifetime", box.get(b"lifetime")),
        maxSize=None if maxSize is None else parseNumber("max_size", maxSize),
        certificate=_text(
            "certificate", box.get(b"certificate", b""), _MAX_CERTIFICATE
        ).encode("ascii"),
        serverName=_text("server_name", box.get(b"server_name", b""), _MAX_NAME),
    )


def _text(name: str, value: bytes, most: int, least: int = 0) -> str:
    if not least <= len(value) <= most or not value.isascii():
        raise InvalidChunk(f"{name} must be {least} to {most} characters of ASCII")
    return value.decode("ascii")

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The AMP Commands of the file service."""

from __future__ import annotations

from typing import Any

from twisted.protocols import amp

from amp_stream import OutOfBand, Stream
from amp_stream.files._storage import FILE_ERRORS
from amp_stream.outofband._tickets import ticketFromBox, ticketToBox

MAX_PAGE = 190
"""
The most files that one answer to L{ListFiles} describes: with the longest names
and sizes, they still fit the 65,535 bytes of one AMP value.
"""


_Fields = list[tuple[bytes, amp.Argument]]

_NAME: _Fields = [(b"name", amp.Unicode())]
_FILE: _Fields = [(b"size", amp.Integer()), (b"modified", amp.DateTime())]


class _FileCommand(amp.Command):
    errors = FILE_ERRORS


class PutFile(_FileCommand):
    """
    Store a file, in place of an older one of the same name.

    The service answers when the whole file is on the disk under its name.  Until then,
    and if anything fails, the name keeps the older file.

    The answer has the size (bytes) and the SHA-256 (32 bytes) of what was stored.
    """

    arguments = [*_NAME, (b"body", Stream(digest=True))]
    response = [*_FILE, (b"sha256", amp.String())]


class GetFile(_FileCommand):
    """
    Read a file.

    The body is the file that had the name when the service answered, even if another
    file gets the name, or it is removed, while the bytes are on their way.
    """

    arguments = _NAME
    response = [*_FILE, (b"body", Stream(digest=True))]


class PutFileOutOfBand(_FileCommand):
    """Store a file, as L{PutFile} does, whose bytes come over HTTPS."""

    arguments = [*_NAME, (b"body", OutOfBand(digest=True))]
    response = PutFile.response


class GetFileOutOfBand(_FileCommand):
    """Read a file, as L{GetFile} does, over HTTPS."""

    arguments = GetFile.arguments
    response = [*_FILE, (b"body", OutOfBand(digest=True))]


class _TicketFields(amp.Argument):
    """
    A L{Ticket <amp_stream.outofband.Ticket>}.  On the wire, its fields are
    keys of the box itself: C{url}, C{token}, C{method}, C{lifetime} (seconds),
    C{max_size} (bytes), C{certificate} and C{server_name}.
    """

    def toBox(
        self, name: bytes, strings: amp.AmpBox, objects: dict[str, Any], proto: Any
    ) -> None:
        strings.update(ticketToBox(objects[name.decode("ascii")]))

    def fromBox(
        self, name: bytes, strings: amp.AmpBox, objects: dict[str, Any], proto: Any
    ) -> None:
        objects[name.decode("ascii")] = ticketFromBox(strings)


class OfferFile(_FileCommand):
    """
    Make a ticket with which any HTTP client can read a file, once, with a GET.

    The ticket is for the file that had the name at that moment.  It is void when
    this connection is closed.  C{number} is the argument of L{AwaitOffer}.
    """

    arguments = _NAME
    response = [(b"number", amp.Integer()), *_FILE, (b"ticket", _TicketFields())]


class AwaitOffer(_FileCommand):
    """
    Wait until the ticket of an offer has been used, and the service has handed the last
    byte to the HTTP connection.  The answer has the number of bytes.  The call fails
    if the ticket expired or the transfer was cut.  It can be made once for each offer.
    """

    arguments = [(b"number", amp.Integer())]
    response = [(b"size", amp.Integer())]


class ListFiles(_FileCommand):
    """
    List some files, in the order of their names (by code point).

    C{after} is the last name of the page before, or empty.  The answer has up to
    C{limit} files, but never more than L{MAX_PAGE}, and says whether there are
    more.
    """

    arguments = [(b"after", amp.Unicode()), (b"limit", amp.Integer())]
    response = [(b"files", amp.AmpList([*_NAME, *_FILE])), (b"more", amp.Boolean())]


class StatFile(_FileCommand):
    """Tell the size of a file (bytes), and when it was written."""

    arguments = _NAME
    response = _FILE


class RemoveFile(_FileCommand):
    """Remove a file.  The service answers when the disk has forgotten it."""

    arguments = _NAME
    response = []


class Ping(amp.Command):
    """Get the payload back.  The service does not touch its disk."""

    arguments = [(b"payload", amp.String(optional=True))]
    response = [(b"payload", amp.String(optional=True))]

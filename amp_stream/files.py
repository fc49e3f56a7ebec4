# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The AMP Commands of the file service.

Each large value can travel in four ways: over a stream (L{PutFile}, L{GetFile}), in
one box, spread over keys (L{PutBig}, L{GetBig}), as an ordinary argument
(L{PutValue}, L{GetValue}), whose box the connection cuts into fragments, or over an
HTTP connection of its own (L{PutFileOutOfBand}, L{GetFileOutOfBand}).
"""

from __future__ import annotations

from typing import Any

from twisted.protocols.amp import (
    AmpBox,
    AmpList,
    Argument,
    Boolean,
    Command,
    DateTime,
    Integer,
    String,
    Unicode,
)

from amp_stream import BigString, Limits, OutOfBand, Stream
from amp_stream._commands import argumentKey
from amp_stream.fileerrors import FILE_ERRORS
from amp_stream.outofband._tickets import ticketFromBox, ticketToBox

__all__ = [
    "FILE_LIMITS",
    "MAX_BIG",
    "MAX_PAGE",
    "AwaitTicket",
    "GetBig",
    "GetFile",
    "GetFileOutOfBand",
    "GetValue",
    "ListFiles",
    "Ping",
    "PutBig",
    "PutFile",
    "PutFileOutOfBand",
    "PutValue",
    "RemoveFile",
    "StatFile",
    "TicketFields",
    "TicketFile",
]

MAX_BIG = 2**30
"""
The most bytes that L{PutBig}, L{PutValue} and their like carry.  Both ends hold all of
them in memory.
"""

FILE_LIMITS = Limits(maxBoxSize=MAX_BIG + 65_536, maxBoxKeys=2 * MAX_BIG // 65_535)
"""
What both ends allow each other.
"""

MAX_PAGE = 190
"""
The most files that one answer to L{ListFiles} describes: with the longest names
and sizes, they still fit the 65,535 bytes of one AMP value.
"""


class PutFile(Command):
    """
    Store a value under a name, in place of the one that it had.

    The answer comes when the whole value has its name, on the disk.  Until then,
    and if anything fails, the name keeps what it had.

    The SHA-256 of the answer is that of the bytes that were stored: 32 bytes.
    """

    arguments = [(b"name", Unicode()), (b"body", Stream(digest=True))]
    response = [(b"size", Integer()), (b"sha256", String())]
    errors = FILE_ERRORS


class GetFile(Command):
    """
    Read the value of a name.

    It is the value that the name had when the command was answered, even if it
    is given another one, or removed, while the bytes are on their way.
    """

    arguments = [(b"name", Unicode())]
    response = [
        (b"size", Integer()),
        (b"modified", DateTime()),
        (b"body", Stream(digest=True)),
    ]
    errors = FILE_ERRORS


class PutFileOutOfBand(Command):
    """
    Store a value, as L{PutFile} does, that comes over HTTP.
    """

    arguments = [(b"name", Unicode()), (b"body", OutOfBand(digest=True))]
    response = PutFile.response
    errors = FILE_ERRORS


class GetFileOutOfBand(Command):
    """
    Read the value of a name, as L{GetFile} does, over HTTP.
    """

    arguments = [(b"name", Unicode())]
    response = [
        (b"size", Integer()),
        (b"modified", DateTime()),
        (b"body", OutOfBand(digest=True)),
    ]
    errors = FILE_ERRORS


class PutBig(Command):
    """
    Store a value, as L{PutFile} does, that is in the box of this command.

    Nothing is stored if the value does not have the SHA-256 that was given (32
    bytes).
    """

    arguments = [
        (b"name", Unicode()),
        (b"body", BigString(maxSize=MAX_BIG)),
        (b"sha256", String()),
    ]
    response = [(b"size", Integer()), (b"sha256", String())]
    errors = FILE_ERRORS


class GetBig(Command):
    """
    Read the value of a name, in the box of the answer.
    """

    arguments = [(b"name", Unicode())]
    response = [
        (b"modified", DateTime()),
        (b"body", BigString(maxSize=MAX_BIG)),
        (b"sha256", String()),
    ]
    errors = FILE_ERRORS


class PutValue(Command):
    """
    Store a value, as L{PutBig} does, in an argument that knows nothing of sizes.
    """

    arguments = [(b"name", Unicode()), (b"body", String()), (b"sha256", String())]
    response = PutBig.response
    errors = FILE_ERRORS


class GetValue(Command):
    """
    Read the value of a name, as L{GetBig} does, in an ordinary argument.
    """

    arguments = [(b"name", Unicode())]
    response = [(b"modified", DateTime()), (b"body", String()), (b"sha256", String())]
    errors = FILE_ERRORS


class TicketFields(Argument):
    """
    A L{Ticket <amp_stream.outofband.Ticket>}.  On the wire, its fields are
    keys of the box itself: C{url}, C{token}, C{method}, C{lifetime} (seconds),
    C{max_size} (bytes), C{certificate} and C{server_name}.
    """

    def toBox(
        self, name: bytes, strings: AmpBox, objects: dict[str, Any], proto: Any
    ) -> None:
        """
        See L{Argument.toBox}.
        """
        strings.update(ticketToBox(objects[argumentKey(name)]))

    def fromBox(
        self, name: bytes, strings: AmpBox, objects: dict[str, Any], proto: Any
    ) -> None:
        """
        See L{Argument.fromBox}.

        @raise InvalidChunk: If there is no ticket in the box.
        """
        objects[argumentKey(name)] = ticketFromBox(strings)


class TicketFile(Command):
    """
    Get a ticket with which somebody who has no AMP connection can read the value of a
    name, once, with an HTTP GET.

    It is the value that the name had when the command was answered.  The ticket is
    void when this connection is closed.  C{number} is what to ask L{AwaitTicket} for.
    """

    arguments = [(b"name", Unicode())]
    response = [
        (b"number", Integer()),
        (b"size", Integer()),
        (b"modified", DateTime()),
        (b"ticket", TicketFields()),
    ]
    errors = FILE_ERRORS


class AwaitTicket(Command):
    """
    Wait until the ticket of a number has been used, and the last byte has been handed
    to the HTTP connection.  The answer has how many there were (bytes); it is an error
    if the ticket expired, or if the transfer was cut.  It can be asked once.
    """

    arguments = [(b"number", Integer())]
    response = [(b"size", Integer())]
    errors = FILE_ERRORS


class ListFiles(Command):
    """
    List some files, in the order of their names (by code point).

    C{after} is the last name of the page before, or empty.  The answer has up to
    C{limit} files, but never more than L{MAX_PAGE}, and says whether there are
    more.
    """

    arguments = [(b"after", Unicode()), (b"limit", Integer())]
    response = [
        (
            b"files",
            AmpList(
                [(b"name", Unicode()), (b"size", Integer()), (b"modified", DateTime())]
            ),
        ),
        (b"more", Boolean()),
    ]
    errors = FILE_ERRORS


class StatFile(Command):
    """
    Tell the size of a file (bytes), and when its value was written.
    """

    arguments = [(b"name", Unicode())]
    response = [(b"size", Integer()), (b"modified", DateTime())]
    errors = FILE_ERRORS


class RemoveFile(Command):
    """
    Remove a file.  The answer comes when it is gone for good.
    """

    arguments = [(b"name", Unicode())]
    response = []
    errors = FILE_ERRORS


class Ping(Command):
    """
    Get an answer, with what was sent.  No disk is involved.
    """

    arguments = [(b"payload", String(optional=True))]
    response = [(b"payload", String(optional=True))]

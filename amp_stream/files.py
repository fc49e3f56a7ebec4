# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The AMP Commands of the file service.

Each large value can travel in three ways: over a stream (L{PutFile}, L{GetFile}), in
one box, spread over keys (L{PutBig}, L{GetBig}), or as an ordinary argument
(L{PutValue}, L{GetValue}), whose box the connection cuts into fragments.
"""

from __future__ import annotations

from twisted.protocols.amp import (
    AmpList,
    Boolean,
    Command,
    DateTime,
    Integer,
    String,
    Unicode,
)

from amp_stream import BigString, Limits, Stream
from amp_stream.fileerrors import FILE_ERRORS

__all__ = [
    "FILE_LIMITS",
    "MAX_BIG",
    "MAX_PAGE",
    "GetBig",
    "GetFile",
    "GetValue",
    "ListFiles",
    "Ping",
    "PutBig",
    "PutFile",
    "PutValue",
    "RemoveFile",
    "StatFile",
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

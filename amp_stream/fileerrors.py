# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
What the file service answers when it cannot do as it was asked, each with its
AMP error code::

    FileError              FILE_ERROR
     +- InvalidName        FILE_INVALID_NAME    no file can have this name
     +- NoSuchFile         FILE_NOT_FOUND       there is no file of this name
     +- NoSuchTicket       FILE_NO_TICKET       there is no ticket of this number
     +- FileTooLarge       FILE_TOO_LARGE       more bytes than allowed here
     +- StorageFull        FILE_STORAGE_FULL    no space is left for the value
     +- StorageFailed      FILE_STORAGE_FAILED  the file system refused

None of them ends the connection.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "FILE_ERRORS",
    "FileError",
    "FileTooLarge",
    "InvalidName",
    "NoSuchFile",
    "NoSuchTicket",
    "StorageFailed",
    "StorageFull",
]


class FileError(Exception):
    """
    The base of the errors of the file service.

    @cvar wireCode: The AMP error code of the class.
    """

    wireCode: ClassVar[bytes] = b"FILE_ERROR"


class InvalidName(FileError):
    """
    No file can have this name.
    """

    wireCode = b"FILE_INVALID_NAME"


class NoSuchFile(FileError):
    """
    There is no file of this name.
    """

    wireCode = b"FILE_NOT_FOUND"


class NoSuchTicket(FileError):
    """
    This connection has no ticket of this number, or none whose end is still to be
    told.
    """

    wireCode = b"FILE_NO_TICKET"


class FileTooLarge(FileError):
    """
    The value has more bytes than the service, or the transport, allows.
    """

    wireCode = b"FILE_TOO_LARGE"


class StorageFull(FileError):
    """
    No space is left for the value.  What the name held before is still there.
    """

    wireCode = b"FILE_STORAGE_FULL"


class StorageFailed(FileError):
    """
    The file system of the service refused.  What the name held before is still
    there.
    """

    wireCode = b"FILE_STORAGE_FAILED"


FILE_ERRORS: dict[type[Exception], bytes] = {
    cls: cls.wireCode
    # AMP answers with the first class that matches, so the base comes last.
    for cls in (
        InvalidName,
        NoSuchFile,
        NoSuchTicket,
        FileTooLarge,
        StorageFull,
        StorageFailed,
        FileError,
    )
}
"""
Every class above and its code, in the form of C{amp.Command.errors}.
"""

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The errors of the file service, each with its AMP error code::

    FileError              FILE_ERROR
     +- InvalidName        FILE_INVALID_NAME    a file cannot have this name
     +- NoSuchFile         FILE_NOT_FOUND       there is no file of this name
     +- NoSuchOffer        FILE_NO_OFFER        there is no offer of this number
     +- FileTooLarge       FILE_TOO_LARGE       more bytes than the service takes
     +- StorageFull        FILE_STORAGE_FULL    no space is left for the file
     +- StorageFailed      FILE_STORAGE_FAILED  the file system refused

None of them ends the connection.
"""

from __future__ import annotations

from typing import ClassVar


class FileError(Exception):
    """
    The base of the errors of the file service.

    @cvar code: The AMP error code of the class.
    """

    code: ClassVar[bytes] = b"FILE_ERROR"


class InvalidName(FileError):
    """A file cannot have this name."""

    code = b"FILE_INVALID_NAME"


class NoSuchFile(FileError):
    """The service has no file of this name."""

    code = b"FILE_NOT_FOUND"


class NoSuchOffer(FileError):
    """This connection made no offer of this number, or was told how it ended."""

    code = b"FILE_NO_OFFER"


class FileTooLarge(FileError):
    """The file has more bytes than the service takes."""

    code = b"FILE_TOO_LARGE"


class StorageFull(FileError):
    """No space is left for the file.  An older file of this name is still there."""

    code = b"FILE_STORAGE_FULL"


class StorageFailed(FileError):
    """The file system refused.  An older file of this name is still there."""

    code = b"FILE_STORAGE_FAILED"


# AMP answers with the first class that matches, so the base comes last.
_CLASSES: list[type[FileError]] = [*FileError.__subclasses__(), FileError]

FILE_ERRORS: dict[type[Exception], bytes] = {cls: cls.code for cls in _CLASSES}
"""
Every class above and its code, in the form of C{amp.Command.errors}.
"""

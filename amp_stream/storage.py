# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
A flat directory of files whose names hold whole values only.

Plain blocking code with no reactor: the service calls it in threads.
"""

from __future__ import annotations

import errno
import hashlib
import heapq
import os
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import BinaryIO

from attrs import frozen
from twisted.python.filepath import FilePath

from amp_stream.fileerrors import (
    FileTooLarge,
    InvalidName,
    NoSuchFile,
    StorageFailed,
    StorageFull,
)
from amp_stream.wholefile import WholeFile, removeStale, syncDirectory

__all__ = ["DEFAULT_MAX_SIZE", "FileInfo", "FileStore", "Incoming", "checkName"]

DEFAULT_MAX_SIZE = 16 * 2**30
"""
The largest file that a store takes when it is not told otherwise (bytes).
"""

_MAX_NAME = 255


@frozen
class FileInfo:
    """
    What is known of a file without reading it.

    @ivar name: Its name.

    @ivar size: Its length in bytes.

    @ivar modified: When its value was written, in UTC.
    """

    name: str
    size: int
    modified: datetime


def checkName(name: str) -> bytes:
    """
    Tell whether a file can have this name.

    @param name: A name that a client sent.

    @return: The name as it is in the directory: UTF-8, whatever the locale.

    @raise InvalidName: It is empty, begins with a dot, holds a slash or a
        control character, or is longer than 255 bytes.
    """
    try:
        encoded = name.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidName("the name is not valid Unicode text") from None
    if not name:
        raise InvalidName("the name is empty")
    if name.startswith("."):
        raise InvalidName("the name begins with a dot")
    if "/" in name:
        raise InvalidName("the name contains a slash: names are flat")
    if any(unicodedata.category(character) == "Cc" for character in name):
        raise InvalidName("the name contains a control character")
    if len(encoded) > _MAX_NAME:
        raise InvalidName(
            f"the name is {len(encoded)} bytes long, the most is {_MAX_NAME}"
        )
    return encoded


class FileStore:
    """
    The files in one directory.

    @ivar root: The directory.

    @ivar maxSize: The most bytes that a file may have.
    """

    def __init__(
        self,
        root: FilePath[str] | str | os.PathLike[str],
        maxSize: int = DEFAULT_MAX_SIZE,
    ) -> None:
        """
        @param root: The directory.

        @param maxSize: The most bytes that a file may have.
        """
        self.root = root.path if isinstance(root, FilePath) else os.fspath(root)
        self.maxSize = maxSize
        self._root = os.fsencode(self.root)

    def receive(self, name: str, size: int | None = None) -> Incoming:
        """
        Prepare to take a value.  This does not block: the disk is not touched
        before the first write.

        @param name: The name that it will have.

        @param size: Its length in bytes, if that is known.

        @raise InvalidName: No file can have this name.

        @raise FileTooLarge: The store does not take so many bytes.
        """
        return Incoming(self._root, checkName(name), self.maxSize, size)

    def open(self, name: str) -> tuple[BinaryIO, FileInfo]:
        """
        Open a file for reading.  It keeps the value that it had when it was
        opened, even if the name is given another one meanwhile.

        @return: The open file, and what is known of it.

        @raise NoSuchFile: There is no regular file of this name.
        """
        path = self._path(name)
        # Not through a link, and not waiting for the writer of a FIFO.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with _translated(name):
            fd = os.open(path, flags)
            try:
                info = _describe(name, os.fstat(fd))
            except BaseException:
                os.close(fd)
                raise
            return open(fd, "rb"), info

    def stat(self, name: str) -> FileInfo:
        """
        Tell what is known of a file.

        @raise NoSuchFile: There is no regular file of this name.
        """
        path = self._path(name)
        with _translated(name):
            return _describe(name, os.lstat(path))

    def page(self, after: str = "", limit: int = 100) -> tuple[list[FileInfo], bool]:
        """
        List some files, in the order of their names.

        Each page reads the names of the whole directory, but keeps no more of
        them in memory than it returns.

        @param after: Only names greater than this one, by code point.

        @param limit: The most files to return, at least 1.

        @return: The files, and whether there are more after them.
        """
        with _translated(""), os.scandir(self._root) as entries:
            names = heapq.nsmallest(
                limit + 1, (name for name in _names(entries) if name > after)
            )
        files = []
        for name in names[:limit]:
            try:
                files.append(self.stat(name))
            except NoSuchFile:
                continue  # removed since the directory was read
        return files, len(names) > limit

    def remove(self, name: str) -> None:
        """
        Remove a file.  When this returns, it is gone for good.

        @raise NoSuchFile: There is no regular file of this name.
        """
        path = self._path(name)
        with _translated(name):
            _describe(name, os.lstat(path))
            os.unlink(path)
            syncDirectory(self._root)

    def removeStale(self) -> list[str]:
        """
        Remove what processes that were killed have left half written.

        @return: The names of the temporary files that were removed.
        """
        with _translated(""):
            return [os.fsdecode(name) for name in removeStale(self._root)]

    def _path(self, name: str) -> bytes:
        return os.path.join(self._root, checkName(name))


class Incoming:
    """
    A value on its way into the store, hashed as it comes.

    The methods block; see L{WholeFile} for what that means with threads.

    @ivar size: How many bytes have been written.
    """

    def __init__(self, root: bytes, name: bytes, maxSize: int, size: int | None):
        """
        @param root: The directory of the store.

        @param name: The name that the value will have, checked.

        @param maxSize: The most bytes that it may have.

        @param size: How many bytes it will have, if that is known.
        """
        self.size = 0
        self._name = name
        self._maxSize = maxSize
        self._check(size or 0)
        self._file = WholeFile(root)
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> bytes:
        """
        The SHA-256 of what has been written: 32 bytes.
        """
        return self._hash.digest()

    def write(self, data: bytes) -> None:
        """
        Add bytes to the end.

        @raise FileTooLarge: The store does not take so many bytes.

        @raise StorageFull: No space is left for them.

        @raise StorageFailed: The file system refused.
        """
        self._check(self.size + len(data))
        with _translated(""):
            self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def commit(self) -> None:
        """
        Give the value its name.  When this returns, it is there for good.

        @raise StorageFull: No space was left after all.

        @raise StorageFailed: The file system refused.
        """
        with _translated(""):
            self._file.commit(self._name)

    def discard(self) -> None:
        """
        Forget the value, unless it was committed.
        """
        self._file.discard()

    def _check(self, size: int) -> None:
        if size > self._maxSize:
            raise FileTooLarge(
                f"the value has more than the {self._maxSize} bytes allowed here"
            )


def _names(entries: Iterator[os.DirEntry[bytes]]) -> Iterator[str]:
    for entry in entries:
        try:
            name = entry.name.decode("utf-8")
            checkName(name)
            if entry.is_file(follow_symlinks=False):
                yield name
        except (UnicodeDecodeError, InvalidName, OSError):
            continue  # not a file of the store


def _describe(name: str, status: os.stat_result) -> FileInfo:
    if not stat.S_ISREG(status.st_mode):
        raise NoSuchFile(f"there is no file named {name!r}")
    modified = datetime.fromtimestamp(status.st_mtime, timezone.utc)
    return FileInfo(name, status.st_size, modified)


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """
    Turn the errors of the file system into those of the service, which say
    nothing of the paths of the server.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull("no space is left where the files are kept") from error
        # ELOOP: it is a symbolic link, which the store neither makes nor follows.
        if name and error.errno in (errno.ENOENT, errno.ELOOP):
            raise NoSuchFile(f"there is no file named {name!r}") from error
        raise StorageFailed(
            f"the file system refused: {error.strerror or type(error).__name__}"
        ) from error

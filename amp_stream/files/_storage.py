# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
A flat directory of files, which appear under their names whole or not at all.

A value is written to a temporary file beside its destination, forced to the
disk, and renamed onto it; then the directory is forced to the disk too.  A
rename is atomic, so at every moment, whatever process is killed and whenever
the power fails, the name holds either the whole of the new value or the whole
of what was there before.  Without the first C{fsync} a file system may make the
rename durable before the bytes; without the second, the file may be gone again
after a crash although its writer was told that it is safe.

A process that is killed leaves a temporary file.  Its writer holds a C{flock}
on it as long as it lives, and the kernel drops that lock with the process,
whatever ends it.  L{FileStore.removeStale} tells the files of dead processes from
those of living ones by that lock, also when two services share a directory.  Process
ids are reused, and the age of a file is a guess.

Rejected: C{O_TMPFILE}, which would leave nothing behind, because C{linkat}
cannot replace an existing name.

This is blocking code that knows no reactor: the service calls it in threads.

The errors, each with its AMP error code::

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

import errno
import fcntl
import hashlib
import heapq
import os
import secrets
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from threading import Lock
from typing import BinaryIO, ClassVar

from attrs import evolve, frozen
from twisted.python.filepath import FilePath

DEFAULT_MAX_FILE_SIZE = 16 * 2**30
"""
The largest file that a store takes by default (bytes).
"""

_MAX_NAME = 255
_INCOMING = b".incoming-"
# Not through a link, and not waiting for the writer of a FIFO.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


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


@frozen
class FileInfo:
    """
    The description of a file.

    @ivar name: Its name.

    @ivar size: Its length (bytes).

    @ivar modified: When it was written, in UTC.

    @ivar sha256: Its SHA-256 (32 bytes) where all bytes of the file were seen: as the
        result of a C{put} or C{get}.  Otherwise L{None}.
    """

    name: str
    size: int
    modified: datetime
    sha256: bytes | None = None


def pathOf(path: FilePath[str] | str | os.PathLike[str]) -> str:
    """@return: The path, as a text."""
    return path.path if isinstance(path, FilePath) else os.fspath(path)


def checkName(name: str) -> bytes:
    """
    Check the name of a file.

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

    @ivar root: The path of the directory.

    @ivar maxFileSize: The most bytes that a file may have.
    """

    def __init__(
        self,
        root: FilePath[str] | str | os.PathLike[str],
        *,
        maxFileSize: int = DEFAULT_MAX_FILE_SIZE,
    ) -> None:
        """
        @param root: The directory, which must exist.

        @param maxFileSize: The most bytes that a file may have.
        """
        self.root = pathOf(root)
        self.maxFileSize = maxFileSize
        self._root = os.fsencode(self.root)

    def receive(self, name: str, size: int | None = None) -> Upload:
        """
        Prepare to take a file.  This does not block: the disk is not touched
        before the first write.

        @param name: The name that it will have.

        @param size: Its length (bytes), if that is known.

        @raise InvalidName: A file cannot have this name.

        @raise FileTooLarge: The store does not take so many bytes.
        """
        return Upload(self._root, name, self.maxFileSize, size)

    def open(self, name: str) -> tuple[BinaryIO, FileInfo]:
        """
        Open a file for reading.  It keeps the value that it had when it was
        opened, even if the name is given another one meanwhile.

        @return: The open file and its description.

        @raise NoSuchFile: There is no regular file of this name.
        """
        with _translated(name):
            fd = os.open(self._path(name), _READ)
            try:
                info = _describe(name, os.fstat(fd))
            except BaseException:
                os.close(fd)
                raise
            return open(fd, "rb"), info

    def stat(self, name: str) -> FileInfo:
        """
        Describe a file.

        @raise NoSuchFile: There is no regular file of this name.
        """
        with _translated(name):
            return _describe(name, os.lstat(self._path(name)))

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
            later = (name for name in _names(entries) if name > after)
            names = heapq.nsmallest(limit + 1, later)
        files = []
        for name in names[:limit]:
            with suppress(NoSuchFile):  # removed since the directory was read
                files.append(self.stat(name))
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
            _syncDirectory(self._root)

    def removeStale(self) -> list[str]:
        """
        Remove the unfinished files of processes that were killed.

        @return: The names of the temporary files that were removed.
        """
        removed = []
        with _translated(""):
            names = os.listdir(self._root)
        for name in names:
            if not name.startswith(_INCOMING):
                continue
            path = os.path.join(self._root, name)
            # Renamed, locked by a living writer, or not ours to remove: leave it.
            with suppress(OSError):
                fd = os.open(path, _READ)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(path)
                    removed.append(os.fsdecode(name))
                finally:
                    os.close(fd)
        return removed

    def _path(self, name: str) -> bytes:
        return os.path.join(self._root, checkName(name))


class Upload:
    """
    A file on its way into the store, hashed as it comes.

    The methods block; L{WholeFile} tells how they may be called in threads.

    @ivar size: How many bytes have been written.
    """

    def __init__(self, root: bytes, name: str, maxSize: int, size: int | None) -> None:
        self.size = 0
        self._name = name
        self._fileName = checkName(name)
        self._maxSize = maxSize
        self._check(size or 0)
        self._file = WholeFile(root)
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> bytes:
        """The SHA-256 of what has been written: 32 bytes."""
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

    def commit(self) -> FileInfo:
        """
        Give the file its name.  When this returns, it is there for good.

        @raise StorageFull: No space was left after all.

        @raise StorageFailed: The file system refused.
        """
        with _translated(""):
            info = _describe(self._name, self._file.commit(self._fileName))
        return evolve(info, sha256=self.sha256)

    def discard(self) -> None:
        """Remove what was written, unless it was committed."""
        self._file.discard()

    def _check(self, size: int) -> None:
        if size > self._maxSize:
            raise FileTooLarge(
                f"the file has more than the {self._maxSize} bytes allowed here"
            )


class WholeFile:
    """
    A file on its way into a directory.

    The methods block, so they may be called from other threads; one of them
    runs at a time.  Nothing is opened before the first L{write} or L{commit},
    nor after L{discard}.  A caller that loses interest while a call is on its way
    to a thread calls L{discard}, and nothing is left to close.
    """

    def __init__(
        self, directory: str | bytes | os.PathLike[str], prefix: bytes = _INCOMING
    ) -> None:
        """
        @param directory: Where the file will be.

        @param prefix: How the name of the temporary file begins.
        """
        self._directory = os.fsencode(directory)
        self._prefix = prefix
        self._lock = Lock()
        self._fd = -1
        self._temporary = b""
        self._finished = False

    def write(self, data: bytes) -> None:
        """
        Add bytes to the end.

        @raise OSError: They could not be written: call L{discard}.

        @raise ValueError: The file was committed or discarded.
        """
        with self._lock:
            self._open()
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]

    def commit(self, name: bytes) -> os.stat_result:
        """
        Force the bytes to the disk, and give the file its name.

        @param name: The last segment of the path.  An older file of this name is
            replaced.

        @return: The status of the file.

        @raise OSError: Something failed: call L{discard}.  Only when the
            directory could not be forced to the disk does the name hold the new
            value already.

        @raise ValueError: The file was committed or discarded.
        """
        with self._lock:
            self._open()
            os.fsync(self._fd)
            status = os.fstat(self._fd)
            os.replace(self._temporary, os.path.join(self._directory, name))
            self._finish()
            _syncDirectory(self._directory)
            return status

    def discard(self) -> None:
        """
        Remove what was written, unless it was committed.  Safe to call twice,
        and from a thread while another one writes: it waits for that.
        """
        with self._lock:
            if self._fd != -1:
                with suppress(OSError):
                    os.unlink(self._temporary)
            self._finish()

    def _open(self) -> None:
        if self._finished:
            raise ValueError("this file was committed or discarded")
        if self._fd == -1:
            self._fd, self._temporary = _createLocked(self._directory, self._prefix)

    def _finish(self) -> None:
        self._finished = True
        if self._fd != -1:
            # The bytes are synced, or unwanted: an error here tells nothing.
            with suppress(OSError):
                os.close(self._fd)
            self._fd = -1


def _createLocked(directory: bytes, prefix: bytes) -> tuple[int, bytes]:
    """Make a temporary file that no L{FileStore.removeStale} will touch."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    while True:
        path = os.path.join(directory, prefix + secrets.token_hex(8).encode("ascii"))
        fd = os.open(path, flags, 0o666)
        # Until the lock is held, a cleaning process takes the file for a dead
        # one's: it has the lock, or it had it and the file has no name any more.
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink:
                return fd, path
        except BlockingIOError:
            pass
        except BaseException:
            os.close(fd)
            os.unlink(path)
            raise
        os.close(fd)


def _syncDirectory(directory: bytes) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


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
    Turn the errors of the file system into those of the service, which do not tell
    the paths of the server.
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

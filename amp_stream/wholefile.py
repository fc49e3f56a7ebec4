# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Files that appear under their names whole, or not at all.

A value is written to a temporary file beside its destination, forced to the
disk, and renamed onto it; then the directory is forced to the disk too.  A
rename is atomic, so at every moment, whatever process is killed and whenever
the power fails, the name holds either the whole of the new value or the whole
of what was there before.  Without the first C{fsync} a file system may make the
rename durable before the bytes; without the second, the file may be gone again
after a crash although its writer was told that it is safe.

What a killed process leaves is a temporary file.  Its writer holds a C{flock}
on it as long as it lives, and the kernel drops that lock with the process,
whatever ends it.  So L{removeStale} can tell the files of the dead from those
of the living, also when two services share a directory, with no process ids
(which are reused) and no ages (which are guesses).

Rejected: C{O_TMPFILE}, which would leave nothing behind, because C{linkat}
cannot replace an existing name.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import suppress
from threading import Lock

__all__ = ["WholeFile", "removeStale"]


class WholeFile:
    """
    A value on its way into a directory.

    The methods block, so they may be called from other threads; one of them
    runs at a time.  Nothing is opened before the first L{write} or L{commit},
    and nothing at all after L{discard}: whoever loses interest while a call is
    on its way to a thread calls L{discard}, and there is nothing left to close.
    """

    def __init__(
        self,
        directory: str | bytes | os.PathLike[str],
        prefix: bytes = b".incoming-",
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

    def commit(self, name: bytes) -> None:
        """
        Force the bytes to the disk, and give the file its name.

        @param name: The last segment of the path: whatever had this name before
            is replaced.

        @raise OSError: Something failed: call L{discard}.  Only when the
            directory could not be forced to the disk does the name hold the new
            value already.

        @raise ValueError: The file was committed or discarded.
        """
        with self._lock:
            self._open()
            os.fsync(self._fd)
            os.replace(self._temporary, os.path.join(self._directory, name))
            self._finish()
            syncDirectory(self._directory)

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
    """
    Make a temporary file that no L{removeStale} will touch.
    """
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


def removeStale(
    directory: str | bytes | os.PathLike[str], prefix: bytes = b".incoming-"
) -> list[bytes]:
    """
    Remove the temporary files of processes that are dead.

    @param directory: Where to look.

    @param prefix: How the names of temporary files begin.

    @return: The names of the files that were removed.
    """
    removed = []
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    root = os.fsencode(directory)
    for name in os.listdir(root):
        if not name.startswith(prefix):
            continue
        path = os.path.join(root, name)
        # Renamed, locked by a living writer, or not ours to remove: leave it.
        with suppress(OSError):
            fd = os.open(path, flags)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(path)
                removed.append(name)
            finally:
                os.close(fd)
    return removed


def syncDirectory(directory: bytes) -> None:
    """
    Force the names in a directory to the disk.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

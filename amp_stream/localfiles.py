# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The files and pipes of the machine on which the command runs.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol

from attrs import frozen
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThread

from amp_stream.blocking import InThread, OwnThread
from amp_stream.wholefile import WholeFile

__all__ = ["LocalSink", "LocalSource", "openSink", "openSource"]


@frozen
class LocalSource:
    """
    Something to read.

    @ivar read: Reads up to so many bytes, none at the end; it blocks.

    @ivar size: How many there are, if that is known.

    @ivar inThread: How to call it.
    """

    read: Callable[[int], bytes]
    size: int | None
    inThread: InThread


@contextmanager
def openSource(path: str, reactor: IReactorFromThreads) -> Iterator[LocalSource]:
    """
    Open something to read.

    @param path: A file, a device, a FIFO, or C{"-"} for standard input.

    @raise OSError: It cannot be opened.
    """
    if path == "-":
        # Not sys.stdin: its lock would be held for as long as nobody types.
        yield LocalSource(partial(os.read, 0), None, OwnThread(reactor))
        return
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        if stat.S_ISREG(status.st_mode):
            # A file of /proc has bytes, although it says that it is empty.
            yield LocalSource(file.read, status.st_size or None, deferToThread)
        else:
            yield LocalSource(file.read, None, OwnThread(reactor))


class LocalSink(Protocol):
    """
    Something to write to.
    """

    inThread: InThread
    """
    How to call L{write} and L{finish}.
    """

    def write(self, data: bytes) -> None:
        """
        Write all of it; this blocks.
        """

    def finish(self) -> None:
        """
        Those were all; this blocks.
        """

    def discard(self) -> None:
        """
        Forget what can be forgotten, unless it is finished.
        """


def openSink(path: str, reactor: IReactorFromThreads) -> LocalSink:
    """
    Prepare to write.

    @param path: A file, a device, a FIFO, or C{"-"} for standard output.  What is
        not there yet, or is a regular file, becomes a file in one step, when it
        is finished; where a link leads, if it is one.
    """
    if path == "-":
        return _PipeSink(lambda: os.dup(1), reactor)
    # Renaming something onto a device, or a link to one, would remove it.
    path = os.path.realpath(path)
    if os.path.exists(path) and not os.path.isfile(path):
        return _PipeSink(partial(os.open, path, os.O_WRONLY | os.O_CLOEXEC), reactor)
    return _FileSink(path)


class _FileSink:
    """
    A file that appears whole.
    """

    def __init__(self, path: str) -> None:
        self.inThread: InThread = deferToThread
        directory, name = os.path.split(path)
        self._name = os.fsencode(name)
        self._file = WholeFile(directory, b".amp-stream-")
        self.write = self._file.write
        self.discard = self._file.discard

    def finish(self) -> None:
        """
        Give it its name.
        """
        self._file.commit(self._name)


class _PipeSink:
    """
    Something that takes bytes as they come, perhaps slowly.
    """

    def __init__(self, opened: Callable[[], int], reactor: IReactorFromThreads) -> None:
        self.inThread: InThread = OwnThread(reactor)
        self._opened = opened
        self._fd = -1

    def write(self, data: bytes) -> None:
        """
        Write all of it.
        """
        if self._fd == -1:
            self._fd = self._opened()
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def finish(self) -> None:
        """
        It is finished.
        """

    def discard(self) -> None:
        """
        What was written is written; the process will end.
        """

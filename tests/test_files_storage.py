# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The store: whole values under flat names, and nothing else."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from subprocess import PIPE, Popen
from typing import Any

from twisted.python.filepath import FilePath
from twisted.trial.unittest import SynchronousTestCase

from amp_stream.files import (
    FILE_ERRORS,
    FileError,
    FileTooLarge,
    InvalidName,
    NoSuchFile,
    StorageFailed,
    StorageFull,
)
from amp_stream.files._storage import FileStore, WholeFile, checkName

HOLD_A_TEMPORARY_FILE = """
import sys
from amp_stream.files._storage import WholeFile
WholeFile(sys.argv[1]).write(b"half")
print("written", flush=True)
sys.stdin.read()
"""


def failing(code: int) -> Callable[..., Any]:
    """Make a function that fails as a system call does."""

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


class NameTests(SynchronousTestCase):
    """Which names a file can have."""

    def test_good(self) -> None:
        """
        Letters, digits, spaces, signs and any script make a file name, up to
        255 bytes of UTF-8.
        """
        for name in ("a", "a b.txt", "-rf", "naïve", "日本", "a\\b", "x" * 255):
            self.assertEqual(checkName(name), name.encode("utf-8"))

    def test_bad(self) -> None:
        """
        A file name that could leave the root, hide, or upset a terminal is
        refused with a message that says what is wrong.
        """
        for name, reason in [
            ("", "empty"),
            (".", "dot"),
            ("..", "dot"),
            (".incoming-1", "dot"),
            ("../a", "dot"),
            ("a/b", "slash"),
            ("/a", "slash"),
            ("a\0b", "control"),
            ("a\nb", "control"),
            ("a\x1bb", "control"),
            ("a\x7fb", "control"),
            ("a\x9bb", "control"),
            ("a\ud800", "Unicode"),
            ("x" * 256, "256 bytes"),
            ("é" * 128, "256 bytes"),
        ]:
            error = self.assertRaises(InvalidName, checkName, name)
            self.assertIn(reason, str(error))


class ErrorTests(SynchronousTestCase):
    """The error classes and their codes."""

    def test_codes(self) -> None:
        """
        Each FileError has its own code, and the base comes last in FILE_ERRORS,
        so that AMP finds the most precise class first.
        """
        self.assertEqual(len(set(FILE_ERRORS.values())), len(FILE_ERRORS))
        self.assertEqual(set(FILE_ERRORS), {FileError, *FileError.__subclasses__()})
        self.assertIs(list(FILE_ERRORS)[-1], FileError)


class StoreTestCase(SynchronousTestCase):
    """Tests with an empty store."""

    def setUp(self) -> None:
        """Make the store."""
        self.root: FilePath[str] = FilePath(self.mktemp())
        self.root.makedirs()
        self.store = FileStore(self.root, maxFileSize=1000)

    def put(self, name: str, value: bytes) -> None:
        """Store a value."""
        incoming = self.store.receive(name)
        incoming.write(value)
        incoming.commit()

    def get(self, name: str) -> bytes:
        """Read a value."""
        file, info = self.store.open(name)
        with file:
            value = file.read()
        self.assertEqual(info.size, len(value))
        return value

    def names(self) -> set[str]:
        """Tell all names in the root, hidden ones too."""
        return set(os.listdir(self.root.path))


class PutTests(StoreTestCase):
    """Storing values."""

    def test_roundTrip(self) -> None:
        """
        A value that was written in pieces is read back whole, and no other file is
        left.
        """
        incoming = self.store.receive("a")
        incoming.write(b"one ")
        incoming.write(b"two")
        self.assertEqual(incoming.size, 7)
        self.assertEqual(incoming.sha256, hashlib.sha256(b"one two").digest())
        incoming.commit()
        self.assertEqual(self.get("a"), b"one two")
        self.assertEqual(self.names(), {"a"})

    def test_empty(self) -> None:
        """A value of no bytes is a file of no bytes."""
        self.store.receive("a").commit()
        self.assertEqual(self.get("a"), b"")

    def test_replaces(self) -> None:
        """A second value takes the name, and a reader of the first one keeps it."""
        self.put("a", b"old")
        reader, _ = self.store.open("a")
        self.put("a", b"new and longer")
        with reader:
            self.assertEqual(reader.read(), b"old")
        self.assertEqual(self.get("a"), b"new and longer")

    def test_invisible(self) -> None:
        """
        Until it is committed, a value is seen under no name, and the old value
        stays.
        """
        self.put("a", b"old")
        incoming = self.store.receive("a")
        incoming.write(b"ne")
        self.assertEqual(self.get("a"), b"old")
        self.assertEqual([info.name for info in self.store.page()[0]], ["a"])
        incoming.discard()
        self.assertEqual(self.get("a"), b"old")
        self.assertEqual(self.names(), {"a"})

    def test_discardUnopened(self) -> None:
        """
        A value that is discarded before its first byte leaves nothing, and
        nothing can be added to it or committed.
        """
        incoming = self.store.receive("a")
        incoming.discard()
        incoming.discard()
        self.assertRaises(ValueError, incoming.write, b"late")
        self.assertRaises(ValueError, incoming.commit)
        self.assertEqual(self.names(), set())

    def test_discardCommitted(self) -> None:
        """Discarding after the commit changes nothing."""
        incoming = self.store.receive("a")
        incoming.write(b"x")
        incoming.commit()
        incoming.discard()
        self.assertEqual(self.get("a"), b"x")

    def test_tooLarge(self) -> None:
        """
        A size over the limit is refused before the first byte when it is
        announced, and at the first byte too many when it is not.
        """
        self.assertRaises(FileTooLarge, self.store.receive, "a", 1001)
        incoming = self.store.receive("a", 1000)
        incoming.write(b"x" * 1000)
        self.assertRaises(FileTooLarge, incoming.write, b"x")
        incoming.discard()
        self.assertEqual(self.names(), set())

    def test_onlyFlatNames(self) -> None:
        """A name that could leave the root is refused by every method."""
        for method in (
            self.store.receive,
            self.store.open,
            self.store.stat,
            self.store.remove,
        ):
            self.assertRaises(InvalidName, method, "../a")

    def test_shortWrites(self) -> None:
        """Bytes that a system call does not write are written by the next one."""
        write = os.write
        self.patch(os, "write", lambda fd, data: write(fd, data[:3]))
        self.put("a", b"0123456789")
        self.assertEqual(self.get("a"), b"0123456789")

    def test_synced(self) -> None:
        """
        The bytes are forced to the disk before the rename, and the directory
        after it.
        """
        events: list[object] = []
        fsync, replace = os.fsync, os.replace

        def noteFsync(fd: int) -> None:
            events.append("directory" if os.path.isdir(f"/dev/fd/{fd}") else "file")
            fsync(fd)

        def noteReplace(source: bytes, target: bytes) -> None:
            events.append("rename")
            replace(source, target)

        self.patch(os, "fsync", noteFsync)
        self.patch(os, "replace", noteReplace)
        self.put("a", b"x")
        self.assertEqual(events, ["file", "rename", "directory"])

    def test_full(self) -> None:
        """
        A full disk is an error of its own, at a write or at the end, and the
        old value stays.
        """
        self.put("a", b"old")
        incoming = self.store.receive("a")
        incoming.write(b"x")
        with self.patched(os, "fsync", failing(errno.EDQUOT)):
            self.assertRaises(StorageFull, incoming.commit)
        with self.patched(os, "write", failing(errno.ENOSPC)):
            self.assertRaises(StorageFull, incoming.write, b"y")
        incoming.discard()
        self.assertEqual(self.get("a"), b"old")
        self.assertEqual(self.names(), {"a"})

    def test_refused(self) -> None:
        """Any other error of the file system is told without the server's paths."""
        incoming = self.store.receive("a")
        self.root.remove()
        error = self.assertRaises(StorageFailed, incoming.write, b"x")
        self.assertNotIn(self.root.path, str(error))
        self.assertRaises(StorageFailed, self.store.page)
        self.assertRaises(StorageFailed, self.store.removeStale)

    def test_directoryInTheWay(self) -> None:
        """A directory that has the name is not replaced."""
        self.root.child("a").makedirs()
        self.assertRaises(StorageFailed, self.put, "a", b"x")

    def test_discardNeverFails(self) -> None:
        """
        An error while a value is discarded hides no earlier one: what cannot be
        removed now is removed as stale later.
        """
        incoming = self.store.receive("a")
        incoming.write(b"x")
        with self.patched(os, "unlink", failing(errno.EIO)):
            incoming.discard()
        self.assertEqual(len(self.store.removeStale()), 1)

    def patched(self, target: object, name: str, value: object) -> Any:
        """Replace an attribute for the length of a C{with} block."""
        patcher = self.patch(target, name, value)

        class Restore:
            def __enter__(self) -> None:
                pass

            def __exit__(self, *args: object) -> None:
                patcher.restore()

        return Restore()


class ReadTests(StoreTestCase):
    """Reading, listing and removing."""

    def test_noSuchFile(self) -> None:
        """Reading, describing or removing a name that is not there says so."""
        for method in (self.store.open, self.store.stat, self.store.remove):
            error = self.assertRaises(NoSuchFile, method, "a")
            self.assertIn("'a'", str(error))

    def test_onlyRegularFiles(self) -> None:
        """Links, directories and FIFOs in the root are no files of the store."""
        outside = FilePath(self.mktemp())
        outside.setContent(b"secret")
        os.symlink(os.path.abspath(outside.path), self.root.child("link").path)
        self.root.child("directory").makedirs()
        os.mkfifo(self.root.child("fifo").path)
        for name in ("link", "directory", "fifo"):
            for method in (self.store.open, self.store.stat, self.store.remove):
                self.assertRaises(NoSuchFile, method, name)
        self.assertEqual(self.store.page(), ([], False))

    def test_stat(self) -> None:
        """A file has its size, and the time of its value in UTC."""
        before = datetime.now(timezone.utc)
        self.put("a", b"12345")
        info = self.store.stat("a")
        self.assertEqual((info.name, info.size), ("a", 5))
        self.assertEqual(info.modified.utcoffset(), timedelta(0))
        self.assertTrue(abs(info.modified - before) < timedelta(minutes=1))

    def test_remove(self) -> None:
        """A removed file is gone, and the directory is forced to the disk."""
        synced: list[int] = []
        self.put("a", b"x")
        self.patch(os, "fsync", synced.append)
        self.store.remove("a")
        self.assertEqual(self.names(), set())
        self.assertEqual(len(synced), 1)

    def test_pages(self) -> None:
        """
        Pages that begin where the last one ended show each file once, in the
        order of the names.
        """
        names = ["A", "a", "aa", "b", "é", "日"]
        for name in reversed(names):
            self.put(name, name.encode("utf-8"))
        seen: list[str] = []
        more, after = True, ""
        while more:
            files, more = self.store.page(after, limit=4)
            seen += [info.name for info in files]
            after = seen[-1]
        self.assertEqual(seen, names)
        self.assertEqual(self.store.page("日", 4), ([], False))

    def test_foreignNames(self) -> None:
        """Names that the store would refuse are not listed."""
        self.put("a", b"x")
        for name in (b".hidden", b"line\nbreak", b"latin-\xe9"):
            with open(os.path.join(os.fsencode(self.root.path), name), "wb"):
                pass
        self.assertEqual([info.name for info in self.store.page()[0]], ["a"])

    def test_removedWhileListing(self) -> None:
        """A file that goes away while its page is made is left out."""
        self.put("a", b"x")
        self.put("b", b"x")
        describe = self.store.stat

        def stat(name: str) -> Any:
            if name == "a":
                self.store.remove("a")
            return describe(name)

        self.patch(self.store, "stat", stat)
        files, more = self.store.page()
        self.assertEqual(([info.name for info in files], more), (["b"], False))


class StaleTests(StoreTestCase):
    """Cleaning up after processes that were killed."""

    def test_livingAndDead(self) -> None:
        """
        The temporary file of another living process stays; when that process is
        killed, it goes.
        """
        child = Popen(
            [sys.executable, "-c", HOLD_A_TEMPORARY_FILE, self.root.path],
            stdin=PIPE,
            stdout=PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        try:
            assert child.stdout is not None
            self.assertEqual(child.stdout.readline(), b"written\n")
            self.assertEqual(self.store.removeStale(), [])
        finally:
            child.kill()
            child.communicate()
        left = self.names()
        self.assertEqual(len(left), 1)
        self.assertEqual(set(self.store.removeStale()), left)
        self.assertEqual(self.names(), set())

    def test_othersStay(self) -> None:
        """
        Only temporary files are removed: files, hidden files, directories and
        links stay.
        """
        self.put("a", b"x")
        self.root.child(".hidden").setContent(b"x")
        self.root.child(".incoming-directory").makedirs()
        os.symlink("a", self.root.child(".incoming-link").path)
        before = self.names()
        self.assertEqual(self.store.removeStale(), [])
        self.assertEqual(self.names(), before)

    def test_cleanedBeforeLocked(self) -> None:
        """
        A writer whose new file was taken for stale, before it could lock it,
        makes another one.
        """
        flock = fcntl.flock
        names = iter(["1", "2"])
        self.patch(secrets, "token_hex", lambda size: next(names))
        unlinked: list[str] = []

        def cleanFirst(fd: int, operation: int) -> None:
            patcher.restore()
            unlinked.extend(self.store.removeStale())
            flock(fd, operation)

        patcher = self.patch(fcntl, "flock", cleanFirst)
        self.put("a", b"x")
        self.assertEqual(unlinked, [".incoming-1"])
        self.assertEqual(self.get("a"), b"x")

    def test_cleanerHoldsTheLock(self) -> None:
        """A writer that finds its new file locked by a cleaner makes another one."""
        flock = fcntl.flock
        cleaner: list[int] = []

        def lockFirst(fd: int, operation: int) -> None:
            patcher.restore()
            (name,) = self.names()
            cleaner.append(os.open(self.root.child(name).path, os.O_RDONLY))
            flock(cleaner[0], operation)
            flock(fd, operation)

        patcher = self.patch(fcntl, "flock", lockFirst)
        self.put("a", b"x")
        os.close(cleaner[0])
        self.assertEqual(self.get("a"), b"x")
        self.assertEqual(len(self.store.removeStale()), 1)

    def test_noLocks(self) -> None:
        """Where files cannot be locked nothing is written, and nothing is left."""
        self.patch(fcntl, "flock", failing(errno.ENOLCK))
        self.assertRaises(OSError, WholeFile(self.root.path).write, b"x")
        self.assertEqual(self.names(), set())

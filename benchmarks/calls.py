# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Count the functions of this package that a value passes, and the files they are in.

Run C{python -m benchmarks.calls}.  It prints a table: how many calls of functions
of C{amp_stream} a small call takes, at both ends together, and how many one chunk of
a stream takes at the end that sends it and at the end that receives it.  Add
C{--names} to see each function.  What Twisted and the standard library do is not
counted.  The figures do not depend on the machine.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from twisted.internet.interfaces import IConsumer
from twisted.protocols import amp
from zope.interface import implementer

import amp_stream
from amp_stream import Stream, StreamAMP
from amp_stream.testing import ConnectedPair, connectInMemory

__all__ = ["main"]

PACKAGE = str(Path(amp_stream.__file__).parent)
CHUNK = 65_280
FEW, MANY = 40, 72


class Sum(amp.Command):
    """A small call."""

    arguments = [(b"a", amp.Integer()), (b"b", amp.Integer())]
    response = [(b"total", amp.Integer())]


class Put(amp.Command):
    """A stream in a call."""

    arguments = [(b"body", Stream())]
    response = [(b"size", amp.Integer())]


@implementer(IConsumer)
class Nowhere:
    """A consumer that drops the bytes."""

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """Never ask the producer to wait."""

    def unregisterProducer(self) -> None:
        """Forget the producer."""

    def write(self, data: bytes) -> None:
        """Drop the bytes."""


class Server(StreamAMP):
    """Answer both calls."""

    @Sum.responder
    def sum(self, a: int, b: int) -> dict[str, Any]:
        return {"total": a + b}

    @Put.responder
    def put(self, body: Any) -> Any:
        written = body.writeTo(Nowhere())
        return written.addCallback(lambda size: {"size": size})


Calls = Counter[tuple[str, str]]


@contextmanager
def counted(calls: Calls) -> Iterator[None]:
    """Count every call of a function of the package, by file and name."""

    def note(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if (
            event == "call"
            and code.co_filename.startswith(PACKAGE)
            and (not code.co_filename.endswith("testing.py"))
        ):
            name = getattr(code, "co_qualname", code.co_name)
            calls[code.co_filename[len(PACKAGE) + 1 :], name] += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(before)


def connected() -> ConnectedPair[StreamAMP, Server]:
    """Connect two ends in memory, and let them agree on the version."""
    pair = connectInMemory(StreamAMP(), Server())
    pair.flush()
    pair.client.callRemote(Sum, a=1, b=2)
    pair.flush()
    return pair


def smallCall() -> Calls:
    """A small call and its answer, at both ends."""
    pair = connected()
    calls: Calls = Counter()
    for _ in range(10):
        with counted(calls):
            pair.client.callRemote(Sum, a=1, b=2)
        for _ in range(3):
            for end in (pair._pump.clientIO, pair._pump.serverIO):
                end._checkProducer()
        moved = pair._pump
        with counted(calls):
            moved.pump()
            moved.pump()
    return Counter({key: round(count / 10) for key, count in calls.items()})


def chunks(count: int) -> tuple[Calls, Calls]:
    """A stream of so many chunks: the calls at its sender and at its receiver."""
    pair = connected()
    sending: Calls = Counter()
    receiving: Calls = Counter()
    received: Callable[[bytes], None] = pair.server.dataReceived

    def dataReceived(data: bytes) -> None:
        sys.setprofile(None)
        with counted(receiving):
            received(data)
        sys.setprofile(outer[0])

    pair.server.dataReceived = dataReceived  # type: ignore[method-assign]
    outer: list[Any] = [None]
    with counted(sending):
        outer[0] = sys.getprofile()
        pair.client.callRemote(Put, body=bytes(count * CHUNK))
        pair.flush()
    return sending, receiving


def perChunk() -> tuple[Calls, Calls]:
    """One more chunk of a stream, at its sender and at its receiver."""
    few, many = chunks(FEW), chunks(MANY)
    more = []
    for before, after in zip(few, many, strict=True):
        less = Counter(after)
        less.subtract(before)
        more.append(
            Counter({k: round(n / (MANY - FEW), 2) for k, n in less.items() if n})
        )
    return more[0], more[1]


def main() -> None:
    """Print the table."""
    sending, receiving = perChunk()
    rows = [
        ("a small call and its answer, both ends", smallCall()),
        ("one chunk out", sending),
        ("one chunk in", receiving),
    ]
    print("| walk | calls | files |")
    print("|---|--:|--:|")
    for name, calls in rows:
        files = {file for (file, _), count in calls.items() if count >= 0.5}
        print(f"| {name} | {sum(calls.values()):.0f} | {len(files)} |")
    if "--names" in sys.argv:
        for name, calls in rows:
            print(f"\n{name}:")
            for (file, function), count in sorted(calls.items()):
                print(f"  {count:5} {file}: {function}")


if __name__ == "__main__":
    main()

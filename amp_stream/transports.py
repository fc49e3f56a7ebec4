# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The ways for a file to travel between a client and the file service.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from attrs import frozen
from twisted.protocols.amp import Command

from amp_stream import StreamAMP
from amp_stream.blocking import ThreadedSource, pour
from amp_stream.bulk import whyNoHTTP
from amp_stream.errors import DigestMismatch
from amp_stream.files import (
    MAX_BIG,
    GetBig,
    GetFile,
    GetFileOutOfBand,
    GetValue,
    PutBig,
    PutFile,
    PutFileOutOfBand,
    PutValue,
)
from amp_stream.hashed import HashedSink, HashedSource

__all__ = ["TRANSPORTS", "Transport"]

_Answer = Mapping[str, Any]


async def _putStream(
    command: type[Command], protocol: StreamAMP, source: HashedSource
) -> _Answer:
    body = ThreadedSource(
        source.read, source.size, source.inThread, source.progress.advance
    )
    answer: _Answer
    answer = await protocol.callRemote(command, name=source.name, body=body)
    return answer


async def _getStream(
    command: type[Command], protocol: StreamAMP, sink: HashedSink
) -> _Answer:
    answer: _Answer = await protocol.callRemote(command, name=sink.name)
    sink.progress.start(answer["size"])
    body = answer["body"]
    try:
        # The stream compares its SHA-256 with that of the service.
        await pour(body, sink.write, sink.inThread, sink.progress.advance)
    except Exception:
        body.abort()
        raise
    return answer


async def _putWhole(
    command: type[Command], protocol: StreamAMP, source: HashedSource
) -> _Answer:
    body = await source.inThread(source.readAll)
    answer: _Answer = await protocol.callRemote(
        command, name=source.name, body=body, sha256=source.sha256
    )
    source.progress.advance(len(body))
    return answer


async def _getWhole(
    command: type[Command], protocol: StreamAMP, sink: HashedSink
) -> _Answer:
    answer: _Answer = await protocol.callRemote(command, name=sink.name)
    body = answer["body"]
    sink.progress.start(len(body))
    await sink.inThread(sink.write, body)
    sink.progress.advance(len(body))
    if answer["sha256"] != sink.sha256:
        raise DigestMismatch
    return answer


@frozen
class Transport:
    """
    A way for a file to travel.

    @ivar name: What a person calls it.

    @ivar maxSize: The most bytes that it carries, or L{None}.

    @ivar put: Makes the call that stores a file.

    @ivar get: Makes the call that reads one.

    @ivar version: The version of AMP to speak, as L{StreamAMP} takes it.

    @ivar outOfBand: Whether the bytes travel over HTTP, for which one side has to
        listen.
    """

    name: str
    maxSize: int | None
    put: Callable[[StreamAMP, Any], Awaitable[_Answer]]
    get: Callable[[StreamAMP, Any], Awaitable[_Answer]]
    version: str | int = "auto"
    outOfBand: bool = False

    @property
    def obstacle(self) -> str | None:
        """
        Why it cannot be used on this machine, or L{None} if it can.
        """
        return whyNoHTTP() if self.outOfBand else None


TRANSPORTS = {
    transport.name: transport
    for transport in (
        Transport(
            "stream",
            None,
            partial(_putStream, PutFile),
            partial(_getStream, GetFile),
        ),
        Transport(
            "argument",
            MAX_BIG,
            partial(_putWhole, PutValue),
            partial(_getWhole, GetValue),
        ),
        # In version 1, for this is what to use where the peer is a plain amp.AMP:
        # in "auto", the box would be cut into fragments like that of an argument.
        Transport(
            "bigstring",
            MAX_BIG,
            partial(_putWhole, PutBig),
            partial(_getWhole, GetBig),
            version=1,
        ),
        Transport(
            "oob",
            None,
            partial(_putStream, PutFileOutOfBand),
            partial(_getStream, GetFileOutOfBand),
            outOfBand=True,
        ),
    )
}
"""
All ways for a file to travel.  The command line and the demonstration offer
each entry of this table.
"""

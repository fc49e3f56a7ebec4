# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The wire commands of the stream layer, and frames of streams as their boxes.

To add a command, add its name to one of the three sets, a handler to the module that
the text below the set names, and a section to the wire specification.
"""

from __future__ import annotations

from twisted.protocols import amp

from amp_stream._sansio.frames import (
    Chunk,
    Frame,
    MaxStreamData,
    StopSending,
    parseNumber,
)
from amp_stream.errors import InvalidValue

STREAM_COMMANDS = frozenset(
    {b"stream.Data", b"stream.MaxData", b"stream.Reset", b"stream.StopSending"}
)
"""
The commands of streams; L{amp_stream._demultiplexer} takes them.
"""

BOX_COMMANDS = frozenset({b"stream.Settings", b"stream.Version", b"stream.Box"})
"""
The commands that say how boxes are written; L{amp_stream._boxtransport} takes them.
"""

TICKET_COMMANDS = frozenset({b"stream.OfferTicket", b"stream.RequestTicket"})
"""
The commands of streams out of band; L{amp_stream.outofband} takes them.  A connection
without it refuses them.
"""


def chunkFromBox(name: bytes, strings: dict[bytes, bytes]) -> Chunk:
    """
    Take a chunk out of a box.

    @param name: The key of the bytes.

    @param strings: The box; the keys of the chunk are removed from it.

    @raise InvalidValue: If a key is missing or its value malformed.
    """
    data = strings.pop(name, None)
    if data is None:
        raise InvalidValue(f"the bytes of the chunk, {name!r}, are missing")
    fin = strings.pop(b"fin", b"False")
    if fin not in (b"True", b"False"):
        raise InvalidValue("fin must be True or False")
    return Chunk(
        parseNumber("id", strings.pop(b"id", None)),
        parseNumber("offset", strings.pop(b"offset", None)),
        data,
        fin == b"True",
        strings.pop(b"sha256", None),
    )


def frameToBox(frame: Frame) -> amp.AmpBox:
    """
    Write a control message.

    @return: Its box, without C{_ask}.
    """
    if isinstance(frame, MaxStreamData):
        command, rest = b"stream.MaxData", {b"maximum": b"%d" % frame.maximum}
    elif isinstance(frame, StopSending):
        command, rest = b"stream.StopSending", {b"code": frame.code}
    else:
        command, rest = b"stream.Reset", {b"code": frame.code}
        rest[b"final_size"] = b"%d" % frame.finalSize
    return amp.AmpBox({amp.COMMAND: command, b"id": b"%d" % frame.id, **rest})

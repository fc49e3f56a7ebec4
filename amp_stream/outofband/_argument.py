# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The argument by which a command declares a stream whose bytes travel over HTTP."""

from __future__ import annotations

from typing import Any

from twisted.protocols import amp

from amp_stream._arguments import Stream
from amp_stream._boxes import checkKeys
from amp_stream._incoming import IncomingStream
from amp_stream._multiplexer import StreamMultiplexer
from amp_stream._outgoing import Announcement, OutgoingStream
from amp_stream.errors import InvalidValue, StreamsUnsupported
from amp_stream.outofband._transfer import Transfers

_SUFFIXES = (b".listens", b".digest")
_BOOLEAN = {False: b"False", True: b"True"}


class OutOfBand(Stream):
    """
    A value of any size, whose bytes travel over an HTTP(S) connection of their own.

    It takes the same sources as L{Stream}, and gives the same L{IncomingStream}.  The
    AMP connection sets the transfer up, and authorises it with a one-time token.  One
    of the two sides needs an L{OutOfBandServer}.

    On the wire, the keys C{name.listens} and C{name.digest} announce it, besides those
    of L{Stream}.
    """

    _mayBeInline = False

    def toBox(
        self, name: bytes, strings: amp.AmpBox, objects: dict[str, Any], proto: Any
    ) -> None:
        checkKeys(self, [name + suffix for suffix in _SUFFIXES], strings, objects)
        super().toBox(name, strings, objects, proto)

    def _ask(
        self,
        connection: Any,
        name: bytes,
        strings: amp.AmpBox,
        id: int,
        size: int | None,
    ) -> IncomingStream:
        listens, digest = (_boolean(name + suffix, strings) for suffix in _SUFFIXES)
        if not isinstance(connection, StreamMultiplexer):
            raise StreamsUnsupported(
                "OutOfBand needs StreamAMP at both ends; StreamReceiver alone has no "
                "way to ask for the bytes"
            )
        transfers = connection.extension(Transfers)
        return transfers.accept(id, size, self._maxSize, listens, digest)

    def _open(
        self, multiplexer: Any, box: amp.AmpBox, name: bytes, announcement: Announcement
    ) -> OutgoingStream:
        transfers: Transfers = multiplexer.extension(Transfers)
        box[name + b".listens"] = _BOOLEAN[transfers.listens]
        box[name + b".digest"] = _BOOLEAN[announcement.digest]
        return transfers.open(announcement.source, announcement.digest)


def _boolean(key: bytes, strings: amp.AmpBox) -> bool:
    value = strings.pop(key, None)
    if value not in (b"True", b"False"):
        raise InvalidValue(f"{key!r} must be True or False")
    return bool(value == b"True")

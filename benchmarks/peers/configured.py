# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The configuration of a L{StreamAMP}, also in the package that is measured against."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from attrs import fields_dict

import amp_stream
from amp_stream import Limits

try:
    from amp_stream import StreamConfig
except ImportError:
    # An older version: its Limits had everything.
    StreamConfig = None  # type: ignore[assignment,misc]

__all__ = ["bulkClient", "bulkServer", "configured"]

_OLD = {"outOfBandServer": "bulkServer", "outOfBandClient": "bulkClient"}


def configured(options: dict[str, Any], **more: Any) -> dict[str, Any]:
    """
    @param options: Attributes of L{StreamConfig} and of L{Limits}, mixed.

    @param more: Other attributes of L{StreamConfig}.

    @return: What to pass to L{StreamAMP} by keyword.
    """
    if StreamConfig is None:
        return {"limits": Limits(**options), **{_OLD[k]: v for k, v in more.items()}}
    bounds = {k: v for k, v in options.items() if k in fields_dict(Limits)}
    rest = {k: v for k, v in options.items() if k not in bounds}
    return {"config": StreamConfig(limits=Limits(**bounds), **rest, **more)}


def bulkClient(plain: bool) -> Any:
    """@param plain: Whether it may use HTTP without TLS."""
    if StreamConfig is None:
        return amp_stream.BulkClient(plain=plain)
    return import_module("amp_stream.outofband").OutOfBandClient(allowPlainHTTP=plain)


async def bulkServer(endpoint: Any, plain: bool, reactor: Any) -> Any:
    """@return: A server that listens for out-of-band transfers."""
    if StreamConfig is None:
        server = amp_stream.BulkServer(endpoint, plain=plain, reactor=reactor)
        server.startService()
        await server.listening
        return server
    outOfBand = import_module("amp_stream.outofband")
    server = outOfBand.OutOfBandServer(endpoint, plainHTTP=plain, reactor=reactor)
    server.startService()
    await server.whenListening()
    return server

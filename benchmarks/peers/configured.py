# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The configuration of a L{StreamAMP}, also in the package that is measured against."""

from __future__ import annotations

from typing import Any

from attrs import fields_dict

from amp_stream import Limits

try:
    from amp_stream import StreamConfig
except ImportError:
    # An older version: its Limits had everything.
    StreamConfig = None  # type: ignore[assignment,misc]

__all__ = ["configured"]

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

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The options of C{twistd amp-stream} for out-of-band transfers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.python.usage import UsageError

from amp_stream.bulk import whyNoHTTP
from amp_stream.outofband import OutOfBandServer

__all__ = ["BULK_FLAGS", "BULK_PARAMETERS", "bulkServerOf"]

BULK_PARAMETERS = [
    [
        "bulk",
        None,
        None,
        "Where to listen for out-of-band transfers, a Twisted server endpoint string.",
    ],
    [
        "bulk-certificate",
        None,
        None,
        "For --bulk, a PEM file with a private key and its certificate.",
    ],
    [
        "bulk-url",
        None,
        None,
        "Where clients reach --bulk, if not at its own address: https://HOST:PORT/",
    ],
]
"""
In the form of C{usage.Options.optParameters}.
"""

BULK_FLAGS = [["bulk-plain", None, "For --bulk, speak plain HTTP: no TLS."]]
"""
In the form of C{usage.Options.optFlags}.
"""

_NEEDS = [
    ("bulk-plain", "bulk"),
    ("bulk-certificate", "bulk"),
    ("bulk-url", "bulk"),
]


def bulkServerOf(options: Mapping[str, Any], reactor: Any) -> OutOfBandServer | None:
    """
    Make the server that options describe.

    @param options: Those of L{BULK_PARAMETERS} and L{BULK_FLAGS}, and others.

    @return: The server, not started, or L{None} if none is wanted.

    @raise UsageError: The options do not go together, or one of them is wrong.
    """
    for option, needed in _NEEDS:
        if options[option] and not options[needed]:
            raise UsageError(f"--{option} needs --{needed}")
    where = options["bulk"]
    if where is None:
        return None
    obstacle = whyNoHTTP()
    if obstacle is not None:
        raise UsageError(f"--bulk: {obstacle}")
    certificate, plain = options["bulk-certificate"], bool(options["bulk-plain"])
    ownTLS = where.lower().startswith("ssl:")
    if plain and (ownTLS or certificate):
        with_ = "an ssl: endpoint" if ownTLS else "--bulk-certificate"
        raise UsageError(f"--bulk-plain does not go with {with_}")
    if ownTLS and certificate:
        raise UsageError(
            "--bulk-certificate does not go with an ssl: endpoint, which has its own"
        )
    url = options["bulk-url"]
    if url is not None and not url.isascii():
        raise UsageError("--bulk-url: write a URL with ASCII only")
    _check("bulk", where, reactor)
    try:
        return OutOfBandServer(
            where,
            plainHTTP=plain,
            certificate=certificate,
            publicURL=url,
            reactor=reactor,
        )
    except (ValueError, OSError) as error:
        raise UsageError(f"--bulk: {error}") from error


def _check(option: str, description: str, reactor: Any) -> None:
    try:
        serverFromString(reactor, description)
    except Exception as error:
        # The parsers are plugins, and raise whatever they meet.
        raise UsageError(
            f"--{option} {description}: no server endpoint ({error})"
        ) from error

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Endpoint strings: what a person types, and what a listening port is called.
"""

from __future__ import annotations

import re
from math import ceil
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.endpoints import clientFromString, quoteStringArgument
from twisted.internet.interfaces import IAddress, IStreamClientEndpoint

__all__ = ["clientEndpoint", "clientString"]

_HOST_AND_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\\=/\[\]]+)):(\d+)", re.ASCII)
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound


def clientEndpoint(reactor: Any, text: str, timeout: float) -> IStreamClientEndpoint:
    """
    Make the endpoint that a person named.

    @param reactor: What connects.

    @param text: A Twisted client endpoint string, or C{host:port}, or
        C{[address]:port}.

    @param timeout: For C{host:port}, how long to try (seconds).

    @raise ValueError: It is neither.
    """
    match = _HOST_AND_PORT.fullmatch(text)
    if match is not None and match.group(2) != "unix":
        host = quoteStringArgument(match.group(1) or match.group(2))
        text = f"tcp:host={host}:port={match.group(3)}:timeout={ceil(timeout)}"
    try:
        endpoint: IStreamClientEndpoint = clientFromString(reactor, text)
    except Exception as error:
        # The parsers are plugins, and raise whatever they meet.
        raise ValueError(
            f"{text!r} is no client endpoint ({error}): "
            "write host:port, tcp:host:port, unix:path or tls:host:port"
        ) from error
    return endpoint


def clientString(description: str, address: IAddress) -> str:
    """
    Tell how a client on this machine reaches a listening port.

    @param description: The server endpoint string that the port was made from.

    @param address: Where the port listens.

    @raise ValueError: There is no endpoint string for such an address.
    """
    if isinstance(address, UNIXAddress) and address.name is not None:
        return f"unix:path={quoteStringArgument(_text(address.name))}"
    if isinstance(address, (IPv4Address, IPv6Address)):
        host = quoteStringArgument(_ANY.get(address.host, address.host))
        kind = "tls" if description.lower().startswith("ssl:") else "tcp"
        return f"{kind}:host={host}:port={address.port}"
    raise ValueError(f"no endpoint string leads to {address}")


def _text(path: bytes | str) -> str:
    return path.decode("utf-8") if isinstance(path, bytes) else path

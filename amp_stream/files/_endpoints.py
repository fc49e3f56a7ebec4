# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Endpoint strings and sizes, as people write them.

Each reader raises C{ValueError} with a text for the person: the options of C{twistd}
and of the C{amp-stream} command are read by the same functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from typing import Any

from twisted.internet import endpoints, interfaces
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

_HOST_AND_PORT = re.compile(
    r"(?:tls:)?(?:\[([0-9A-Fa-f:.]+)\]|([^:\\=/\[\]]+)):(\d+)", re.ASCII
)
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound
_SIZE = re.compile(r"(\d{1,18})\s*([KMGT]?)(?:i?B)?", re.IGNORECASE | re.ASCII)
_CERTIFICATE = re.compile(
    b"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL
)


def clientEndpoint(
    reactor: Any, text: str, timeout: float = 30.0, trustRoot: str | None = None
) -> interfaces.IStreamClientEndpoint:
    """
    Make a client endpoint.

    @param text: A Twisted client endpoint string, or C{host:port}, or
        C{[address]:port}.

    @param timeout: For C{host:port}, how long to try to connect (seconds).

    @param trustRoot: The path of a PEM file with the certificates of the authorities
        to trust, for C{tls:host:port}; L{None} for those of the platform.

    @raise ValueError: The text is not an endpoint, or does not go with C{trustRoot}.

    @raise OSError: The file cannot be read.
    """
    match = _HOST_AND_PORT.fullmatch(text)
    isTLS = text.startswith("tls:")
    if trustRoot is not None:
        if match is None or not isTLS:
            raise ValueError(f"a trust root is for tls:HOST:PORT, not for {text!r}")
        host = match.group(1) or match.group(2)
        return _trusting(reactor, host, int(match.group(3)), timeout, trustRoot)
    if match is not None and not isTLS and match.group(2) != "unix":
        host = endpoints.quoteStringArgument(match.group(1) or match.group(2))
        text = f"tcp:host={host}:port={match.group(3)}:timeout={ceil(timeout)}"
    forms = "host:port, tcp:host:port, unix:path or tls:host:port"
    with _explained("client", text, forms):
        endpoint: interfaces.IStreamClientEndpoint = endpoints.clientFromString(
            reactor, text
        )
    return endpoint


def _trusting(
    reactor: Any, host: str, port: int, timeout: float, path: str
) -> interfaces.IStreamClientEndpoint:
    try:
        from twisted.internet import ssl
    except ImportError as error:
        raise ValueError(f"{error}: pip install 'amp_stream[tls]'") from error

    with open(path, "rb") as file:
        found = _CERTIFICATE.findall(file.read())
    if not found:
        raise ValueError(f"there is no PEM certificate in {path}")
    try:
        roots = [ssl.Certificate.loadPEM(pem) for pem in found]
    except Exception as error:
        # OpenSSL's own exception.
        raise ValueError(f"a certificate in {path} cannot be read: {error}") from error
    trust = ssl.trustRootFromCertificates(roots)
    options = ssl.optionsForClientTLS(host, trustRoot=trust)
    endpoint = endpoints.HostnameEndpoint(reactor, host, port, timeout)
    return endpoints.wrapClientTLS(options, endpoint)


def serverEndpoint(reactor: Any, text: str) -> interfaces.IStreamServerEndpoint:
    """
    Make a server endpoint.

    @param text: A Twisted server endpoint string.

    @raise ValueError: The text is not one.
    """
    forms = "tcp:port:interface=address, ssl:port:privateKey=file or unix:path"
    with _explained("server", text, forms):
        endpoint: interfaces.IStreamServerEndpoint = endpoints.serverFromString(
            reactor, text
        )
    return endpoint


@contextmanager
def _explained(kind: str, text: str, forms: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # The parsers are plugins, and raise exceptions of any class.
        raise ValueError(
            f"{text!r} is not a valid {kind} endpoint ({error}): write {forms}"
        ) from error


def clientString(
    endpoint: interfaces.IStreamServerEndpoint, address: interfaces.IAddress
) -> str:
    """
    Tell how a client on this machine reaches a listening port.

    @param endpoint: The endpoint that opened the port.

    @param address: Where the port listens.

    @raise ValueError: There is no endpoint string for such an address.
    """
    if isinstance(address, UNIXAddress) and address.name is not None:
        name = address.name
        path = name.decode("utf-8") if isinstance(name, bytes) else name
        return f"unix:path={endpoints.quoteStringArgument(path)}"
    if isinstance(address, (IPv4Address, IPv6Address)):
        host = endpoints.quoteStringArgument(_ANY.get(address.host, address.host))
        kind = "tls" if isinstance(endpoint, endpoints.SSL4ServerEndpoint) else "tcp"
        return f"{kind}:host={host}:port={address.port}"
    raise ValueError(f"no endpoint string leads to {address}")


def parseSize(text: str) -> int:
    """
    Read a number of bytes: C{"4096"}, C{"256M"}, C{"16G"}.

    @param text: Digits, and perhaps one of K, M, G and T: 1024, and its second
        to fourth power.

    @raise ValueError: The text is anything else.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"{text!r} is not a size: write a number of bytes, such as 4096 or 256M"
        )
    digits, unit = match.groups()
    return int(digits) << (10 * " KMGT".index(unit.upper() or " "))

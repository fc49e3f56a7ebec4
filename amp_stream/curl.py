# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
A ticket in words that curl understands.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from amp_stream.outofband import Ticket

__all__ = ["curlArguments", "curlConfig"]

_PORTS = {"http": 80, "https": 443}
_ESCAPES = {
    "\\": "\\\\",
    '"': '\\"',
    "\t": "\\t",
    "\n": "\\n",
    "\r": "\\r",
    "\v": "\\v",
}


def curlArguments(ticket: Ticket, output: str, certificate: str | None) -> list[str]:
    """
    @param ticket: The ticket.

    @param output: The file that curl shall write.

    @param certificate: The file that holds the certificate of the ticket, or L{None}
        if there is none.

    @return: The arguments of C{curl}, with the token among them.
    """
    arguments: list[str] = []
    for name, value in _options(ticket, output, certificate):
        arguments += [f"--{name}", *([] if value is None else [value])]
    return arguments


def curlConfig(ticket: Ticket, output: str, certificate: str | None) -> str:
    """
    The same for C{curl --config}.

    @return: The text of the file, with the token in it.
    """
    return "\n".join(
        name if value is None else f'{name} = "{_escaped(value)}"'
        for name, value in _options(ticket, output, certificate)
    )


def _options(
    ticket: Ticket, output: str, certificate: str | None
) -> Sequence[tuple[str, str | None]]:
    parts = urlsplit(ticket.url)
    url = ticket.url
    options: list[tuple[str, str | None]] = [("fail", None)]
    if certificate is not None:
        options.append(("cacert", certificate))
    if ticket.serverName and ticket.serverName != parts.hostname:
        # The certificate is not for the host of the URL, but for this name there.
        port = parts.port or _PORTS[parts.scheme]
        name = _bracketed(ticket.serverName)
        there = f"{_bracketed(parts.hostname or '')}:{port}"
        options.append(("connect-to", f"{name}:{port}:{there}"))
        url = SplitResult(
            parts.scheme, f"{name}:{port}", parts.path, parts.query, ""
        ).geturl()
    token = ticket.token.decode("ascii")
    options += [
        ("header", f"Authorization: Bearer {token}"),
        # To curl, "-" is standard output.
        ("output", f"./{output}" if output.startswith("-") else output),
        ("url", url),
    ]
    return options


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _escaped(value: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in value)

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
C{amp-stream ticket}: a file for somebody who has curl, or another HTTP client.
"""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import click

from amp_stream.client import FileClient, FileTicket
from amp_stream.console import (
    FAILED,
    CommandFailed,
    asISO,
    checkedName,
    closeOutput,
    converse,
    endpointArgument,
    jsonOption,
    show,
    timeoutOption,
)
from amp_stream.curl import curlArguments, curlConfig
from amp_stream.outofband import Ticket

__all__ = ["ticket"]


@click.command()
@endpointArgument
@click.argument("name")
@click.option(
    "--certificate",
    metavar="FILE",
    help="Where to write the certificate of the HTTPS server.  "
    "[default: a temporary file]",
)
@click.option(
    "--curl-config",
    "asConfig",
    is_flag=True,
    help='Print what "curl --config -" reads, and nothing else.',
)
@timeoutOption
@jsonOption
def ticket(
    endpoint: str,
    name: str,
    certificate: str | None,
    asConfig: bool,
    timeout: float,
    asJson: bool,
) -> None:
    """
    Let somebody get the file NAME with curl, once.

    Prints the command, and waits until it was used and the last byte has left.
    Until then, interrupting this takes the ticket back.
    """
    checkedName(name)
    if asConfig and asJson:
        raise click.UsageError("--curl-config and --json: choose one")

    async def work(reactor: Any, client: FileClient) -> int:
        granted = await client.ticket(name)
        _check(granted.ticket)
        with _written(granted.ticket.certificate, certificate) as path:
            show(asJson, _fields(granted, path), _text(granted, path, asConfig))
            # Who reads to its end, as curl does, is to begin now.
            closeOutput()
            return await client.ticketUsed(granted.number)

    count = converse(endpoint, timeout, work)
    click.echo(f"{name}: {count} bytes have left", err=True)


def _check(ticket: Ticket) -> None:
    """
    Show no URL to a person, or to curl, that is not one of HTTP.

    @raise CommandFailed: This one is not.
    """
    text = ticket.url + ticket.serverName
    isHTTP = ticket.url.startswith(("http://", "https://"))
    if not isHTTP or not text.isprintable() or ticket.method != b"GET":
        raise CommandFailed("the service sent a ticket that makes no sense", FAILED)


@contextmanager
def _written(pem: bytes, path: str | None) -> Iterator[str | None]:
    """
    Write a certificate, for as long as it may be needed.

    @param pem: It; empty if there is none.

    @param path: Where to, if it shall be kept.

    @return: A context manager, of the path of the file, or of L{None}.
    """
    if not pem:
        yield None
    elif path is not None:
        with open(path, "wb") as file:
            file.write(pem)
        yield os.path.abspath(path)
    else:
        handle, temporary = tempfile.mkstemp(".pem", "amp-stream-")
        try:
            with open(handle, "wb") as file:
                file.write(pem)
            yield temporary
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)


def _text(granted: FileTicket, path: str | None, asConfig: bool) -> str:
    name = granted.info.name
    if asConfig:
        return curlConfig(granted.ticket, name, path)
    command = shlex.join(["curl", *curlArguments(granted.ticket, name, path)])
    return (
        f"{name}: {granted.info.size} bytes at {granted.ticket.url}\n"
        f"Good for one request, which must begin within {granted.ticket.lifetime} s:\n"
        f"\n{command}\n"
    )


def _fields(granted: FileTicket, path: str | None) -> Mapping[str, object]:
    token = granted.ticket
    return {
        "name": granted.info.name,
        "size": granted.info.size,
        "modified": asISO(granted.info.modified),
        "url": token.url,
        "method": token.method.decode("ascii"),
        "token": token.token.decode("ascii"),
        "lifetime": token.lifetime,
        "certificate": token.certificate.decode("ascii") or None,
        "certificateFile": path,
        "serverName": token.serverName or None,
        "curl": ["curl", *curlArguments(token, granted.info.name, path)],
    }

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The C{amp-stream} command.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 no connection, 4 no such file, 128 and
the number of a signal that ended it.  Each failure is one line on standard error.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import click
from attrs import asdict
from twisted.logger import textFileLogObserver

from amp_stream import __version__
from amp_stream.files._client import FileClient, FileOffer, openSink, openSource
from amp_stream.files._console import (
    JSON,
    NAME,
    SIZE,
    CommandFailed,
    Service,
    asISO,
    closeOutput,
    connects,
    progressBar,
    reportErrors,
    show,
    withClient,
)
from amp_stream.files._storage import FileInfo
from amp_stream.outofband import Ticket

_F = TypeVar("_F", bound=Callable[..., Any])

_SHORT = 30.0  # seconds: for the commands that move no file


def main() -> NoReturn:
    """Run the command that C{sys.argv} gives, and exit."""
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal cannot show does not end the command.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        status = commands.main(prog_name="amp-stream", standalone_mode=False) or 0
    except click.UsageError as error:
        status = error.exit_code
        command = error.ctx.command_path if error.ctx is not None else "amp-stream"
        _complain(f"{error.format_message().rstrip('.')}; see {command} --help")
    except CommandFailed as error:
        status = error.status
        _complain(error.format_message())
    except (click.Abort, KeyboardInterrupt):
        status = 130
        _complain("interrupted by SIGINT")
    sys.exit(status)


def _complain(message: str) -> None:
    click.echo(f"amp-stream: {' '.join(message.split())}", err=True)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=False
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show Twisted's log on standard error.")
@click.pass_context
def commands(context: click.Context, debug: bool) -> None:
    """
    Move files of any size over AMP connections.

    ENDPOINT is a Twisted client endpoint string, such as tcp:HOST:PORT,
    unix:PATH or tls:HOST:PORT, or just HOST:PORT.
    """
    context.obj = [textFileLogObserver(sys.stderr)] if debug else []


@commands.command()
@connects(transfers=True)
@click.argument("file")
@click.option("--as", "name", type=NAME, help="The name to store it under.")
def put(service: Service, file: str, name: str | None) -> None:
    """Store FILE, or standard input if it is "-"."""
    if name is None and file == "-":
        raise click.UsageError("standard input has no name: name the file with --as")
    context = click.get_current_context()
    target: str = name or NAME.convert(os.path.basename(file), None, context)
    oob = service.outOfBand

    async def work(reactor: Any, client: FileClient) -> FileInfo:
        with progressBar(target) as progress:
            source = openSource(file)
            return await client.put(target, source, outOfBand=oob, progress=progress)

    info = withClient(service, work)
    show(service.asJson, _described(info), _summary(target, info))


@commands.command()
@connects(transfers=True)
@click.argument("name", type=NAME)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help='Write to FILE, or to standard output if it is "-".  [default: NAME]',
)
def get(service: Service, name: str, output: str | None) -> None:
    """
    Read the file NAME.

    FILE appears in one step, when all bytes have arrived and are checked.  If
    anything fails, an older FILE stays as it was.
    """
    target = name if output is None else output
    oob = service.outOfBand
    if service.asJson and target == "-":
        raise click.UsageError(
            "-o - and --json both write to standard output: choose one"
        )
    if os.path.isdir(target):
        raise click.UsageError(f"{target} is a directory: name a file with -o")

    async def work(reactor: Any, client: FileClient) -> FileInfo:
        with progressBar(name) as progress:
            sink = openSink(target)
            return await client.get(name, sink, outOfBand=oob, progress=progress)

    info = withClient(service, work)
    if target != "-":
        found = {**_described(info), "file": target}
        show(service.asJson, found, _summary(target, info))


@commands.command()
@connects(timeout=_SHORT)
def ls(service: Service) -> None:
    """List all files: size in bytes, time (UTC), name."""
    files = withClient(service, lambda reactor, client: client.list())
    lines = [f"{each.size:>15}  {asISO(each.modified)}  {each.name}" for each in files]
    if service.asJson or files:
        found = {"files": [_described(each) for each in files]}
        show(service.asJson, found, "\n".join(lines))


@commands.command()
@connects(timeout=_SHORT)
@click.argument("name", type=NAME)
def stat(service: Service, name: str) -> None:
    """Show the size of the file NAME, and when it was written."""
    info = withClient(service, lambda reactor, client: client.stat(name))
    line = f"{name}: {info.size} bytes, written {asISO(info.modified)}"
    show(service.asJson, _described(info), line)


@commands.command()
@connects(timeout=_SHORT)
@click.argument("name", type=NAME)
def rm(service: Service, name: str) -> None:
    """Remove the file NAME."""
    withClient(service, lambda reactor, client: client.remove(name))
    show(service.asJson, {"name": name}, f"{name}: removed")


@commands.command()
@connects(timeout=_SHORT)
def ping(service: Service) -> None:
    """Measure how long a small call takes."""

    async def work(reactor: Any, client: FileClient) -> float:
        started: float = reactor.seconds()
        await client.ping()
        taken: float = reactor.seconds() - started
        return taken

    seconds = withClient(service, work)
    show(service.asJson, {"seconds": seconds}, f"{seconds * 1000:.2f} ms")


@commands.command()
@connects()
@click.argument("name", type=NAME)
@click.option(
    "--certificate",
    metavar="FILE",
    help="Write the certificate of the HTTPS server to FILE.  "
    "[default: a temporary file]",
)
@click.option(
    "--curl-config",
    "asConfig",
    is_flag=True,
    help='Print a configuration for "curl --config -", and nothing else.',
)
def ticket(
    service: Service, name: str, certificate: str | None, asConfig: bool
) -> None:
    """
    Make a ticket with which curl can get the file NAME, once.

    Prints the command, and waits until it was used and the last byte has left.
    Until then, interrupting this takes the ticket back.
    """
    if asConfig and service.asJson:
        raise click.UsageError("--curl-config and --json: choose one")

    async def work(reactor: Any, client: FileClient) -> int:
        offer = await client.offer(name)
        _checkTicket(offer.ticket)
        with _written(offer.ticket.certificate, certificate) as path:
            text = _ticketText(offer, path, asConfig)
            show(service.asJson, _ticketFields(offer, path), text)
            # A reader that reads to the end, as curl does, is to begin now.
            closeOutput()
            return await offer.whenUsed()

    count = withClient(service, work)
    click.echo(f"{name}: {count} bytes have left", err=True)


def _size(default: str, text: str) -> Callable[[_F], _F]:
    return click.option(
        "--size", type=SIZE, default=default, show_default=True, help=text
    )


@commands.command()
@connects(transfers=True)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1, max=3600),
    default=5.0,
    show_default=True,
    help="For how long to send.",
)
@_size("1G", "The most to send, in bytes, or with K, M, G or T.")
def bench(service: Service, seconds: float, size: int) -> None:
    """
    Measure how long small calls take while a file moves.

    Makes a small call every 20 ms: first with nothing else on the connection, then
    while it sends random bytes for some seconds, then while it gets them back.  The
    service stores them under a new name, and the command removes it afterwards.
    """
    from amp_stream.files import _measure

    oob = service.outOfBand
    work = partial(_measure.bench, outOfBand=oob, seconds=seconds, most=size)
    rows = withClient(service, work)
    found = {"outOfBand": oob, "rows": [asdict(row) for row in rows]}
    show(service.asJson, found, _measure.benchTable(oob, rows))


@commands.command()
@click.argument("file", required=False)
@_size("256M", "If there is no FILE, how much to move: bytes, or with K, M, G or T.")
@JSON
def demo(file: str | None, size: int, asJson: bool) -> None:
    """
    Show that small calls stay fast while FILE moves.

    Starts a file service of its own, moves FILE there and back with each
    declaration, with a small call every 10 ms on the same connection, and prints
    how long these took.
    """
    from amp_stream.files import _measure

    work = partial(_measure.demonstrate, file=file, size=size)
    size, rows = reportErrors(work)
    found = {"size": size, "rows": [asdict(row) for row in rows]}
    show(asJson, found, _measure.demoTable(size, rows))
    damaged = [row.way for row in rows if not getattr(row, "matches", True)]
    if damaged:
        raise CommandFailed(f"the file came back damaged: {', '.join(damaged)}")


def _summary(where: str, info: FileInfo) -> str:
    return f"{where}: {info.size} bytes, SHA-256 {_described(info)['sha256']}"


def _described(info: FileInfo) -> Mapping[str, object]:
    found = {**asdict(info), "modified": asISO(info.modified)}
    sha256 = found.pop("sha256")
    return found if sha256 is None else {**found, "sha256": sha256.hex()}


# Tickets, in the words of curl.

_ESCAPES = str.maketrans(
    {"\\": r"\\", '"': r"\"", "\t": r"\t", "\n": r"\n", "\r": r"\r", "\v": r"\v"}
)


def _checkTicket(ticket: Ticket) -> None:
    """
    Refuse a ticket that must not be shown to a person, or to curl.

    @raise CommandFailed: The URL is not one of HTTP, or cannot be printed.
    """
    text = ticket.url + ticket.serverName
    isHTTP = ticket.url.startswith(("http://", "https://"))
    if not isHTTP or not text.isprintable() or ticket.method != b"GET":
        raise CommandFailed(
            "the service sent an invalid ticket: its URL is not one of HTTP"
        )


@contextmanager
def _written(pem: bytes, path: str | None) -> Iterator[str | None]:
    """
    Write a certificate to a file.

    @param pem: The certificate; empty if there is none.

    @param path: The path of the file; L{None} for a temporary one.

    @return: A context manager, of the path of the file, or of L{None}.
    """
    if not pem:
        yield None
        return
    where: int | str
    if path is None:
        where, name = tempfile.mkstemp(".pem", "amp-stream-")
    else:
        where = name = os.path.abspath(path)
    try:
        with open(where, "wb") as file:
            file.write(pem)
        yield name
    finally:
        if path is None:
            with suppress(FileNotFoundError):
                os.unlink(name)


def _ticketText(offer: FileOffer, path: str | None, asConfig: bool) -> str:
    name, ticket = offer.info.name, offer.ticket
    if asConfig:
        return curlConfig(ticket, name, path)
    command = shlex.join(["curl", *curlArguments(ticket, name, path)])
    return (
        f"{name}: {offer.info.size} bytes at {ticket.url}\n"
        f"Good for one request, which must begin within {ticket.lifetime} s:\n"
        f"\n{command}\n"
    )


def _ticketFields(offer: FileOffer, path: str | None) -> Mapping[str, object]:
    ticket = offer.ticket
    return {
        **_described(offer.info),
        "url": ticket.url,
        "method": ticket.method.decode("ascii"),
        "token": ticket.token.decode("ascii"),
        "lifetime": ticket.lifetime,
        "certificate": ticket.certificate.decode("ascii") or None,
        "certificateFile": path,
        "serverName": ticket.serverName or None,
        "curl": ["curl", *curlArguments(ticket, offer.info.name, path)],
    }


def curlArguments(ticket: Ticket, output: str, certificate: str | None) -> list[str]:
    """
    @param output: The file that curl shall write.

    @param certificate: The file that holds the certificate of the ticket, or L{None}
        if there is none.

    @return: The arguments of C{curl}, with the token among them.
    """
    arguments = ["--fail"]
    for name, value in _curlOptions(ticket, output, certificate):
        arguments += [f"--{name}", value]
    return arguments


def curlConfig(ticket: Ticket, output: str, certificate: str | None) -> str:
    """@return: The options of L{curlArguments}, as a text for C{curl --config}."""
    options = _curlOptions(ticket, output, certificate)
    lines = [f'{name} = "{value.translate(_ESCAPES)}"' for name, value in options]
    return "\n".join(["fail", *lines])


def _curlOptions(
    ticket: Ticket, output: str, certificate: str | None
) -> list[tuple[str, str]]:
    parts = urlsplit(ticket.url)
    options: list[tuple[str, str]] = []
    if certificate is not None:
        options.append(("cacert", certificate))
    if ticket.serverName and ticket.serverName != parts.hostname:
        # The certificate is not for the host of the URL, but for this name there.
        port = parts.port or (443 if parts.scheme == "https" else 80)
        name = _bracketed(ticket.serverName)
        there = f"{_bracketed(parts.hostname or '')}:{port}"
        options.append(("connect-to", f"{name}:{port}:{there}"))
        parts = parts._replace(netloc=f"{name}:{port}", fragment="")
    token = ticket.token.decode("ascii")
    return [
        *options,
        ("header", f"Authorization: Bearer {token}"),
        # To curl, "-" is standard output.
        ("output", f"./{output}" if output.startswith("-") else output),
        ("url", parts.geturl()),
    ]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The C{amp-stream} command.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 no connection, 128 and the number
of a signal that ended it.  Each failure is one line on standard error.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timezone
from typing import Any, NoReturn, TypeVar

import click
from twisted.internet.error import ConnectionClosed
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.protocols.amp import UnhandledCommand

from amp_stream._version import __version__
from amp_stream.addresses import clientEndpoint
from amp_stream.client import TRANSPORTS, FileClient, connect, tooLate
from amp_stream.fileerrors import InvalidName
from amp_stream.localfiles import openSink, openSource
from amp_stream.progress import progressBar
from amp_stream.running import Interrupted, run
from amp_stream.sizes import parseSize
from amp_stream.storage import FileInfo, checkName

__all__ = ["main"]

_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable[..., object])

FAILED = 1
NO_CONNECTION = 3

_CLOSED = "standard output was closed"


class CommandFailed(click.ClickException):
    """
    What ends the command with one line and a status.
    """

    def __init__(self, message: str, status: int) -> None:
        """
        @param message: The line.

        @param status: The exit status.
        """
        super().__init__(message)
        self.status = status


def main() -> NoReturn:
    """
    Run the command that C{sys.argv} gives, and exit.
    """
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal cannot show is no reason to fail.
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


def _endpoint(function: _F) -> _F:
    return click.argument("endpoint")(function)


def _timeout(function: _F) -> _F:
    return click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=30.0,
        show_default=True,
        metavar="SECONDS",
        help="How long to try to connect.",
    )(function)


def _via(function: _F) -> _F:
    return click.option(
        "--via",
        type=click.Choice(list(TRANSPORTS)),
        default="stream",
        show_default=True,
        help="How the bytes travel.",
    )(function)


def _json(function: _F) -> _F:
    return click.option(
        "--json", "asJson", is_flag=True, help="Print one JSON object."
    )(function)


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
@_endpoint
@click.argument("file")
@click.option("--as", "name", help="The name to store it under.")
@_via
@_timeout
@_json
def put(
    endpoint: str, file: str, name: str | None, via: str, timeout: float, asJson: bool
) -> None:
    """
    Store FILE, or standard input if it is "-".
    """
    if name is None:
        if file == "-":
            raise click.UsageError("standard input has no name: give one with --as")
        name = os.path.basename(file)
    named = _checked(name)

    async def work(reactor: Any, client: FileClient) -> Any:
        with openSource(file, reactor) as source, progressBar(named) as progress:
            return await client.put(
                named,
                source.read,
                size=source.size,
                via=via,
                progress=progress,
                inThread=source.inThread,
            )

    stored = _converse(endpoint, timeout, work, TRANSPORTS[via].version)
    sha256 = stored.sha256.hex()
    _show(
        asJson,
        {"name": stored.name, "size": stored.size, "sha256": sha256},
        f"{stored.name}: {stored.size} bytes, SHA-256 {sha256}",
    )


@commands.command()
@_endpoint
@click.argument("name")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help='Where to write it, "-" for standard output.  [default: NAME]',
)
@_via
@_timeout
@_json
def get(
    endpoint: str, name: str, output: str | None, via: str, timeout: float, asJson: bool
) -> None:
    """
    Read the file NAME.

    A FILE appears when all of it is there and checked; until then, and if
    anything fails, what was there before stays.
    """
    _checked(name)
    target = name if output is None else output
    if asJson and target == "-":
        raise click.UsageError("standard output is for the file, or for --json")
    if os.path.isdir(target):
        raise click.UsageError(f"{target} is a directory: name a file with -o")

    async def work(reactor: Any, client: FileClient) -> Any:
        sink = openSink(target, reactor)
        try:
            with progressBar(name) as progress:
                fetched = await client.get(
                    name,
                    sink.write,
                    via=via,
                    progress=progress,
                    inThread=sink.inThread,
                )
            await sink.inThread(sink.finish)
        finally:
            sink.discard()
        return fetched

    fetched = _converse(endpoint, timeout, work, TRANSPORTS[via].version)
    if target == "-":
        return
    sha256 = fetched.sha256.hex()
    _show(
        asJson,
        {
            "name": name,
            "size": fetched.size,
            "sha256": sha256,
            "modified": _iso(fetched.modified),
            "file": target,
        },
        f"{target}: {fetched.size} bytes, SHA-256 {sha256}",
    )


@commands.command()
@_endpoint
@_timeout
@_json
def ls(endpoint: str, timeout: float, asJson: bool) -> None:
    """
    List all files: size in bytes, time (UTC), name.
    """

    async def work(reactor: Any, client: FileClient) -> list[FileInfo]:
        return await client.listFiles()

    files = _converse(endpoint, timeout, work)
    if asJson or files:
        _show(
            asJson,
            {"files": [_described(info) for info in files]},
            "\n".join(
                f"{info.size:>15}  {_iso(info.modified)}  {info.name}" for info in files
            ),
        )


@commands.command()
@_endpoint
@click.argument("name")
@_timeout
@_json
def stat(endpoint: str, name: str, timeout: float, asJson: bool) -> None:
    """
    Tell the size of the file NAME, and when it was written.
    """
    _checked(name)

    async def work(reactor: Any, client: FileClient) -> FileInfo:
        return await client.stat(name)

    info = _converse(endpoint, timeout, work)
    line = f"{name}: {info.size} bytes, written {_iso(info.modified)}"
    _show(asJson, _described(info), line)


@commands.command()
@_endpoint
@click.argument("name")
@_timeout
@_json
def rm(endpoint: str, name: str, timeout: float, asJson: bool) -> None:
    """
    Remove the file NAME.
    """
    _checked(name)

    async def work(reactor: Any, client: FileClient) -> None:
        await client.remove(name)

    _converse(endpoint, timeout, work)
    _show(asJson, {"name": name}, f"{name}: removed")


@commands.command()
@_endpoint
@_timeout
@_json
def ping(endpoint: str, timeout: float, asJson: bool) -> None:
    """
    Tell how long a small call takes.
    """

    async def work(reactor: Any, client: FileClient) -> float:
        started = reactor.seconds()
        await client.ping().addTimeout(timeout, reactor, tooLate)
        seconds: float = reactor.seconds() - started
        return seconds

    seconds = _converse(endpoint, timeout, work)
    _show(asJson, {"seconds": seconds}, f"{seconds * 1000:.2f} ms")


@commands.command()
@click.argument("file", required=False)
@click.option(
    "--size",
    default="256M",
    show_default=True,
    help="How much to make, in bytes, or with K, M, G or T, if there is no FILE.",
)
@_json
def demo(file: str | None, size: str, asJson: bool) -> None:
    """
    Show small calls staying fast while FILE moves.

    Starts a file service of its own, moves FILE there and back over each
    transport with a small call every 10 ms on the same connection, and prints
    how long these took.
    """
    from amp_stream.demo import Demonstration, asTable

    try:
        count = parseSize(size)
    except ValueError as error:
        raise click.UsageError(f"--size: {error}") from error
    outcome = _guarded(lambda: run(Demonstration(file, count).main))
    _show(asJson, outcome.asDict(), asTable(outcome))
    if outcome.mismatches:
        raise CommandFailed(
            f"what came back is not what was sent: {', '.join(outcome.mismatches)}",
            FAILED,
        )


def _converse(
    endpoint: str,
    timeout: float,
    work: Callable[[Any, FileClient], Awaitable[_T]],
    version: str | int = "auto",
) -> _T:
    """
    Connect, do some work, and turn each error into its line and status.
    """

    async def session(reactor: Any) -> _T:
        try:
            where = clientEndpoint(reactor, endpoint, timeout)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        try:
            client = await connect(reactor, where, timeout, version)
        except Exception as error:
            raise CommandFailed(
                f"no connection to {endpoint}: {error}", NO_CONNECTION
            ) from error
        return await work(reactor, client)

    return _guarded(lambda: run(session))


def _guarded(work: Callable[[], _T]) -> _T:
    observers = click.get_current_context().obj
    globalLogBeginner.beginLoggingTo(
        observers, discardBuffer=not observers, redirectStandardIO=False
    )
    try:
        return work()
    except click.ClickException:
        raise
    except Interrupted as error:
        raise CommandFailed(str(error), error.status) from error
    except Exception as error:
        raise CommandFailed(_explain(error), FAILED) from error


def _explain(error: Exception) -> str:
    if isinstance(error, ConnectionClosed):
        return f"the connection was lost: {error}"
    if isinstance(error, UnhandledCommand):
        return "the other side answers, but it is no file service of amp_stream"
    if isinstance(error, OSError) and error.errno == errno.EPIPE:
        return _CLOSED
    return str(error) or type(error).__name__


def _checked(name: str) -> str:
    try:
        checkName(name)
    except InvalidName as error:
        raise click.UsageError(f"{name!r} is no name for a file: {error}") from error
    return name


def _described(info: FileInfo) -> Mapping[str, object]:
    return {"name": info.name, "size": info.size, "modified": _iso(info.modified)}


def _iso(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _show(asJson: bool, found: Mapping[str, object], text: str) -> None:
    try:
        click.echo(json.dumps(found) if asJson else text)
    except BrokenPipeError as error:
        # What is left in the buffer is not to be written when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise CommandFailed(_CLOSED, FAILED) from error


if __name__ == "__main__":
    main()

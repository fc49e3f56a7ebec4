# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The C{amp-stream} command.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 no connection, 128 and the number
of a signal that ended it.  Each failure is one line on standard error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

import click
from twisted.logger import textFileLogObserver

from amp_stream._version import __version__
from amp_stream.benchcommand import bench
from amp_stream.client import FileClient, tooLate
from amp_stream.console import (
    FAILED,
    CommandFailed,
    Route,
    asISO,
    checkedName,
    converse,
    endpointArgument,
    guarded,
    jsonOption,
    routeOptions,
    show,
    timeoutOption,
)
from amp_stream.localfiles import openSink, openSource
from amp_stream.progress import progressBar
from amp_stream.running import run
from amp_stream.sizes import parseSize
from amp_stream.storage import FileInfo
from amp_stream.ticketcommand import ticket

__all__ = ["main"]


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
@endpointArgument
@click.argument("file")
@click.option("--as", "name", help="The name to store it under.")
@routeOptions
@timeoutOption
@jsonOption
def put(
    endpoint: str,
    file: str,
    name: str | None,
    route: Route,
    timeout: float,
    asJson: bool,
) -> None:
    """
    Store FILE, or standard input if it is "-".
    """
    if name is None:
        if file == "-":
            raise click.UsageError("standard input has no name: give one with --as")
        name = os.path.basename(file)
    named = checkedName(name)

    async def work(reactor: Any, client: FileClient) -> Any:
        with openSource(file, reactor) as source, progressBar(named) as progress:
            return await client.put(
                named,
                source.read,
                size=source.size,
                via=route.transport.name,
                progress=progress,
                inThread=source.inThread,
            )

    stored = converse(endpoint, timeout, work, route)
    sha256 = stored.sha256.hex()
    show(
        asJson,
        {"name": stored.name, "size": stored.size, "sha256": sha256},
        f"{stored.name}: {stored.size} bytes, SHA-256 {sha256}",
    )


@commands.command()
@endpointArgument
@click.argument("name")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help='Where to write it, "-" for standard output.  [default: NAME]',
)
@routeOptions
@timeoutOption
@jsonOption
def get(
    endpoint: str,
    name: str,
    output: str | None,
    route: Route,
    timeout: float,
    asJson: bool,
) -> None:
    """
    Read the file NAME.

    A FILE appears when all of it is there and checked; until then, and if
    anything fails, what was there before stays.
    """
    checkedName(name)
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
                    via=route.transport.name,
                    progress=progress,
                    inThread=sink.inThread,
                )
            await sink.inThread(sink.finish)
        finally:
            sink.discard()
        return fetched

    fetched = converse(endpoint, timeout, work, route)
    if target == "-":
        return
    sha256 = fetched.sha256.hex()
    show(
        asJson,
        {
            "name": name,
            "size": fetched.size,
            "sha256": sha256,
            "modified": asISO(fetched.modified),
            "file": target,
        },
        f"{target}: {fetched.size} bytes, SHA-256 {sha256}",
    )


@commands.command()
@endpointArgument
@timeoutOption
@jsonOption
def ls(endpoint: str, timeout: float, asJson: bool) -> None:
    """
    List all files: size in bytes, time (UTC), name.
    """

    async def work(reactor: Any, client: FileClient) -> list[FileInfo]:
        return await client.listFiles()

    files = converse(endpoint, timeout, work)
    if asJson or files:
        show(
            asJson,
            {"files": [_described(info) for info in files]},
            "\n".join(
                f"{info.size:>15}  {asISO(info.modified)}  {info.name}"
                for info in files
            ),
        )


@commands.command()
@endpointArgument
@click.argument("name")
@timeoutOption
@jsonOption
def stat(endpoint: str, name: str, timeout: float, asJson: bool) -> None:
    """
    Tell the size of the file NAME, and when it was written.
    """
    checkedName(name)

    async def work(reactor: Any, client: FileClient) -> FileInfo:
        return await client.stat(name)

    info = converse(endpoint, timeout, work)
    line = f"{name}: {info.size} bytes, written {asISO(info.modified)}"
    show(asJson, _described(info), line)


@commands.command()
@endpointArgument
@click.argument("name")
@timeoutOption
@jsonOption
def rm(endpoint: str, name: str, timeout: float, asJson: bool) -> None:
    """
    Remove the file NAME.
    """
    checkedName(name)

    async def work(reactor: Any, client: FileClient) -> None:
        await client.remove(name)

    converse(endpoint, timeout, work)
    show(asJson, {"name": name}, f"{name}: removed")


@commands.command()
@endpointArgument
@timeoutOption
@jsonOption
def ping(endpoint: str, timeout: float, asJson: bool) -> None:
    """
    Tell how long a small call takes.
    """

    async def work(reactor: Any, client: FileClient) -> float:
        started = reactor.seconds()
        await client.ping().addTimeout(timeout, reactor, tooLate)
        seconds: float = reactor.seconds() - started
        return seconds

    seconds = converse(endpoint, timeout, work)
    show(asJson, {"seconds": seconds}, f"{seconds * 1000:.2f} ms")


@commands.command()
@click.argument("file", required=False)
@click.option(
    "--size",
    default="256M",
    show_default=True,
    help="How much to make, in bytes, or with K, M, G or T, if there is no FILE.",
)
@jsonOption
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
    outcome = guarded(lambda: run(Demonstration(file, count).main))
    show(asJson, outcome.asDict(), asTable(outcome))
    if outcome.mismatches:
        raise CommandFailed(
            f"what came back is not what was sent: {', '.join(outcome.mismatches)}",
            FAILED,
        )


def _described(info: FileInfo) -> Mapping[str, object]:
    return {"name": info.name, "size": info.size, "modified": asISO(info.modified)}


commands.add_command(bench)
commands.add_command(ticket)

if __name__ == "__main__":
    main()

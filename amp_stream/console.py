# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
What the commands of C{amp-stream} have in common: their options, how they connect, and
how they fail.
"""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from functools import wraps
from typing import Any, TypeVar

import click
from attrs import frozen
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import ConnectionClosed
from twisted.logger import globalLogBeginner
from twisted.protocols.amp import UnhandledCommand

from amp_stream.addresses import clientEndpoint
from amp_stream.bulk import startBulk
from amp_stream.client import FileClient, connect
from amp_stream.errors import UntrustedServer
from amp_stream.fileerrors import InvalidName
from amp_stream.outofband import OutOfBandClient, OutOfBandServer
from amp_stream.running import Interrupted, run
from amp_stream.storage import checkName
from amp_stream.transports import TRANSPORTS, Transport

__all__ = [
    "FAILED",
    "NO_CONNECTION",
    "CommandFailed",
    "Route",
    "asISO",
    "checkedName",
    "closeOutput",
    "converse",
    "endpointArgument",
    "guarded",
    "jsonOption",
    "routeOptions",
    "show",
    "timeoutOption",
]

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


@frozen
class Route:
    """
    How a file travels.

    @ivar transport: The transport.

    @ivar bulk: Where this side listens for out-of-band transfers, a server endpoint
        string; L{None} if it does not.

    @ivar hosts: The hosts besides the peer that it makes out-of-band requests to.

    @ivar plain: Whether it makes them without TLS.
    """

    transport: Transport = TRANSPORTS["stream"]
    bulk: str | None = None
    hosts: tuple[str, ...] = ()
    plain: bool = False

    def check(self) -> None:
        """
        See whether this can be.

        @raise click.UsageError: If it makes no sense.

        @raise CommandFailed: If something is missing on this machine.
        """
        if self.transport.outOfBand:
            if self.transport.obstacle is not None:
                raise CommandFailed(self.transport.obstacle, FAILED)
            return
        for option, value in [
            ("--bulk", self.bulk),
            ("--allow-host", self.hosts),
            ("--plain-http", self.plain),
        ]:
            if value:
                raise click.UsageError(f"{option} is for --via oob")

    async def listen(self, reactor: Any) -> OutOfBandServer | None:
        """
        Listen, if that is wanted.

        @raise click.UsageError: C{bulk} is no endpoint.

        @raise CommandFailed: It is not possible.
        """
        if self.bulk is None:
            return None
        try:
            serverFromString(reactor, self.bulk)
        except Exception as error:
            # The parsers are plugins, and raise whatever they meet.
            raise click.UsageError(
                f"--bulk {self.bulk}: no server endpoint ({error})"
            ) from error
        server = OutOfBandServer(self.bulk, reactor=reactor)
        try:
            await startBulk(server)
        except Exception as error:
            await server.stopService()
            raise CommandFailed(f"--bulk {self.bulk}: {error}", FAILED) from error
        return server

    def client(self) -> OutOfBandClient:
        """
        Make what makes the out-of-band requests.
        """
        return OutOfBandClient(allowedHosts=self.hosts, allowPlainHTTP=self.plain)


def endpointArgument(function: _F) -> _F:
    """
    Give a command its ENDPOINT.
    """
    return click.argument("endpoint")(function)


def timeoutOption(function: _F) -> _F:
    """
    Give a command C{--timeout}.
    """
    return click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=30.0,
        show_default=True,
        metavar="SECONDS",
        help="How long to try to connect.",
    )(function)


def jsonOption(function: _F) -> _F:
    """
    Give a command C{--json}.
    """
    return click.option(
        "--json", "asJson", is_flag=True, help="Print one JSON object."
    )(function)


def routeOptions(function: Callable[..., object]) -> Callable[..., object]:
    """
    Give a command C{--via}, and the options that go with C{--via oob}; it is called
    with a C{route}.
    """

    @click.option(
        "--via",
        type=click.Choice(list(TRANSPORTS)),
        default="stream",
        show_default=True,
        help="How the bytes travel.",
    )
    @click.option(
        "--bulk",
        metavar="ENDPOINT",
        help="With --via oob, listen here for the HTTPS transfer: a Twisted server "
        "endpoint string.",
    )
    @click.option(
        "--allow-host",
        "hosts",
        metavar="HOST",
        multiple=True,
        help="With --via oob, an HTTPS server besides that at ENDPOINT; * for any.",
    )
    @click.option(
        "--plain-http",
        "plain",
        is_flag=True,
        help="With --via oob, do without TLS where the service does.",
    )
    @wraps(function)
    def routed(
        *, via: str, bulk: str | None, hosts: tuple[str, ...], plain: bool, **rest: Any
    ) -> object:
        route = Route(TRANSPORTS[via], bulk, hosts, plain)
        route.check()
        return function(route=route, **rest)

    return routed


def converse(
    endpoint: str,
    timeout: float,
    work: Callable[[Any, FileClient], Awaitable[_T]],
    route: Route | None = None,
) -> _T:
    """
    Connect, do some work, and turn each error into its line and status.

    @param endpoint: Where to connect to, as a person wrote it.

    @param timeout: How long to try (seconds).

    @param work: Called with the reactor and the client.

    @param route: How files are going to travel.

    @return: What the work returned.
    """
    way = Route() if route is None else route

    async def session(reactor: Any) -> _T:
        try:
            where = clientEndpoint(reactor, endpoint, timeout)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        server = await way.listen(reactor)
        try:
            try:
                client = await connect(
                    reactor,
                    where,
                    timeout,
                    way.transport.version,
                    bulkServer=server,
                    bulkClient=way.client(),
                )
            except Exception as error:
                raise CommandFailed(
                    f"no connection to {endpoint}: {error}", NO_CONNECTION
                ) from error
            return await work(reactor, client)
        finally:
            if server is not None:
                await server.stopService()

    return guarded(lambda: run(session))


def guarded(work: Callable[[], _T]) -> _T:
    """
    Do some work, and turn each error into its line and status.
    """
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


def checkedName(name: str) -> str:
    """
    Take the name of a file from a person.

    @raise click.UsageError: No file can have it.
    """
    try:
        checkName(name)
    except InvalidName as error:
        raise click.UsageError(f"{name!r} is no name for a file: {error}") from error
    return name


def asISO(moment: datetime) -> str:
    """
    Write a time as people and programs read it, in UTC.
    """
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def show(asJson: bool, found: Mapping[str, object], text: str) -> None:
    """
    Print what was found.

    @param asJson: Whether to print C{found}, or C{text}.

    @raise CommandFailed: Nobody reads standard output any more.
    """
    try:
        click.echo(json.dumps(found) if asJson else text)
    except BrokenPipeError as error:
        closeOutput()
        raise CommandFailed(_CLOSED, FAILED) from error


def closeOutput() -> None:
    """
    Print no more: who reads standard output finds its end, and what is left in the
    buffer is not written when Python ends.
    """
    with suppress(BrokenPipeError):
        sys.stdout.flush()
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)


def _explain(error: Exception) -> str:
    if isinstance(error, ConnectionClosed):
        return f"the connection was lost: {error}"
    if isinstance(error, UnhandledCommand):
        return "the other side answers, but it is no file service of amp_stream"
    if isinstance(error, OSError) and error.errno == errno.EPIPE:
        return _CLOSED
    if isinstance(error, UntrustedServer):
        # The error speaks to programs; these are the same things in options.
        text = str(error).replace(
            "OutOfBandClient(allowPlainHTTP=True)", "--plain-http"
        )
        return re.sub(
            r"OutOfBandClient\(allowedHosts=\['(.+?)'\]\)", r"--allow-host \1", text
        )
    return str(error) or type(error).__name__

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The common parts of the commands of C{amp-stream}: options, connecting, running the
reactor, reporting errors, and printing.
"""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from functools import partial, wraps
from types import FrameType
from typing import Any, TypeVar, cast

import click
from attrs import fields, frozen
from tqdm import tqdm
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import react
from twisted.logger import globalLogBeginner
from twisted.protocols.amp import UnhandledCommand
from twisted.python.failure import Failure

from amp_stream import StreamConfig
from amp_stream.errors import UntrustedServer
from amp_stream.files._client import FileClient, Progress, connect, timeoutError
from amp_stream.files._endpoints import clientEndpoint, parseSize, serverEndpoint
from amp_stream.files._server import startOutOfBand, whyNoOutOfBand
from amp_stream.files._storage import InvalidName, NoSuchFile, checkName
from amp_stream.outofband import OutOfBandClient, OutOfBandServer

_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable[..., object])
_Work = Coroutine[Any, Any, _T]

FAILED = 1
NO_CONNECTION = 3
NO_SUCH_FILE = 4

_CLOSED = "standard output was closed"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class CommandFailed(click.ClickException):
    """Ends the command with one line and an exit status."""

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status


# The options.


class _Text(click.ParamType):  # type: ignore[type-arg]
    """A text that a function reads, or refuses with a C{ValueError}."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        try:
            return self._read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _readName(text: str) -> str:
    try:
        checkName(text)
    except InvalidName as error:
        raise ValueError(f"not a valid file name: {text!r}: {error}") from error
    return text


NAME = _Text("name", _readName)
SIZE = _Text("size", parseSize)

JSON = click.option("--json", "asJson", is_flag=True, help="Print one JSON object.")


_seconds = partial(
    click.option,
    type=click.FloatRange(min=0, min_open=True),
    show_default=True,
    metavar="SECONDS",
)

_TRANSFER_OPTIONS = [
    click.option("--oob", "outOfBand", is_flag=True, help="Move the bytes over HTTPS."),
    click.option(
        "--oob-listen",
        "listen",
        metavar="ENDPOINT",
        help="With --oob, listen here for the HTTPS transfer: a Twisted server "
        "endpoint string.",
    ),
    click.option(
        "--oob-allow-host",
        "allowedHosts",
        metavar="HOST",
        multiple=True,
        help="With --oob, allow an HTTPS server on another HOST; * allows any.",
    ),
    click.option(
        "--oob-allow-plain-http",
        "allowPlainHTTP",
        is_flag=True,
        help="With --oob, allow plain HTTP where the service has no TLS.",
    ),
]


@frozen
class Service:
    """
    The file service that a command talks to, and how: the options of the command.

    @ivar endpoint: A client endpoint string.

    @ivar connectTimeout: How long to try to connect (seconds).

    @ivar timeout: How long the command may take in all (seconds), or L{None}.

    @ivar trustRoot: The path of the certificates to trust, or L{None}.

    @ivar asJson: Whether to print JSON.

    @ivar outOfBand: Whether files travel over HTTPS.

    @ivar listen: Where this side listens for that, a server endpoint string; L{None}
        if it does not.

    @ivar allowedHosts: The hosts besides the peer that it makes HTTPS requests to.

    @ivar allowPlainHTTP: Whether it makes them without TLS.
    """

    endpoint: str
    connectTimeout: float
    timeout: float | None
    trustRoot: str | None
    asJson: bool
    outOfBand: bool = False
    listen: str | None = None
    allowedHosts: tuple[str, ...] = ()
    allowPlainHTTP: bool = False

    def check(self) -> None:
        """
        @raise click.UsageError: An option is wrong, or the options do not go together.

        @raise CommandFailed: A package is missing on this machine.
        """
        from twisted.internet import reactor

        self.clientEndpoint(reactor)
        for option, value in [
            ("--oob-listen", self.listen),
            ("--oob-allow-host", self.allowedHosts),
            ("--oob-allow-plain-http", self.allowPlainHTTP),
        ]:
            if value and not self.outOfBand:
                raise click.UsageError(f"{option} needs --oob")
        if self.outOfBand and (obstacle := whyNoOutOfBand()) is not None:
            raise CommandFailed(obstacle)
        if self.listen is not None:
            with _prefixed("--oob-listen"):
                serverEndpoint(reactor, self.listen)

    def clientEndpoint(self, reactor: Any) -> IStreamClientEndpoint:
        """@raise click.UsageError: It is wrong, or C{trustRoot} does not go with it."""
        with _prefixed("ENDPOINT" if self.trustRoot is None else "--trust-root"):
            return clientEndpoint(
                reactor, self.endpoint, self.connectTimeout, self.trustRoot
            )


@contextmanager
def _prefixed(text: str, status: int | None = None) -> Iterator[None]:
    """
    Turn an exception into one with a text before it.

    @param status: That of a L{CommandFailed}; L{None} for a usage error.
    """
    try:
        yield
    except Exception as error:
        message = f"{text}: {error}"
        if status is None:
            raise click.UsageError(message) from error
        raise CommandFailed(message, status) from error


def connects(
    timeout: float | None = None, transfers: bool = False
) -> Callable[[_F], _F]:
    """
    Give a command its ENDPOINT, and the options of all commands that connect: it is
    called with a L{Service} and its own parameters.

    @param timeout: How long the command may take by default (seconds).

    @param transfers: Whether the command moves files, and can do so out of band.
    """
    options = [
        click.argument("endpoint"),
        _seconds(
            "--connect-timeout",
            "connectTimeout",
            default=30.0,
            help="How long to try to connect, TLS included.",
        ),
        _seconds(
            "--timeout", default=timeout, help="How long the whole command may take."
        ),
        click.option(
            "--trust-root",
            "trustRoot",
            metavar="FILE",
            help="For tls:HOST:PORT, a PEM file with the authorities to trust.",
        ),
        JSON,
        *(_TRANSFER_OPTIONS if transfers else []),
    ]

    def decorate(function: _F) -> _F:
        @wraps(function)
        def decorated(**given: Any) -> object:
            names = {each.name for each in fields(Service)} & given.keys()
            service = Service(**{name: given.pop(name) for name in names})
            service.check()
            return function(service, **given)

        for option in reversed(options):
            decorated = option(decorated)
        return cast(_F, decorated)

    return decorate


# Running.


def withClient(
    service: Service, work: Callable[[Any, FileClient], Awaitable[_T]]
) -> _T:
    """
    Connect, do some work, and turn each error into its line and status.

    @param work: Called with the reactor and the client.

    @return: The result of the work.
    """

    async def converse(reactor: Any) -> _T:
        endpoint = service.clientEndpoint(reactor)
        server = None
        try:
            if service.listen is not None:
                with _prefixed(f"--oob-listen {service.listen}", FAILED):
                    server = OutOfBandServer(service.listen, reactor=reactor)
                    await startOutOfBand(server)
            httpClient = OutOfBandClient(
                allowedHosts=service.allowedHosts, allowPlainHTTP=service.allowPlainHTTP
            )
            config = StreamConfig(outOfBandServer=server, outOfBandClient=httpClient)
            with _prefixed(f"no connection to {service.endpoint}", NO_CONNECTION):
                client = await connect(
                    endpoint,
                    connectTimeout=service.connectTimeout,
                    config=config,
                    reactor=reactor,
                )
            return await work(reactor, client)
        finally:
            if server is not None:
                await server.stopService()

    async def session(reactor: Any) -> _T:
        result: Deferred[_T] = Deferred.fromCoroutine(converse(reactor))
        if service.timeout is not None:
            message = f"not done within {service.timeout:g} s, the --timeout"
            result.addTimeout(service.timeout, reactor, timeoutError(message))
        return await result

    return reportErrors(session)


def reportErrors(work: Callable[[Any], _Work[_T]]) -> _T:
    """
    Run the reactor for some work, and turn each error into its line and status.

    @param work: See L{run}.
    """
    observers = click.get_current_context().obj
    globalLogBeginner.beginLoggingTo(
        observers, discardBuffer=not observers, redirectStandardIO=False
    )
    try:
        return run(work)
    except click.ClickException:
        raise
    except Exception as error:
        status = NO_SUCH_FILE if isinstance(error, NoSuchFile) else FAILED
        raise CommandFailed(_explain(error), status) from error


def _explain(error: Exception) -> str:
    if isinstance(error, ConnectionClosed):
        return f"the connection was lost: {error}"
    if isinstance(error, UnhandledCommand):
        return "the peer answers, but it is not a file service of amp_stream"
    if isinstance(error, OSError) and error.errno == errno.EPIPE:
        return _CLOSED
    if isinstance(error, UntrustedServer):
        # The error names arguments of Python; these are the options for them.
        text = str(error).replace(
            "OutOfBandClient(allowPlainHTTP=True)", "--oob-allow-plain-http"
        )
        return re.sub(
            r"OutOfBandClient\(allowedHosts=\['(.+?)'\]\)", r"--oob-allow-host \1", text
        )
    return str(error) or type(error).__name__


def run(work: Callable[[Any], _Work[_T]]) -> _T:
    """
    Run the reactor until some work is done.

    A signal (SIGINT, SIGTERM, SIGHUP) cancels the work, and the reactor runs
    until it has cleaned up.  A second one ends the process at once.

    @param work: Called with the reactor.

    @return: Its result.

    @raise CommandFailed: There was a signal: the status is 128 and its number.

    @raise Exception: The work raised it.
    """
    outcomes: list[Any] = []
    signals: list[int] = []
    ignored = [each for each in _SIGNALS if signal.getsignal(each) == signal.SIG_IGN]

    async def main(reactor: Any) -> None:
        done: Deferred[None] = Deferred()

        def interrupt(number: int, frame: FrameType | None) -> None:
            signal.signal(number, signal.SIG_DFL)
            signals.append(number)
            reactor.callFromThread(cancel)

        def cancel() -> Deferred[None]:
            doing.cancel()
            return done

        def shutDown() -> Deferred[None]:
            if not done.called:
                # The reactor's own handler was there, for a moment.
                signals.append(signal.SIGTERM)
            return cancel()

        def finish(outcome: Any) -> None:
            outcomes.append(outcome)
            done.callback(None)

        # Not before, as the reactor sets some handlers of its own as it starts.
        running: Deferred[None] = Deferred()
        reactor.callWhenRunning(running.callback, None)
        await running
        for number in _SIGNALS:
            # A signal that is ignored, as by nohup, stays ignored.
            if number not in ignored:
                signal.signal(number, interrupt)
        reactor.addSystemEventTrigger("before", "shutdown", shutDown)
        doing = Deferred.fromCoroutine(work(reactor))
        doing.addBoth(finish)
        await done

    # The outcome is not passed through react(), which would log a failure.
    with suppress(SystemExit):
        react(main)
    (outcome,) = outcomes
    if isinstance(outcome, Failure):
        if signals:
            name = signal.Signals(signals[0]).name
            raise CommandFailed(f"interrupted by {name}", 128 + signals[0])
        outcome.raiseException()
    return cast(_T, outcome)


# Printing.


@contextmanager
def progressBar(label: str) -> Iterator[Progress]:
    """
    Draw a bar, with the rate and the time that is left, on a terminal only.

    @param label: The text before it.

    @return: A context manager of the function to call.  The bar goes away at its end.
    """
    # Its monitor thread would wake up now and then for nothing.
    tqdm.monitor_interval = 0
    # A terminal that does not know its size says 0; a full line would wrap.
    isTerminal = sys.stderr.isatty()
    columns = os.get_terminal_size(sys.stderr.fileno()).columns if isTerminal else 0
    with tqdm(
        desc=label,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        file=sys.stderr,
        ncols=(columns or 80) - 1,
        nrows=24,
        leave=False,
        disable=None,
    ) as bar:

        def progress(moved: int, size: int | None) -> None:
            if moved:
                bar.update(moved - bar.n)
            else:
                bar.reset(size)

        yield progress


def asISO(moment: datetime) -> str:
    """Write a time as people and programs read it, in UTC."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def show(asJson: bool, found: Mapping[str, object], text: str) -> None:
    """
    Print a result.

    @param asJson: Whether to print C{found}, or C{text}.

    @raise CommandFailed: The reader of standard output has closed it.
    """
    try:
        click.echo(json.dumps(found) if asJson else text)
    except BrokenPipeError as error:
        closeOutput()
        raise CommandFailed(_CLOSED) from error


def closeOutput() -> None:
    """
    Print no more: the reader of standard output finds its end, and Python does not try
    to write what is left in the buffer when it ends.
    """
    with suppress(BrokenPipeError):
        sys.stdout.flush()
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)

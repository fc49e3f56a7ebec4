# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Commands for Redis, over a connection that is made when there is need of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from twisted.internet.defer import (
    CancelledError,
    Deferred,
    ensureDeferred,
    maybeDeferred,
    succeed,
)
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from amp_stream.errors import OutOfBandError

__all__ = [
    "UNKNOWN_COMMAND",
    "LentLink",
    "OwnLink",
    "checked",
    "codeOf",
    "unreachable",
]

UNKNOWN_COMMAND = "unknown command"
"""
What L{codeOf} says of the answer to a command that Redis does not know.
"""


def codeOf(answer: object) -> str | None:
    """
    @return: Which error an answer of Redis is, or L{None} if it is none.
    """
    from txredisapi import ResponseError

    if not isinstance(answer, ResponseError):
        return None
    text = str(answer)
    if text.startswith("ERR unknown command"):
        return UNKNOWN_COMMAND
    code = re.match("[A-Z]{1,20}(?= |$)", text)
    return "an error" if code is None else code[0]


def checked(command: str, answer: Any) -> Any:
    code = codeOf(answer)
    if code is not None:
        raise OutOfBandError(
            f"the ticket store cannot be used: Redis answers {command} with {code}"
        )
    return answer


def unreachable(reason: object) -> OutOfBandError:
    return OutOfBandError(f"the ticket store cannot be reached: {reason}")


def _answered(failure: Failure) -> Any:
    """
    A command has failed.

    @return: The error as an answer, if it came from Redis.
    """
    from txredisapi import ConnectionError, RedisError, ResponseError

    error = failure.value
    if isinstance(error, ResponseError):
        return error
    if isinstance(error, ConnectionError):
        return Failure(unreachable(error))
    if isinstance(error, RedisError):
        # Its text may have what was sent.
        return Failure(unreachable(type(error).__name__))
    return failure


def _send(
    client: Any,
    command: tuple[Any, ...],
    timeout: float,
    clock: IReactorTime,
    giveUp: Callable[[], object] = lambda: None,
) -> Deferred[Any]:
    """
    See L{OwnLink.execute}.

    @param giveUp: What to call if there is no answer in time.
    """
    answer: Deferred[Any] = maybeDeferred(client.execute_command, *command)
    answer.addErrback(_answered)
    return answer.addTimeout(timeout, clock, onTimeoutCancel=partial(_late, giveUp))


def _late(giveUp: Callable[[], object], result: object, timeout: float) -> NoReturn:
    giveUp()
    raise unreachable(f"no answer within {timeout:g} seconds")


class LentLink:
    """
    A connection or a pool that the caller has made.
    """

    def __init__(self, connection: Any, timeout: float, clock: IReactorTime) -> None:
        self._connection = connection
        self._timeout = timeout
        self._clock = clock

    def execute(self, *command: Any) -> Deferred[Any]:
        """
        See L{OwnLink.execute}.
        """
        return _send(self._connection, command, self._timeout, self._clock)

    def close(self) -> Deferred[None]:
        """
        Leave it open.
        """
        return succeed(None)


class OwnLink:
    """
    One connection, made when there is need of it.

    The connections that C{txredisapi} makes will not do.  While Redis is away, they
    let each command wait, without a bound; and if it goes away between the connection
    and the answer to C{AUTH} or C{SELECT}, they never connect again.
    """

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        login: list[tuple[Any, ...]],
        timeout: float,
        clock: IReactorTime,
    ) -> None:
        """
        @param login: The commands that come first.
        """
        from txredisapi import RedisProtocol

        self._endpoint = endpoint
        self._login = login
        self._timeout = timeout
        self._clock = clock
        # Bytes as they are: no text, no numbers.
        protocol = partial(RedisProtocol, charset=None, convertNumbers=False)
        self._factory = Factory.forProtocol(protocol)
        self._factory.noisy = False
        self._client: Any = None
        self._attempt: Deferred[Any] | None = None
        self._waiting: list[Deferred[Any]] = []

    def execute(self, *command: Any) -> Deferred[Any]:
        """
        Send a command.

        @return: Fires with the answer: a C{ResponseError} if Redis refuses it.  Fails
            with an L{OutOfBandError} if there is none.
        """
        return ensureDeferred(self._execute(command))

    def close(self) -> Deferred[None]:
        """
        Disconnect.
        """
        return ensureDeferred(self._close())

    async def _close(self) -> None:
        client, self._client = self._client, None
        attempt = self._attempt
        if attempt is not None:
            attempt.cancel()
            await attempt
        if client is None or not client.connected:
            return
        gone: Deferred[Any] = client.whenDisconnected()
        # Redis disconnects after its answers to all that came before.
        client.execute_command("QUIT").addErrback(lambda ignored: None)
        timer = self._clock.callLater(self._timeout, client.transport.abortConnection)
        await gone
        if timer.active():
            timer.cancel()

    async def _execute(self, command: tuple[Any, ...]) -> Any:
        return await self._send(await self._connected(), command)

    def _send(self, client: Any, command: tuple[Any, ...]) -> Deferred[Any]:
        giveUp = partial(self._giveUp, client)
        return _send(client, command, self._timeout, self._clock, giveUp)

    def _giveUp(self, client: Any) -> None:
        """
        It hangs: the next command is better off with another connection.
        """
        if client is self._client:
            self._client = None
        client.transport.abortConnection()

    def _connected(self) -> Deferred[Any]:
        if self._client is not None and self._client.connected:
            return succeed(self._client)
        waiter: Deferred[Any] = Deferred()
        self._waiting.append(waiter)
        if self._attempt is None:
            attempt = self._attempt = ensureDeferred(self._connect())
            late = partial(_late, lambda: None)
            attempt.addTimeout(self._timeout, self._clock, onTimeoutCancel=late)
            attempt.addBoth(self._attempted)
        return waiter

    async def _connect(self) -> Any:
        client: Any = await self._endpoint.connect(self._factory)
        try:
            for command in self._login:
                checked(command[0], await self._send(client, command))
        except Exception:
            gone: Deferred[Any] = client.whenDisconnected()
            client.transport.abortConnection()
            if client.connected:
                await gone
            raise
        return client

    def _attempted(self, result: Any) -> None:
        self._attempt = None
        waiting, self._waiting = self._waiting, []
        if not isinstance(result, Failure):
            self._client = result
        if not isinstance(result, Failure):
            for waiter in waiting:
                waiter.callback(result)
            return
        if result.check(OutOfBandError):
            error = result.value
        elif result.check(CancelledError, ConnectingCancelledError):
            error = unreachable("it has been closed")
        else:
            error = unreachable(result.value)
        for waiter in waiting:
            # Not now, while the error that led here is being handled: before 24.10,
            # Twisted may take the one for the other.
            self._clock.callLater(0, waiter.errback, error)

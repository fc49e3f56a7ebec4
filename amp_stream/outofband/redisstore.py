# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Tickets in Redis, for servers that share them: C{pip install "amp-stream[redis]"}.

C{txredisapi} installs the global reactor when it is imported, so this module imports
it only when there is a store to make.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from hmac import compare_digest
from importlib.util import find_spec
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from twisted.internet.defer import (
    Deferred,
    ensureDeferred,
)
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger

from amp_stream._sansio.tickets import Grant, Owner
from amp_stream.errors import OutOfBandError, TooManyTickets
from amp_stream.outofband.redislink import (
    UNKNOWN_COMMAND,
    LentLink,
    OwnLink,
    checked,
    codeOf,
)

if find_spec("txredisapi") is None:
    raise ImportError(
        'tickets in Redis need txredisapi: pip install "amp-stream[redis]"'
    )

__all__ = ["DEFAULT_PREFIX", "RedisTicketStore", "fromRecord", "toRecord"]

DEFAULT_PREFIX = "amp-stream:ticket:"
"""
What the keys of tickets begin with, where nobody says otherwise.
"""

_METHODS = {"GET", "PUT"}
_TAKE = """
local record = redis.call('GET', KEYS[1])
redis.call('DEL', KEYS[1])
return record
"""


def toRecord(hashed: bytes, grant: Grant) -> bytes:
    """
    @return: A ticket, as it is kept: JSON, in ASCII.
    """
    owner = grant.owner
    record = {
        "hash": hashed.hex(),
        "method": grant.method.decode("ascii"),
        "connection": grant.connection,
        "stream": grant.stream,
        "size": grant.size,
        "maxSize": grant.maxSize,
        "owner": {
            "name": owner.name,
            "url": owner.url,
            "certificate": b64encode(owner.certificate).decode("ascii"),
            "serverName": owner.serverName,
        },
    }
    return json.dumps(record, separators=(",", ":")).encode("ascii")


def fromRecord(record: bytes | str) -> tuple[bytes, Grant]:
    """
    @return: The hash of a token, and what that allows.

    @raise ValueError: If L{toRecord} did not make this.
    """
    try:
        fields = json.loads(record)
    except RecursionError:
        raise ValueError("too deep") from None
    hashed, method, connection, stream, size, maxSize, owner = _members(
        fields, "hash", "method", "connection", "stream", "size", "maxSize", "owner"
    )
    name, url, certificate, serverName = _members(
        owner, "name", "url", "certificate", "serverName"
    )
    if _text(method) not in _METHODS:
        raise ValueError("no such method")
    return bytes.fromhex(_text(hashed)), Grant(
        method=method.encode("ascii"),
        connection=_text(connection),
        stream=_count(stream),
        owner=Owner(
            name=_text(name),
            url=_text(url),
            certificate=b64decode(_text(certificate), validate=True),
            serverName=_text(serverName),
        ),
        size=None if size is None else _count(size),
        maxSize=None if maxSize is None else _count(maxSize),
    )


def _members(value: object, *names: str) -> list[Any]:
    if not isinstance(value, dict) or value.keys() != set(names):
        raise ValueError("not these members")
    return [value[name] for name in names]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("not a text")
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("not a count")
    return value


class RedisTicketStore:
    """
    Keeps tickets in a Redis server, for any number of L{BulkServer}s in any number of
    processes: a ticket that one has issued can be used at each, once.

    Redis drops a ticket by itself when its time is up.  There is no C{maxTickets}:
    what bounds them is the C{maxmemory} of Redis, best with the C{maxmemory-policy}
    C{noeviction}, by which a ticket too many is refused (L{TooManyTickets}), and none
    is dropped that has been issued.

    Whoever can write to Redis can issue tickets; whoever can only read it cannot use
    one, as it has no tokens.  That a ticket is used once holds for one Redis server: a
    replica that takes over, or a restart from a file, may bring back tickets that
    were used just before.

    It connects when it is first used, and again after the connection was lost.  What
    cannot be done fails with an L{OutOfBandError} and is not tried again: a ticket
    that was asked for may have been used up.
    """

    _log = Logger()

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 6379,
        *,
        path: str | None = None,
        username: str | None = None,
        password: str | None = None,
        dbid: int = 0,
        prefix: str = DEFAULT_PREFIX,
        connection: Any = None,
        timeout: float = 5.0,
        reactor: Any = None,
    ) -> None:
        """
        @param host: The host of Redis: a name or an address.

        @param port: Its TCP port.

        @param path: Its UNIX socket, to be used instead of C{host} and C{port}.

        @param username: Whom to log in as, with a C{password}; the default user of
            Redis if it is L{None}.

        @param password: What to log in with, if that is needed.

        @param dbid: The number of the database.

        @param prefix: What the keys begin with.  Servers share tickets if they have
            the same one.

        @param connection: A connection or a pool of C{txredisapi}, of one server and
            not sharded, to be used instead of all of the above but C{prefix}.  It
            stays the caller's: L{close} leaves it open.  Make it with a
            C{replyTimeout}, without which it is never given up when Redis hangs.

        @param timeout: How long to wait for a connection, and then for an answer
            (seconds).

        @param reactor: What to connect with; the global reactor if it is L{None}.
        """
        if reactor is None:
            from twisted.internet import reactor
        self._prefix = prefix.encode("utf-8")
        self._link: OwnLink | LentLink
        if connection is not None:
            self._where = "a connection of the caller"
            self._link = LentLink(connection, timeout, reactor)
        else:
            endpoint: IStreamClientEndpoint
            if path is not None:
                self._where = path
                endpoint = UNIXClientEndpoint(reactor, path, timeout)
            else:
                self._where = f"{host}:{port}"
                endpoint = HostnameEndpoint(reactor, host, port, timeout)
            login: list[tuple[Any, ...]] = []
            if password is not None:
                user = () if username is None else (username,)
                login.append(("AUTH", *user, password))
            if dbid:
                login.append(("SELECT", dbid))
            self._link = OwnLink(endpoint, login, timeout, reactor)
        self._scripted = False

    @classmethod
    def fromURL(
        cls,
        url: str,
        *,
        prefix: str = DEFAULT_PREFIX,
        timeout: float = 5.0,
        reactor: Any = None,
    ) -> RedisTicketStore:
        """
        Make a store for a Redis server that is given as text.

        @param url: C{redis://user:password@host:port/dbid}, of which all but the
            scheme may be missing, or C{unix:/path?db=dbid}, also as
            C{unix://user:password@/path?db=dbid}.  User, password and path are
            percent-encoded.

        @param prefix: See L{__init__}.

        @param timeout: See L{__init__}.

        @param reactor: See L{__init__}.

        @raise ValueError: If it is neither.  The text of the error has nothing of
            C{url}, which may have a password.
        """
        try:
            options = _options(urlsplit(url))
        except ValueError:
            options = None
        # Not in the handler: the other error would be its context.
        if options is None:
            raise ValueError(
                "the URL of a ticket store is redis://user:password@host:port/dbid or "
                "unix:/path?db=dbid"
            )
        return cls(prefix=prefix, timeout=timeout, reactor=reactor, **options)

    def __repr__(self) -> str:
        return f"<RedisTicketStore {self._where}>"

    def issue(self, hashed: bytes, grant: Grant, lifetime: float) -> Deferred[None]:
        """
        See L{TicketStore.issue}.
        """
        return ensureDeferred(self._issue(hashed, grant, lifetime))

    def consume(self, hashed: bytes) -> Deferred[Grant | None]:
        """
        See L{TicketStore.consume}.
        """
        return ensureDeferred(self._consume(hashed))

    def revoke(self, hashed: bytes) -> Deferred[None]:
        """
        See L{TicketStore.revoke}.
        """
        return ensureDeferred(self._revoke(hashed))

    def close(self) -> Deferred[None]:
        """
        Disconnect from Redis, once it has done what it was asked for.  The tickets
        stay there, and a store that is used again connects again.
        """
        return self._link.close()

    async def _issue(self, hashed: bytes, grant: Grant, lifetime: float) -> None:
        milliseconds = int(lifetime * 1000)
        if milliseconds < 1:
            return
        record = toRecord(hashed, grant)
        answer = await self._link.execute(
            "SET", self._key(hashed), record, "PX", milliseconds, "NX"
        )
        if codeOf(answer) == "OOM":
            raise TooManyTickets("Redis has no memory left for another ticket")
        if checked("SET", answer) is None:
            raise OutOfBandError("there is a ticket with this token already")

    async def _consume(self, hashed: bytes) -> Grant | None:
        answer = await self._take(self._key(hashed))
        if answer is None:
            return None
        try:
            if not isinstance(answer, (bytes, str)):  # a lent connection may decode
                raise ValueError("not a string")
            kept, grant = fromRecord(answer)
        except ValueError:
            pass
        else:
            if compare_digest(kept, hashed):
                return grant
        self._log.error("the record of a ticket in {store} is malformed", store=self)
        return None

    async def _revoke(self, hashed: bytes) -> None:
        checked("DEL", await self._link.execute("DEL", self._key(hashed)))

    def _key(self, hashed: bytes) -> bytes:
        return self._prefix + hashed.hex().encode("ascii")

    async def _take(self, key: bytes) -> Any:
        """
        Get a value and delete it, in one step.

        @return: The value; L{None} if there is none; an error if it is not a string.
        """
        command = "GETDEL"
        if not self._scripted:
            answer = await self._link.execute(command, key)
            if codeOf(answer) == UNKNOWN_COMMAND:  # before Redis 6.2
                self._scripted = True
        if self._scripted:
            command = "EVAL"
            answer = await self._link.execute(command, _TAKE, 1, key)
        return answer if codeOf(answer) == "WRONGTYPE" else checked(command, answer)


def _options(url: SplitResult) -> dict[str, Any]:
    """
    @return: The arguments for L{RedisTicketStore}.

    @raise ValueError: If there are none.
    """
    options: dict[str, Any] = {}
    if url.password is not None:
        options["password"] = unquote(url.password)
        options["username"] = unquote(url.username or "") or None
    elif url.username is not None:
        raise ValueError("a user without a password")
    if url.scheme == "redis" and re.match("/|$", url.path) and not url.query:
        options["host"] = url.hostname or "127.0.0.1"
        options["port"] = url.port or 6379
        database = url.path[1:]
    elif url.scheme == "unix" and url.path and url.netloc.rpartition("@")[2] == "":
        options["path"] = unquote(url.path)
        if url.query and not url.query.startswith("db="):
            raise ValueError("an unknown option")
        database = url.query[3:]
    else:
        raise ValueError("neither")
    if url.fragment or not re.fullmatch("[0-9]{0,9}", database):
        raise ValueError("not the number of a database")
    return {**options, "dbid": int(database or 0)}

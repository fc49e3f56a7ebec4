# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Tests for L{amp_stream.outofband.redisstore}, with real Redis servers.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from amp_stream._sansio.tickets import Grant, Owner, hashToken
from amp_stream.errors import OutOfBandError, TooManyTickets
from tests.redisserver import NO_LIBRARY, RedisServer, RedisTestCase

if NO_LIBRARY is None:
    import txredisapi

    from amp_stream.outofband.redisstore import (
        DEFAULT_PREFIX,
        RedisTicketStore,
        fromRecord,
        toRecord,
    )

HASHED = hashToken(b"a token")
OTHER = hashToken(b"another token")
OWNER = Owner(
    name="a server",
    url="https://192.0.2.1:8443/path",
    certificate=b"-----BEGIN CERTIFICATE-----\n\0\xff",
    serverName="server.example",
)
GRANT = Grant(
    method=b"PUT",
    connection="a connection",
    stream=7,
    owner=OWNER,
    size=1_000,
    maxSize=2**63,
)

sizes = st.none() | st.integers(min_value=0)
owners = st.builds(
    Owner,
    name=st.text(),
    url=st.text(),
    certificate=st.binary(),
    serverName=st.text(),
)
grants = st.builds(
    Grant,
    method=st.sampled_from([b"GET", b"PUT"]),
    connection=st.text(),
    stream=st.integers(min_value=0),
    owner=owners,
    size=sizes,
    maxSize=sizes,
)
hashes = st.binary(min_size=32, max_size=32)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


class ClockedReactor:
    """
    The global reactor, except for the time.
    """

    def __init__(self):
        self.clock = Clock()
        self.callLater = self.clock.callLater
        self.seconds = self.clock.seconds
        self.getDelayedCalls = self.clock.getDelayedCalls

    def __getattr__(self, name):
        return getattr(reactor, name)


class RecordTests(SynchronousTestCase):
    """
    How a ticket is kept.
    """

    skip = NO_LIBRARY

    @given(hashes, grants)
    def test_roundTrip(self, hashed, grant):
        """
        What was kept comes back, with everything in it.
        """
        self.assertEqual(fromRecord(toRecord(hashed, grant)), (hashed, grant))

    @given(st.binary() | st.text())
    def test_garbage(self, record):
        """
        What is no record at all is refused.
        """
        self.assertRaises(ValueError, fromRecord, record)

    @given(st.data())
    def test_changed(self, data):
        """
        A record in which something has changed is refused, or is one of the same
        types.
        """
        fields = json.loads(toRecord(HASHED, GRANT))
        place = data.draw(st.sampled_from([fields, fields["owner"]]))
        place[data.draw(st.sampled_from(sorted(place)))] = data.draw(values)
        try:
            hashed, grant = fromRecord(json.dumps(fields).encode("ascii"))
        except ValueError:
            return
        self.assertEqual(fromRecord(toRecord(hashed, grant)), (hashed, grant))

    def test_strict(self):
        """
        A record with a member less, one more, or one that cannot be, is refused.
        """
        fields = json.loads(toRecord(HASHED, GRANT))
        owner = fields["owner"]
        wrong = [
            {key: value for key, value in fields.items() if key != "size"},
            {**fields, "more": 1},
            {**fields, "method": "DELETE"},
            {**fields, "stream": -1},
            {**fields, "stream": True},
            {**fields, "size": 1.0},
            {**fields, "maxSize": "1"},
            {**fields, "hash": "no"},
            {**fields, "connection": None},
            {**fields, "owner": None},
            {**fields, "owner": {**owner, "more": 1}},
            {**fields, "owner": {**owner, "certificate": "_"}},
            [fields],
        ]
        for each in wrong:
            self.assertRaises(ValueError, fromRecord, json.dumps(each).encode("ascii"))
        self.assertRaises(ValueError, fromRecord, b"[" * 100_000)


class URLTests(SynchronousTestCase):
    """
    L{RedisTicketStore.fromURL}.
    """

    skip = NO_LIBRARY

    def test_where(self):
        """
        A store shows where it is, and not how it logs in there.
        """
        for url, where in [
            ("redis://", "127.0.0.1:6379"),
            ("redis:///3", "127.0.0.1:6379"),
            ("redis://redis.example", "redis.example:6379"),
            ("redis://redis.example:1234/", "redis.example:1234"),
            ("redis://:hidden@redis.example/0", "redis.example:6379"),
            ("redis://user:hidden@[2001:db8::1]:1234/15", "2001:db8::1:1234"),
            ("unix:/run/redis/a%20socket", "/run/redis/a socket"),
            ("unix:///run/redis/socket?db=2", "/run/redis/socket"),
            ("unix://user:hidden@/run/redis/socket", "/run/redis/socket"),
        ]:
            store = RedisTicketStore.fromURL(url)
            self.assertEqual(repr(store), f"<RedisTicketStore {where}>")

    def test_refused(self):
        """
        What is no such URL is refused, and not repeated.
        """
        for url in [
            "",
            "hidden",
            "http://hidden",
            "redis:hidden",
            "redis://hidden@host",
            "redis://host/hidden",
            "redis://host/-1",
            "redis://host/1?hidden=1",
            "redis://host/1#hidden",
            "redis://:hid/den@host",
            "redis://host:hidden",
            "redis://[hidden",
            "redis://:hidden\u2100@host",
            "unix:",
            "unix://hidden/path",
            "unix:/path?hidden=1",
            "unix:/path?db=hidden",
            "unix:/path?db=1&db=2",
        ]:
            error = self.assertRaises(ValueError, RedisTicketStore.fromURL, url)
            self.assertIn("redis://", str(error), url)
            self.assertNotIn("hid", str(error))
            self.assertIsNone(error.__context__)


class ImportTests(SynchronousTestCase):
    """
    Without what the extra installs.
    """

    def test_missing(self):
        """
        Who imports the module without C{txredisapi} reads what to install.
        """
        script = (
            "import sys\n"
            "sys.modules['txredisapi'] = None\n"
            "sys.path[:] = sys.argv[1:]\n"
            "import amp_stream.outofband.redisstore\n"
        )
        result = subprocess.run(
            [sys.executable, "-c", script, *sys.path], capture_output=True, text=True
        )
        self.assertEqual(result.returncode, 1)
        self.assertIn("ImportError: tickets in Redis need", result.stderr)
        self.assertIn('pip install "amp-stream[redis]"', result.stderr)


class StoreTestCase(RedisTestCase):
    """
    Tests with stores.

    @ivar redis: A connection of the tests to the same server.
    """

    async def setUp(self):
        await super().setUp()
        self.redis = await self.connect()

    async def connect(self, **options):
        """
        Make a connection to the server without a store.
        """
        connection = await txredisapi.UnixConnection(
            self.server.path, reconnect=False, **options
        )
        self.addCleanup(connection.disconnect)
        return connection

    def store(self, **options):
        """
        Make a store.
        """
        options.setdefault("path", self.server.path)
        store = RedisTicketStore(**options)
        self.addCleanup(store.close)
        return store

    def watchLog(self):
        """
        @return: A list that gets everything that is logged.
        """
        lines = []

        def note(event):
            lines.append(f"{formatEvent(event)} {event!r}")

        globalLogPublisher.addObserver(note)
        self.addCleanup(globalLogPublisher.removeObserver, note)
        return lines

    def assertHidden(self, *texts):
        """
        Nothing of a ticket is in any of these.
        """
        for text in texts:
            for hidden in (
                HASHED.hex(),
                repr(HASHED),
                OTHER.hex(),
                repr(OTHER),
                "a token",
                GRANT.connection,
                OWNER.url,
            ):
                self.assertNotIn(hidden, text)

    async def fails(self, deferred, kind=OutOfBandError):
        """
        @return: The text of the error.
        """
        error = await self.assertFailure(deferred, kind)
        self.assertIs(type(error), kind)
        self.assertIsNone(error.__context__)
        self.assertHidden(str(error), repr(error))
        return str(error)


class StoreTests(StoreTestCase):
    """
    L{RedisTicketStore}.
    """

    async def test_once(self):
        """
        A ticket can be used once.
        """
        store = self.store()
        self.assertIsNone(await store.issue(HASHED, GRANT, 60))
        self.assertEqual(await store.consume(HASHED), GRANT)
        self.assertIsNone(await store.consume(HASHED))
        self.assertEqual(await self.redis.keys(), [])

    async def test_unknown(self):
        """
        A ticket that was never issued is not there.
        """
        store = self.store()
        await store.issue(OTHER, GRANT, 60)
        self.assertIsNone(await store.consume(HASHED))
        self.assertEqual(await store.consume(OTHER), GRANT)

    async def test_revoke(self):
        """
        A ticket that was revoked is not there; to revoke one that is not there does
        nothing.
        """
        store = self.store()
        await store.issue(HASHED, GRANT, 60)
        await store.issue(OTHER, GRANT, 60)
        self.assertIsNone(await store.revoke(HASHED))
        self.assertIsNone(await store.revoke(HASHED))
        self.assertIsNone(await store.consume(HASHED))
        self.assertEqual(await store.consume(OTHER), GRANT)

    async def test_least(self):
        """
        A ticket without sizes, of an owner with nothing but a name, comes back.
        """
        store = self.store()
        grant = Grant(method=b"GET", connection="", stream=0, owner=Owner("x"))
        await store.issue(HASHED, grant, 60)
        self.assertEqual(await store.consume(HASHED), grant)

    async def test_large(self):
        """
        A record that does not come in one piece comes back, and so do those around it.
        """
        store = self.store()
        large = evolve(GRANT, owner=evolve(OWNER, certificate=bytes(2**20)))
        expected = {hashToken(b"%d" % number): GRANT for number in range(50)}
        expected.update(dict.fromkeys(list(expected)[::7], large))
        await gatherResults([store.issue(*each, 60) for each in expected.items()])
        found = await gatherResults([store.consume(hashed) for hashed in expected])
        self.assertEqual(found, list(expected.values()))

    async def test_expiry(self):
        """
        Redis drops a ticket by itself when its time is up, to the millisecond.
        """
        store = self.store()
        key = DEFAULT_PREFIX + HASHED.hex()
        before = await self.redis.execute_command("TIME")
        await store.issue(HASHED, GRANT, 60.1239)
        left = await self.redis.execute_command("PTTL", key)
        after = await self.redis.execute_command("TIME")
        # By the clock of Redis, in microseconds.
        start, end = (int(time[0]) * 10**6 + int(time[1]) for time in (before, after))
        passed = (end - start) // 1000 + 2
        self.assertTrue(60_123 - passed <= left <= 60_123, (left, passed))
        await self.redis.execute_command("PEXPIRE", key, 0)
        self.assertIsNone(await store.consume(HASHED))

    async def test_noTime(self):
        """
        A ticket without any time is not kept.
        """
        store = self.store()
        await store.issue(HASHED, GRANT, 0)
        await store.issue(HASHED, GRANT, -1)
        self.assertEqual(await self.redis.keys(), [])

    async def test_neverOverwrites(self):
        """
        A second ticket for the same token is refused, and the first one stays.
        """
        store = self.store()
        await store.issue(HASHED, GRANT, 60)
        text = await self.fails(store.issue(HASHED, evolve(GRANT, stream=8), 60))
        self.assertIn("already", text)
        self.assertEqual(await store.consume(HASHED), GRANT)

    async def test_shared(self):
        """
        A ticket that one store has issued is there for another, unless they have
        different prefixes or databases.
        """
        first, second = self.store(), self.store()
        apart = [self.store(prefix="apart:"), self.store(dbid=1)]
        await first.issue(HASHED, GRANT, 60)
        for store in apart:
            self.assertIsNone(await store.consume(HASHED))
            await store.revoke(HASHED)
        self.assertEqual(await second.consume(HASHED), GRANT)
        self.assertIsNone(await first.consume(HASHED))

    async def test_concurrent(self):
        """
        However many ask for one ticket at once, through several stores, one gets it.
        """
        stores = [self.store() for number in range(5)]
        for attempt in range(10):
            hashed = hashToken(secrets.token_bytes(32))
            await stores[attempt % 5].issue(hashed, GRANT, 60)
            found = await gatherResults(
                [stores[number % 5].consume(hashed) for number in range(100)]
            )
            self.assertEqual([grant for grant in found if grant is not None], [GRANT])

    async def test_malformed(self):
        """
        A record that no store has made is no ticket, is logged, and is gone.
        """
        store = self.store()
        lines = self.watchLog()
        right = json.loads(toRecord(HASHED, GRANT))
        wrong = [
            b"",
            b"1234",
            b"\xff\xfe",
            toRecord(HASHED, GRANT)[:-1],
            toRecord(OTHER, GRANT),
            json.dumps({**right, "method": "DELETE"}),
        ]
        for record in wrong:
            await self.redis.set(DEFAULT_PREFIX + HASHED.hex(), record)
            lines.clear()
            self.assertIsNone(await store.consume(HASHED))
            self.assertIn("malformed", "".join(lines))
            self.assertHidden(*lines)
            self.assertNotIn("DELETE", "".join(lines))
            self.assertEqual(await self.redis.keys(), [])

    async def test_wrongType(self):
        """
        A key that is no string in Redis is no ticket, too.
        """
        store = self.store()
        lines = self.watchLog()
        await self.redis.execute_command("RPUSH", DEFAULT_PREFIX + HASHED.hex(), "a")
        self.assertIsNone(await store.consume(HASHED))
        self.assertIn("malformed", "".join(lines))
        self.assertHidden(*lines)

    async def test_lent(self):
        """
        A store uses a connection or a pool of the caller, which may decode, and leaves
        it open.
        """
        pool = txredisapi.lazyUnixConnectionPool(self.server.path, poolsize=3)
        self.addCleanup(pool.disconnect)
        raw = await self.connect(charset=None, convertNumbers=False)
        for connection in (self.redis, pool, raw):
            store = RedisTicketStore(connection=connection)
            self.assertEqual(
                repr(store), "<RedisTicketStore a connection of the caller>"
            )
            await store.issue(HASHED, GRANT, 60)
            found = await gatherResults([store.consume(HASHED) for number in range(5)])
            self.assertEqual([grant for grant in found if grant is not None], [GRANT])
            await self.redis.set(DEFAULT_PREFIX + HASHED.hex(), "1234")
            self.assertIsNone(await store.consume(HASHED))
            await store.close()
            self.assertIn(await connection.ping(), ("PONG", b"PONG"))

    async def test_closed(self):
        """
        When a store has been closed, what it was asked for before is done, and its
        connection is gone.  It can be used again.
        """
        store = self.store()
        await store.close()
        await store.issue(HASHED, GRANT, 60)
        revoking = store.revoke(HASHED)
        await store.close()
        self.assertIsNone(self.successResultOf(revoking))
        clients = await self.redis.execute_command("CLIENT", "LIST")
        self.assertEqual(len(clients.splitlines()), 1)
        await store.issue(HASHED, GRANT, 60)
        self.assertEqual(await store.consume(HASHED), GRANT)

    async def test_closedWhileConnecting(self):
        """
        Who waits for a connection when the store is closed is told so.
        """
        store = self.store()
        waiting = [store.consume(HASHED), store.revoke(HASHED)]
        closing = store.close()
        for each in waiting:
            self.assertIn("closed", await self.fails(each))
        await closing

    async def test_cancelled(self):
        """
        An operation that is cancelled takes no other with it, whether it waits for the
        connection or for the answer.
        """
        store = self.store()
        for step in ("connecting", "connected"):
            issuing = [
                store.issue(hashToken(b"%d" % number), GRANT, 60) for number in range(5)
            ]
            issuing[2].cancel()
            self.failureResultOf(issuing.pop(2), CancelledError)
            await gatherResults(issuing)
            found = await gatherResults(
                [store.consume(hashToken(b"%d" % number)) for number in (0, 1, 3, 4)]
            )
            self.assertEqual(found, [GRANT] * 4, step)
            await store.revoke(hashToken(b"2"))

    async def test_hidden(self):
        """
        Nothing of a ticket is logged, nor shown by a store.
        """
        lines = self.watchLog()
        store = self.store()
        await store.issue(HASHED, GRANT, 60)
        await store.consume(HASHED)
        await store.consume(HASHED)
        await store.revoke(HASHED)
        await self.server.stop()
        await self.fails(store.issue(HASHED, GRANT, 60))
        await self.fails(store.consume(HASHED))
        await store.close()
        self.assertHidden(repr(store), str(store), *lines)


class TCPTests(StoreTestCase):
    """
    L{RedisTicketStore} over TCP.
    """

    async def setUp(self):
        self.server = RedisServer(tcp=True)
        self.addCleanup(self.server.remove)
        await self.server.start()

    async def test_tcp(self):
        """
        A store reaches Redis by host and port, with and without a URL.
        """
        port = self.server.port
        first = self.store(path=None, port=port)
        second = RedisTicketStore.fromURL(f"redis://localhost:{port}")
        third = RedisTicketStore.fromURL(f"redis://127.0.0.1:{port}/1")
        fourth = RedisTicketStore.fromURL(f"unix:{self.server.path}?db=1")
        for store in (second, third, fourth):
            self.addCleanup(store.close)
        await first.issue(HASHED, GRANT, 60)
        await fourth.issue(OTHER, GRANT, 60)
        self.assertEqual(await second.consume(HASHED), GRANT)
        self.assertEqual(await third.consume(OTHER), GRANT)

    async def test_gone(self):
        """
        Nobody at that port: the error says so.
        """
        store = self.store(path=None, port=self.server.port)
        await store.issue(HASHED, GRANT, 60)
        await self.server.stop()
        text = await self.fails(store.consume(HASHED))
        self.assertIn("the ticket store cannot be reached: ", text)
        text = await self.fails(store.consume(HASHED))
        self.assertIn("the ticket store cannot be reached: ", text)
        self.assertIn("refused", text)


class OldServerTests(StoreTests):
    """
    L{RedisTicketStore} with a Redis server that has no C{GETDEL}, as before 6.2.
    """

    options = ("--rename-command", "GETDEL", "")

    async def test_remembered(self):
        """
        A store asks for C{GETDEL} once.
        """
        store = self.store()
        for attempt in range(3):
            await store.issue(HASHED, GRANT, 60)
            self.assertEqual(await store.consume(HASHED), GRANT, attempt)
        statistics = await self.redis.execute_command("INFO", "errorstats")
        self.assertEqual(
            statistics.split(), ["#", "Errorstats", "errorstat_ERR:count=1"]
        )


class BareServerTests(StoreTestCase):
    """
    L{RedisTicketStore} with a Redis server that has no scripts either.
    """

    options = ("--rename-command", "GETDEL", "", "--rename-command", "EVAL", "")

    async def test_neither(self):
        """
        The error says what is missing.
        """
        store = self.store()
        await store.issue(HASHED, GRANT, 60)
        text = await self.fails(store.consume(HASHED))
        self.assertEqual(
            text,
            "the ticket store cannot be used: Redis answers EVAL with unknown command",
        )


class FullServerTests(StoreTestCase):
    """
    L{RedisTicketStore} with a Redis server that has no memory left.
    """

    async def test_full(self):
        """
        One ticket too many is refused, and those that are there can be used.
        """
        store = self.store()
        await store.issue(HASHED, GRANT, 60)
        await self.redis.execute_command("CONFIG", "SET", "maxmemory", "1")
        await self.fails(store.issue(OTHER, GRANT, 60), TooManyTickets)
        self.assertEqual(await store.consume(HASHED), GRANT)


class PasswordTests(StoreTestCase):
    """
    L{RedisTicketStore} with a Redis server that wants a password.
    """

    options = ("--requirepass", "hidden")

    async def connect(self, **options):
        return await super().connect(password="hidden", **options)

    async def test_right(self):
        """
        With the password, all is well: after the server was restarted, too.
        """
        store = self.store(password="hidden", dbid=3)
        for attempt in range(2):
            await store.issue(HASHED, GRANT, 60)
            self.assertEqual(await store.consume(HASHED), GRANT, attempt)
            await self.server.stop()
            await self.server.start()

    async def test_user(self):
        """
        A user of Redis needs no more rights than to these commands and keys.
        """
        await self.redis.execute_command(
            "ACL", "SETUSER", "tickets", "on", ">other", f"~{DEFAULT_PREFIX}*",
            "-@all", "+set", "+getdel", "+del",
        )  # fmt: skip
        store = RedisTicketStore.fromURL(f"unix://tickets:other@{self.server.path}")
        self.addCleanup(store.close)
        await store.issue(HASHED, GRANT, 60)
        self.assertEqual(await store.consume(HASHED), GRANT)
        await store.revoke(HASHED)

    async def test_wrong(self):
        """
        With none or another, each operation fails, with what Redis says about it; the
        passwords are not shown.
        """
        lines = self.watchLog()
        for password, expected in [
            (None, "Redis answers SET with NOAUTH"),
            ("secret", "Redis answers AUTH with WRONGPASS"),
        ]:
            store = self.store(password=password)
            for attempt in range(2):
                text = await self.fails(store.issue(HASHED, GRANT, 60))
                self.assertEqual(
                    text, f"the ticket store cannot be used: {expected}", attempt
                )
            self.assertNotIn("secret", repr(store))
        self.assertHidden(*lines)
        self.assertNotIn("secret", "".join(lines))

    async def test_dies(self):
        """
        A server that goes away before it has answered the login is asked again by the
        next operation.
        """
        await self.server.stop()
        os.remove(self.server.path)
        accepted = []

        class Dying(Protocol):
            def dataReceived(self, data):
                accepted.append(data)
                self.transport.loseConnection()

        endpoint = UNIXServerEndpoint(reactor, self.server.path)
        port = await endpoint.listen(Factory.forProtocol(Dying))
        store = self.store(password="hidden")
        text = await self.fails(store.consume(HASHED))
        self.assertEqual(text, "the ticket store cannot be reached: Lost connection")
        self.assertEqual(accepted, [b"*2\r\n$4\r\nAUTH\r\n$6\r\nhidden\r\n"])
        await port.stopListening()
        await self.server.start()
        self.assertIsNone(await store.consume(HASHED))


class AbsenceTests(StoreTestCase):
    """
    L{RedisTicketStore} while Redis is away.
    """

    async def test_gone(self):
        """
        Each operation fails at once, and says that Redis cannot be reached.
        """
        never = self.store(path=self.server.path + "-elsewhere")
        was = self.store()
        await was.issue(HASHED, GRANT, 60)
        await self.server.stop()
        for store in (never, was):
            for attempt in range(2):
                for deferred in (
                    store.issue(HASHED, GRANT, 60),
                    store.consume(HASHED),
                    store.revoke(HASHED),
                ):
                    text = await self.fails(deferred)
                    self.assertIn("the ticket store cannot be reached: ", text, attempt)
            await store.close()

    async def test_lentGone(self):
        """
        So it does with a connection of the caller.
        """
        store = RedisTicketStore(connection=self.redis)
        await self.server.stop()
        text = await self.fails(store.consume(HASHED))
        self.assertIn("the ticket store cannot be reached: ", text)

    async def test_lostUnderWay(self):
        """
        An operation that has no answer yet when Redis dies fails.
        """
        store = self.store()
        await store.revoke(HASHED)
        self.server.signal("STOP")
        consuming = store.consume(HASHED)
        await self.server.stop()
        text = await self.fails(consuming)
        self.assertEqual(text, "the ticket store cannot be reached: Lost connection")

    async def test_restarted(self):
        """
        A store that has seen Redis die uses the one that was started in its place.
        """
        store = self.store()
        await store.issue(HASHED, GRANT, 60)
        for attempt in range(3):
            await self.server.stop()
            if attempt:
                await self.fails(store.consume(HASHED))
            await self.server.start()
            self.assertIsNone(await store.consume(HASHED))
            await store.issue(HASHED, GRANT, 60)
            self.assertEqual(await store.consume(HASHED), GRANT)

    async def test_hangs(self):
        """
        When Redis does not answer in time, what waits for it fails; when it answers
        again, a store works again.
        """
        clocked = ClockedReactor()
        store = self.store(reactor=clocked, timeout=5)
        await store.issue(HASHED, GRANT, 60)
        self.server.signal("STOP")
        waiting = [store.consume(OTHER), store.revoke(OTHER)]
        clocked.clock.advance(4.9)
        for each in waiting:
            self.assertNoResult(each)
        clocked.clock.advance(0.1)
        for each in waiting:
            self.assertEqual(
                await self.fails(each),
                "the ticket store cannot be reached: no answer within 5 seconds",
            )
        self.server.signal("CONT")
        self.assertEqual(await store.consume(HASHED), GRANT)
        self.assertEqual(clocked.getDelayedCalls(), [])

    async def test_hangsAtLogin(self):
        """
        The time to connect has a bound, with the login.
        """
        clocked = ClockedReactor()
        store = self.store(reactor=clocked, timeout=5, dbid=1)
        self.server.signal("STOP")
        waiting = [store.consume(HASHED), store.revoke(HASHED)]
        clocked.clock.advance(5)
        for each in waiting:
            self.assertIn("no answer within 5 seconds", await self.fails(each))
        self.server.signal("CONT")
        self.assertIsNone(await store.consume(HASHED))

    async def test_hangsWhenClosed(self):
        """
        So has the time to disconnect.
        """
        clocked = ClockedReactor()
        store = self.store(reactor=clocked, timeout=5)
        await store.revoke(HASHED)
        self.server.signal("STOP")
        closing = store.close()
        clocked.clock.advance(5)
        self.assertIsNone(await closing)
        self.assertEqual(clocked.getDelayedCalls(), [])

    async def test_closedAtLogin(self):
        """
        A store that is closed while it logs in leaves no connection behind.
        """
        await self.server.stop()
        os.remove(self.server.path)
        store = self.store(dbid=1)
        closing = []

        class Silent(Protocol):
            lost = Deferred()

            def dataReceived(self, data):
                closing.append(store.close())

            def connectionLost(self, reason):
                self.lost.callback(None)

        endpoint = UNIXServerEndpoint(reactor, self.server.path)
        port = await endpoint.listen(Factory.forProtocol(Silent))
        self.addCleanup(port.stopListening)
        self.assertIn("closed", await self.fails(store.consume(HASHED)))
        await Silent.lost
        await gatherResults(closing)

    async def test_lentHangs(self):
        """
        A connection of the caller that does not answer in time is given up for that
        operation.
        """
        clocked = ClockedReactor()
        store = RedisTicketStore(connection=self.redis, reactor=clocked, timeout=5)
        self.server.signal("STOP")
        consuming = store.consume(HASHED)
        clocked.clock.advance(5)
        self.assertIn("no answer within 5 seconds", await self.fails(consuming))
        self.server.signal("CONT")
        self.assertIsNone(await store.consume(HASHED))

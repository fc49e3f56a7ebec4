# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Over the loopback interface: how many bytes and calls a second, and how long small calls
take beside as many bytes as this machine can move.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.catalogue import PEERS
from benchmarks.findings import Column, Findings, Table, Target
from benchmarks.job import Job
from benchmarks.lab import Relayed
from benchmarks.running import Case, Outcome, Series, Setting, cases, percentile, rounds

__all__ = [
    "before",
    "beside",
    "bigString",
    "bothWays",
    "calls",
    "chunks",
    "longWay",
    "outOfBand",
    "smallValues",
    "throughput",
    "tls",
]

TCP = (
    *("raw", "raw-256k", "stream", "trial", "amp-1", "amp-4", "amp-16", "amp-push"),
    *("naive-1m", "naive-4m", "pb-file", "pb-string", "foolscap", "grpc"),
    *("http-put", "http-get", "treq-put", "treq-get", "static"),
)
TLS = (
    *("raw-tls", "stream-tls"),
    *("https-put", "https-get", "treq-tls-put", "treq-tls-get"),
)
_IN_FLIGHT = 16
_KINDS = {"TCP": False, "UNIX": True}
_WARM = 200
QUICK_TCP = ("raw", "stream", "trial", "amp-push", "naive-1m", "foolscap", "http-put")
QUICK_TLS = ("raw-tls", "stream-tls", "treq-tls-put")
OUT_OF_BAND = ("static", "oob", "raw-tls", "oob-tls")


def bulk(peer: str, size: int, **more: Any) -> Case:
    """One transfer, in the direction that the peer has, of as much as it needs."""
    entry = PEERS[peer]
    down = int(entry.downloads)
    return Case(Job(peer, up=1 - down, down=down, size=int(size * entry.share), **more))


def throughputTable(
    title: str, series: Series, what: Mapping[str, Case], base: str, ours: str
) -> Table:
    """Rates, ratios and memory."""
    rows = []
    for name, case in what.items():
        rate = series.median(name, lambda outcome: outcome.rate)
        ends = ("client", "server")
        if case.job.down:
            ends = ("server", "client")
        rows.append(
            {
                "peer": case.label,
                "rate": rate if rate is not None else series.failure(name),
                "ratio": series.ratio(name, base, lambda outcome: outcome.rate),
                "ours": series.ratio(ours, name, lambda outcome: outcome.rate),
                "sender": series.median(name, lambda o, end=ends[0]: o.growth[end]),
                "receiver": series.median(name, lambda o, end=ends[1]: o.growth[end]),
            }
        )
    return Table(
        title,
        [
            Column("peer", "peer"),
            Column("rate", "MB/s", "rate"),
            Column("ratio", f"against {PEERS[base].label}", "ratio"),
            Column("ours", f"{PEERS[ours].label} against it", "ratio"),
            Column("sender", "sender's memory, MiB more", "mib"),
            Column("receiver", "receiver's", "mib"),
        ],
        rows,
    )


def _leftOut(setting: Setting, every: Sequence[str], quick: Sequence[str]) -> list[str]:
    names = ", ".join(PEERS[name].label for name in every if name not in quick)
    return [f"Left out, because this is quick: {names}."] if setting.quick else []


def throughput(setting: Setting) -> Findings:
    """How fast is a stream on one machine?"""
    size = setting.pick(2**30, 2**25)
    what = cases(setting.pick(TCP, QUICK_TCP), setting, lambda peer: bulk(peer, size))
    series = rounds(setting, what)
    table = throughputTable("Throughput over TCP", series, what, "raw", "stream")
    note = (
        f"{size / 2**20:.0f} MiB, or a quarter or half of that for the slow. Stream "
        "and gRPC set TCP_NODELAY by themselves, so they have one row."
    )
    table.notes = [note, *_leftOut(setting, TCP, QUICK_TCP)]

    def against(name: str) -> float | None:
        return series.ratio("stream", name, lambda outcome: outcome.rate)

    return Findings(
        [table],
        [
            Target(
                "Stream, loopback, against raw Twisted TCP",
                "≥",
                0.9,
                against("raw"),
                key="raw",
            ),
            Target(
                "Stream against trial's stream", "≥", 4, against("trial"), key="trial"
            ),
        ],
    )


def tls(setting: Setting) -> Findings:
    """And with TLS?"""
    size = setting.pick(2**29, 2**25)
    what = cases(setting.pick(TLS, QUICK_TLS), setting, lambda peer: bulk(peer, size))
    series = rounds(setting, what)
    table = throughputTable(
        "Throughput over TLS", series, what, "raw-tls", "stream-tls"
    )
    table.notes = [f"{size / 2**20:.0f} MiB.", *_leftOut(setting, TLS, QUICK_TLS)]
    ratio = series.ratio("stream-tls", "raw-tls", lambda outcome: outcome.rate)
    return Findings(
        [table],
        [Target("Stream over TLS against raw Twisted TLS", "≥", 0.9, ratio, key="tls")],
    )


def outOfBand(setting: Setting) -> Findings:
    """And out of band?"""
    size = setting.pick(2**29, 2**25)
    what = {peer: bulk(peer, size) for peer in OUT_OF_BAND}
    series = rounds(setting, what)
    table = throughputTable("Out of band", series, what, "static", "oob")
    table.columns = [column for column in table.columns if column.key != "ours"]
    plain = series.ratio("oob", "static", lambda outcome: outcome.rate)
    secure = series.ratio("oob-tls", "raw-tls", lambda outcome: outcome.rate)
    return Findings(
        [table],
        [
            Target(
                "OutOfBand against twisted.web's static file",
                "≥",
                0.9,
                plain,
                key="out-of-band",
            ),
            Target(
                "OutOfBand with TLS against raw Twisted TLS",
                "≥",
                0.9,
                secure,
                key="out-of-band-tls",
            ),
        ],
    )


def bigString(setting: Setting) -> Findings:
    """What does a BigString save?"""
    size = setting.pick(2**28, 2**26)
    peers = ("naive-64m", "bigstring-64m")
    what = cases(peers, setting, lambda peer: bulk(peer, size))
    series = rounds(setting, what)
    title = "Values of 64 MiB, one after the other"
    table = throughputTable(title, series, what, "naive-64m", "bigstring-64m")
    ratio = series.ratio("bigstring-64m", "naive-64m", lambda outcome: outcome.rate)
    return Findings(
        [table],
        [Target("BigString of 64 MiB against naive", "≥", 3, ratio, key="bigstring")],
    )


def _rate(outcome: Outcome) -> float:
    return outcome.job.calls / outcome.seconds


def calls(setting: Setting) -> Findings:
    """How many small calls a second?"""
    number = setting.pick(5_000, 1_000)
    rows = []
    ratios = {}
    for inFlight in setting.pick((1, 50), (50,)):
        what = {
            peer: Case(Job(peer, calls=number, inFlight=inFlight))
            for peer in ("amp", "stream")
        }
        what["no-delay"] = Case(
            Job("amp", calls=number, inFlight=inFlight, noDelay=True)
        )
        series = rounds(setting, what)
        ratios[inFlight] = series.ratio("stream", "amp", _rate)
        rows.append(
            {
                "inFlight": str(inFlight),
                "amp": series.median("amp", _rate) or series.failure("amp"),
                "stream": series.median("stream", _rate) or series.failure("stream"),
                "noDelay": series.median("no-delay", _rate),
                "ratio": ratios[inFlight],
                "toNoDelay": series.ratio("stream", "no-delay", _rate),
            }
        )
    table = Table(
        "Calls a second",
        [
            Column("inFlight", "in flight"),
            Column("amp", "amp.AMP", "count"),
            Column("stream", "StreamAMP", "count"),
            Column("ratio", "StreamAMP against amp.AMP", "ratio"),
            Column("noDelay", "amp.AMP, no-delay", "count"),
            Column("toNoDelay", "StreamAMP against that", "ratio"),
        ],
        rows,
    )
    return Findings(
        [table],
        [
            Target(
                f"small calls, {inFlight} in flight, against amp.AMP",
                "≥",
                1.2,
                ratio,
                key=f"calls-{inFlight}",
            )
            for inFlight, ratio in ratios.items()
        ],
    )


def smallValues(setting: Setting) -> Findings:
    """How many calls with a value of up to 65,535 bytes a second?"""
    number = setting.pick(3_000, 300)
    streamed = setting.pick((100, 1_000, 10_000, 60_000), (1_000,))
    ordinary = (*streamed, 65_535)
    what = {
        f"{kind}, {size:,} bytes, {peer}": Case(
            Job(
                peer,
                unix=_KINDS[kind],
                calls=number,
                inFlight=_IN_FLIGHT,
                warm=size * _WARM,
                options={"value": size},
            )
        )
        for kind in _KINDS
        for size in ordinary
        for peer in ("values-stock", "values-string", "values-stream")
        if peer != "values-stream" or size in streamed
    }
    series = rounds(setting, what, times=setting.pick(7, 1))

    def table(title: str, peer: str, sizes: Sequence[int], bound: float) -> Table:
        rows = []
        for row in (f"{kind}, {size:,} bytes" for kind in _KINDS for size in sizes):
            ours, stock = f"{row}, {peer}", f"{row}, values-stock"
            rows.append(
                {
                    "value": row,
                    "stock": series.median(stock, _rate) or series.failure(stock),
                    "ours": series.median(ours, _rate) or series.failure(ours),
                    "ratio": series.ratio(ours, stock, _rate),
                }
            )
        columns = [
            Column("value", "value"),
            Column("stock", "amp.AMP, String: calls a second", "count"),
            Column("ours", f"{PEERS[peer].label}: calls a second", "count"),
            Column("ratio", "ratio", "ratio", "≥", bound),
        ]
        return Table(title, columns, rows)

    strings = table("Values in a String", "values-string", ordinary, 0.95)
    streams = table("Values in a Stream", "values-stream", streamed, 0.8)
    streams.notes = [
        f"{_IN_FLIGHT} calls in flight; the responder answers with the value's size."
    ]
    return Findings(
        [strings, streams],
        [
            *strings.targets("values-string", "calls with a String, against amp.AMP"),
            *streams.targets("values-stream", "calls with a Stream, against a String"),
        ],
    )


def chunks(setting: Setting) -> Findings:
    """Which chunk size is the fastest?"""
    full = (1024, 2048, 4096, 8192, 16384, 32768, 65535)
    lengths = setting.pick(full, (4096, 65535))
    what = {}
    for length in lengths:
        size = min(setting.pick(2**29, 2**25), length * 2**15)
        stream = Job("stream", size=size, options={"limits": {"chunk": length}})
        what[f"stream {length}"] = Case(stream)
        raw = replace(stream, peer="raw", options={"block": length})
        what[f"raw {length}"] = Case(raw)
    series = rounds(setting, what, times=setting.pick(3, 1))

    def rate(peer: str, length: int) -> float | None:
        return series.median(f"{peer} {length}", lambda outcome: outcome.rate)

    rows = [
        {
            "length": float(length),
            "stream": rate("stream", length),
            "raw": rate("raw", length),
        }
        for length in lengths
    ]
    table = Table(
        "Limits(chunk=…), and writes of that length to raw TCP",
        [
            Column("length", "bytes", "count"),
            Column("stream", "Stream, MB/s", "rate"),
            Column("raw", "raw, MB/s", "rate"),
        ],
        rows,
    )
    return Findings([table], data={"chunks": rows})


def longWay(setting: Setting) -> Findings:
    """Does a long way cost throughput?"""
    size = setting.pick(2**30, 2**24)
    place = Relayed(delay=0.05)
    large = ("raw", "stream", "stream-wide")
    peers = setting.pick((*large, "amp-16", "grpc"), large)
    what = {
        peer: replace(bulk(peer, size if peer in large else 2**26), place=place)
        for peer in peers
    }
    series = rounds(setting, what, timeout=300.0, times=setting.pick(3, 1))
    rows = [
        {
            "peer": case.label,
            "rate": series.median(name, lambda outcome: outcome.rate)
            or series.failure(name),
            "ratio": series.ratio(name, "raw", lambda outcome: outcome.rate),
        }
        for name, case in what.items()
    ]
    table = Table(
        "Through a relay that delays each byte by 50 ms, at unlimited rate",
        [
            Column("peer", "peer"),
            Column("rate", "MB/s", "rate"),
            Column("ratio", "against raw", "ratio"),
        ],
        rows,
        [f"{size / 2**20:.0f} MiB for raw and Stream, 64 MiB or less for the others."],
    )
    what = "against raw TCP at a round trip of 100 ms"
    return Findings(
        [table],
        [
            Target(
                f"{PEERS[name].label} {what}",
                "≥",
                0.9,
                series.ratio(name, "raw", lambda outcome: outcome.rate),
                key="long-way",
            )
            for name in large[1:]
        ],
    )


def before(setting: Setting) -> Findings:
    """Is it as fast as before?"""
    size = setting.pick(2**30, 2**26)
    number = setting.pick(5_000, 500)
    streams = {
        f"{way}, {kind}": Job(
            "stream", **{"up": 0, "down": 0, way: 1}, size=size, unix=_KINDS[kind]
        )
        for kind in _KINDS
        for way in ("up", "down")
    }
    streams |= {
        f"{way}, out of band, HTTPS": Job(
            "oob-tls", **{"up": 0, "down": 0, way: 1}, size=size // 2
        )
        for way in ("up", "down")
    }
    calls = {
        f"{inFlight} in flight, {kind}": Job(
            "stream", calls=number, inFlight=inFlight, unix=_KINDS[kind]
        )
        for kind in _KINDS
        for inFlight in (1, 50)
    }
    calls |= {
        f"{_IN_FLIGHT} in flight with a {name} of {value:,} bytes, {kind}": Job(
            peer,
            calls=number,
            inFlight=_IN_FLIGHT,
            unix=_KINDS[kind],
            warm=value * _WARM,
            options={"value": value},
        )
        for kind in _KINDS
        for name, peer, value in (
            ("String", "values-string", 1_000),
            ("Stream", "values-stream", 1_000),
            ("Stream", "values-stream", 60_000),
        )
    }
    moved = f"One stream of {size / 2**20:,.0f} MiB"
    tables = [
        _againstBefore(setting, moved, streams, "MB/s", "rate", lambda o: o.rate),
        _againstBefore(setting, "Calls", calls, "a second", "count", _rate),
    ]
    targets = [
        *tables[0].targets("before", "loopback, against before"),
        *tables[1].targets("before-calls", "calls, against before"),
    ]
    if not setting.before:
        for table in tables:
            table.columns = table.rows = []
    return Findings(tables, targets)


def _againstBefore(
    setting: Setting,
    title: str,
    jobs: Mapping[str, Job],
    unit: str,
    form: str,
    value: Callable[[Outcome], float],
) -> Table:
    what = {}
    if setting.before:
        for name, job in jobs.items():
            what[name] = Case(job)
            what[f"{name}, before"] = Case(replace(job, package=setting.before))
    series = rounds(setting, what, times=setting.pick(15, 1))
    note = "The median of the rounds, and of the ratios within them."
    if not setting.before:
        note = "not run: give --before DIRECTORY, with the version to compare with"
    return Table(
        f"{title}: this version against the one before, in the same round",
        [
            Column("what", "what"),
            Column("now", unit, form),
            Column("before", "before", form),
            Column("ratio", "ratio", "ratio", "≥", 0.98),
        ],
        [
            {
                "what": name,
                "now": series.median(name, value) or series.failure(name),
                "before": series.median(f"{name}, before", value),
                "ratio": series.ratio(name, f"{name}, before", value),
            }
            for name in jobs
        ],
        [note],
    )


_COLUMNS = [
    Column("idle50", "idle p50, ms", "ms"),
    Column("idle99", "p99", "ms"),
    Column("p50", "beside bulk p50, ms", "ms"),
    Column("p99", "p99", "ms"),
    Column("longest", "longest", "ms"),
]
_NOTE = (
    "A small call every 20 ms, from just before callRemote to its callback; one "
    "without an answer counts as long as was waited."
)


def _beside(setting: Setting, peer: str, **more: Any) -> Case:
    seconds, idle = setting.pick((8.0, 4.0), (1.2, 0.5))
    job = Job(peer, seconds=seconds, idle=idle, interval=0.02, warm=2**17, **more)
    return Case(job)


def _times(series: Series, name: str) -> dict[str, Any]:
    if series.failure(name):
        return {"p50": series.failure(name)}

    def quantile(percent: float, idle: bool = False) -> float | None:
        def value(outcome: Outcome) -> float:
            return percentile(outcome.idle() if idle else outcome.busy(), percent)

        return series.median(name, value)

    return {
        "idle50": quantile(50, idle=True),
        "idle99": quantile(99, idle=True),
        "p50": quantile(50),
        "p99": quantile(99),
        "longest": quantile(100),
        "rate": series.median(name, Outcome.arrived),
    }


def bothWays(setting: Setting) -> Findings:
    """Do small calls stay fast on one machine?"""
    peers = setting.pick(("stream", "trial", "amp-16"), ("stream",))
    what = {peer: _beside(setting, peer, up=4, down=4) for peer in peers}
    series = rounds(setting, what)
    rows = [{"peer": case.label, **_times(series, name)} for name, case in what.items()]
    table = Table(
        "Four streams each way, loopback",
        [Column("peer", "peer"), *_COLUMNS, Column("rate", "MB/s, both ways", "rate")],
        rows,
        [_NOTE],
    )
    idle, busy = rows[0].get("idle99"), rows[0].get("p99")
    value = busy / idle if idle else None
    what = "small call p99 on loopback with 4 streams both ways, against idle"
    return Findings([table], [Target(what, "≤", 5, value, key="both-ways")])


def beside(setting: Setting) -> Findings:
    """And beside an out-of-band transfer on one machine?"""
    what = {
        f"{peer} {way}": _beside(setting, peer, **{"up": 0, "down": 0, way: 1})
        for peer in setting.pick(("stream", "oob", "oob-tls"), ("oob",))
        for way in setting.pick(("up", "down"), ("up",))
    }
    series = rounds(setting, what, times=setting.pick(3, 1))
    rows = [
        {"peer": case.label, "way": name.split()[-1], **_times(series, name)}
        for name, case in what.items()
    ]
    table = Table(
        "One transfer as fast as it goes, on the machine of the calls",
        [
            Column("peer", "peer"),
            Column("way", "way"),
            *_COLUMNS,
            Column("rate", "MB/s", "rate"),
        ],
        rows,
        [_NOTE],
    )
    return Findings([table])

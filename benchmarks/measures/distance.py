# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Small calls and bulk on links with a distance, which change, are shared, or have a slow
source at their end; and on near links.

The bounds of the tables are those that the package reaches for: how much longer than
without bulk a small call may take, and which share of what raw TCP has on the same link
the bulk must keep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import product
from statistics import median
from typing import Any

from benchmarks.catalogue import PEERS
from benchmarks.findings import Column, Findings, Table
from benchmarks.job import Job
from benchmarks.lab import Distance, Near
from benchmarks.running import (
    Case,
    Change,
    Outcome,
    Series,
    Setting,
    carried,
    percentile,
    rounds,
)

__all__ = [
    "changes",
    "distance",
    "distanceOutOfBand",
    "jitter",
    "links",
    "near",
    "peersAtADistance",
    "sharing",
    "sources",
]

INTERVAL = 0.02
SMALL, LARGE = 100_000, 1_000_000
QUEUES = {SMALL: "100 kB", LARGE: "1 MB"}
CONTROLS = ("cubic", "reno", "bbr")
WAYS = ("up", "down")
PEERS_WITH_CALLS = (
    *("stream", "stream-unbounded", "oob", "trial", "amp-1", "amp-4", "amp-16"),
    *("amp-push", "naive-1m", "naive-4m", "pb-file", "pb-string", "foolscap", "grpc"),
)
_CALLS = (
    "A small call every 20 ms on the connection that moves the bulk, whether those "
    "before it were answered or not, from just before callRemote to its callback; one "
    "without an answer counts as long as was waited. Each run begins with a new "
    "connection."
)
_TIMES = (
    "p50 and p99 of all are of the calls since the first byte of bulk; p99 leaves out "
    "the first second."
)
_SHARES = (
    "Share: payload that arrived, against raw TCP on the same link in the same round, "
    "after the first second and since the first byte. Raw TCP counts for no more than "
    "the link can carry, 1,448 of each 1,500 bytes: what waits behind a lost packet "
    "arrives later, all at once."
)
_ONCE = (
    "As above, but raw TCP was run once: on a link that nothing else uses it has the "
    "same share each time."
)
_OUT_OF_BAND = (
    "The small calls are on the AMP connection. A transfer of one byte before all this "
    "has loaded the modules that HTTP needs; its connection is closed. Raw TCP moves "
    "without TLS; each record of TLS, 16 KiB, has 22 bytes more."
)
_CHANGED = (
    "Bulk comes down. Share: of 1,448 of 1,500 bytes at the new rate, which is all "
    "that TCP can have. The idle call after a change of the delay is the one before it "
    "and the difference."
)
_LEAST = (
    "Least share: over any 5 seconds from 3 s after the second one began, the median "
    "of the rounds, and the least of them. The calls are those of the first connection."
)
_GIGABIT = (
    "Namespaces joined by veth with `tc … tbf`, a queue of 50 ms and the system's "
    "congestion control: the router is too slow for this rate. Here the queue is on "
    "the sender's own host. Downloads differ much from run to run, those of the "
    "version before as well: the two ends and the token bucket share two cores."
)
_QUEUE = "Queue: the longest that the router's was, in time of the link."


def _times(
    p50: float | None = None, p99: float | None = None, every: float | None = None
) -> list[Column]:
    """Columns of times, with bounds above the idle call (seconds)."""

    def column(key: str, heading: str, bound: float | None) -> Column:
        if bound is None:
            return Column(key, heading, "ms")
        return Column(key, heading, "ms", "≤", bound, "idle")

    return [
        Column("idle", "idle p50, ms", "ms"),
        column("p50", "beside bulk p50, ms", p50),
        column("p99", "p99 after 1 s", p99),
        column("all99", "p99 of all", every),
        Column("longest", "longest", "ms"),
    ]


def _shares(share: float = 0.98, first: float = 0.95) -> list[Column]:
    return [
        Column("share", "share of raw TCP's", "share", "≥", share),
        Column("first", "since the first byte", "share", "≥", first),
    ]


_LINK = [Column("drops", "drops", "count"), Column("queue", "queue, ms", "ms")]


def _job(setting: Setting, peer: str, way: str, streams: int = 1, **more: Any) -> Job:
    calls = PEERS[peer].calls
    what: dict[str, Any] = {
        way: streams,
        "seconds": setting.pick(8.0, 1.0),
        "interval": INTERVAL if calls else 0.0,
        "idle": setting.pick(1.0, 0.2) if calls else 0.0,
        # So that no import is measured; the connection of that transfer is closed.
        "warm": int(peer.startswith("oob")),
        **more,
    }
    what = {"up": 0, "down": 0, **what}
    return Job(peer, **what)


def _figures(series: Series, name: str, raw: str) -> dict[str, Any]:
    """The columns of a row."""
    if series.failure(name):
        return {"idle": series.failure(name)}
    return {
        **_calls(series, name),
        "share": series.ratio(name, raw, _capped),
        "first": series.ratio(name, raw, Outcome.sinceFirst),
        "drops": series.median(name, lambda outcome: outcome.counted("drops")),
        "queue": series.median(
            name, lambda outcome: outcome.counted("greatest") * 8 / outcome.lineRate
        ),
        "mbps": series.median(name, Outcome.arrived),
    }


def _capped(outcome: Outcome) -> float:
    """
    Bytes per second after the first second; of raw TCP, no more than the link
    carries.
    """
    found = outcome.arrived()
    return min(found, outcome.most) if outcome.job.peer == "raw" else found


def _calls(series: Series, name: str) -> dict[str, Any]:
    if not all(outcome.idle() for outcome in series.all(name)):
        return {}

    def quantile(percent: float, later: bool = False) -> float | None:
        def value(outcome: Outcome) -> float:
            times = outcome.busy(outcome.settled) if later else outcome.busy()
            return percentile(times, percent)

        return series.median(name, value)

    return {
        "idle": series.median(name, lambda outcome: percentile(outcome.idle(), 50)),
        "p50": quantile(50),
        "p99": quantile(99, later=True),
        "all99": quantile(99),
        "longest": quantile(100),
    }


def _grid(
    setting: Setting,
    places: Iterable[Distance],
    peers: Iterable[str],
    counts: Iterable[int],
    ways: Iterable[str] = WAYS,
) -> dict[str, Case]:
    """Each peer with each number of streams, and raw TCP, on each link, each way."""
    found = {}
    counts = tuple(counts)
    for place, way in product(places, ways):
        for peer, streams in [*product(peers, counts), ("raw", 1)]:
            job = _job(setting, peer, way, streams)
            found[_name(place, way, peer, streams)] = Case(job, place)
    return found


def _name(place: Distance, way: str, peer: str, streams: int = 1) -> str:
    where = f"{_link(place)}, {place.congestion}, {QUEUES[place.queue]}"
    return f"{where}, {way}, {peer} {streams}"


def _link(place: Distance) -> str:
    text = f"{place.rate / 1e6:.0f} Mbit/s, {place.trip * 1e3:.0f} ms"
    return f"{text} ± {place.jitter * 1e3:.0f} ms" if place.jitter else text


def _rows(series: Series, what: Mapping[str, Case]) -> list[dict[str, Any]]:
    rows = []
    for name, case in what.items():
        job, place = case.job, case.place
        if job.peer == "raw" or not isinstance(place, Distance):
            continue
        way = "up" if job.up else "down"
        rows.append(
            {
                "link": _link(place),
                "control": place.congestion,
                "size": QUEUES[place.queue],
                "way": way,
                "streams": str(job.up + job.down),
                "peer": case.label,
                **_figures(series, name, _name(place, way, "raw")),
            }
        )
    return rows


_WHERE = [
    Column("control", "congestion control"),
    Column("size", "queue"),
    Column("way", "bulk"),
]


def _everyLink(setting: Setting, **more: Any) -> list[Distance]:
    controls = setting.pick(CONTROLS, ("cubic",))
    queues = setting.pick((SMALL, LARGE), (LARGE,))
    return [
        Distance(queue=queue, congestion=control, **more)
        for control, queue in product(controls, queues)
    ]


def distance(setting: Setting) -> Findings:
    """Does a small call stay fast while bulk fills a distant link?"""
    counts = setting.pick((1, 4, 64), (1,))
    ways = setting.pick(WAYS, ("down",))
    what = _grid(setting, _everyLink(setting), ["stream"], counts, ways)
    series = rounds(setting, what, times=setting.pick(3, 1))
    table = Table(
        "20 Mbit/s, there and back in 40 ms",
        [
            *_WHERE,
            Column("streams", "streams"),
            *_times(0.006, 0.010, 0.025),
            *_shares(),
            *_LINK,
        ],
        _rows(series, what),
        [_CALLS, _TIMES, _SHARES, _QUEUE],
    )
    return Findings([table], table.targets("distance", "20 Mbit/s, 40 ms"))


_ORDER = [
    "5 Mbit/s, 100 ms",
    "50 Mbit/s, 100 ms",
    "100 Mbit/s, 10 ms",
    "100 Mbit/s, 80 ms",
]


def links(setting: Setting) -> Findings:
    """And on links of other rates and distances?"""
    # Those that need much of this machine alternate with those that need little.
    others = ((100e6, 0.01), (5e6, 0.1), (100e6, 0.08), (50e6, 0.1))
    grids = []
    for rate, trip in setting.pick(others, others[1:2]):
        places = _everyLink(setting, rate=rate, trip=trip)
        grid = _grid(setting, places, ["stream"], (1,), setting.pick(WAYS, ("up",)))
        for place, way in product(places, setting.pick(WAYS, ())):
            if (place.congestion, place.queue) == ("cubic", LARGE):
                case = Case(_job(setting, "stream", way, 64), place)
                grid[_name(place, way, "stream", 64)] = case
        grids.append(grid)
    what = {
        name: replace(case, once=case.job.peer == "raw")
        for some in zip(*(grid.items() for grid in grids), strict=True)
        for name, case in some
    }
    series = rounds(setting, what, times=setting.pick(3, 1))
    rows = sorted(_rows(series, what), key=lambda row: _ORDER.index(row["link"]))
    table = Table(
        "Four links",
        [
            Column("link", "link"),
            *_WHERE,
            Column("streams", "streams"),
            *_times(0.010),
            *_shares(),
            *_LINK,
        ],
        rows,
        [_ONCE],
    )
    return Findings([table], table.targets("links", "other links"))


def distanceOutOfBand(setting: Setting) -> Findings:
    """And when the bulk goes out of band?"""
    ways = setting.pick(WAYS, ("up",))
    places = _everyLink(setting)
    what = _grid(setting, places, ["oob"], (1,), ways)
    for place, way in product(places, setting.pick(WAYS, ())):
        if place.congestion == "cubic":
            case = Case(_job(setting, "oob-tls", way), place)
            what[_name(place, way, "oob-tls")] = case
    series = rounds(setting, what, times=setting.pick(3, 1))
    table = Table(
        "20 Mbit/s, 40 ms: a transfer beside the connection of the calls",
        [
            Column("peer", "peer"),
            *_WHERE,
            *_times(0.006, 0.010, 0.025),
            *_shares(),
            *_LINK,
        ],
        _rows(series, what),
        [_OUT_OF_BAND],
    )
    return Findings([table], table.targets("oob", "out of band, 20 Mbit/s, 40 ms"))


def peersAtADistance(setting: Setting) -> Findings:
    """How long does a small call take beside bulk?"""
    place = Distance()
    peers = setting.pick(PEERS_WITH_CALLS, ("stream", "amp-push", "grpc"))
    what = {
        f"{_link(place)}: {peer}": Case(_job(setting, peer, "up"), place)
        for peer in (*peers, "raw")
    }
    if not setting.quick:
        for peer in ("amp-push", "amp-16"):
            job = _job(setting, peer, "up", noDelay=True)
            what[f"{_link(place)}: {peer}, no-delay"] = Case(job, place)
        what[f"{_link(place)}: http-put"] = Case(_job(setting, "http-put", "up"), place)
    raw = f"{_link(place)}: raw"
    series = rounds(setting, what, times=setting.pick(3, 1))
    rows = []
    data = {}
    for name, case in what.items():
        rows.append({"peer": case.label, **_figures(series, name, raw)})
        calls = [
            round(taken, 5)
            for outcome in series.all(name)
            for taken in outcome.busy(outcome.settled)
        ]
        if calls:
            data[case.label] = calls
    table = Table(
        "20 Mbit/s, there and back in 40 ms, a queue of 1 MB, cubic, an upload",
        [
            Column("peer", "peer"),
            *_times(),
            Column("share", "share of raw TCP's", "share"),
            Column("first", "since the first byte", "share"),
            *_LINK,
        ],
        rows,
        [
            _CALLS,
            _TIMES,
            _SHARES,
            _QUEUE,
            "Raw TCP and HTTP have no small calls on the connection of the bulk.",
        ],
    )
    return Findings([table], data={"calls": data})


_HALVES = "rate halves"
_CHANGES = {
    _HALVES: (20e6, 0.04, 10e6, 0.04),
    "rate doubles": (20e6, 0.04, 40e6, 0.04),
    "delay + 30 ms": (20e6, 0.04, 20e6, 0.07),
    "delay - 30 ms": (20e6, 0.07, 20e6, 0.04),
}


def changes(setting: Setting) -> Findings:
    """What happens when the link changes?"""
    at, lasts, patience = setting.pick((5.0, 12.0, 2.0), (0.6, 1.5, 0.4))
    others = ("amp-push", "stream-unbounded")
    what: dict[str, Case] = {}
    kinds = setting.pick(tuple(_CHANGES), (_HALVES,))
    for kind in kinds:
        rate, trip, newRate, newTrip = _CHANGES[kind]
        change = (Change(at, "rate", newRate), Change(at, "delay", newTrip / 2))
        for place in _everyLink(setting, rate=rate, trip=trip):
            job = _job(setting, "stream", "down", seconds=lasts)
            case = Case(job, place, changes=change)
            what[f"{kind}, {place.congestion}, {QUEUES[place.queue]}"] = case
    series = rounds(setting, what, times=setting.pick(3, 1))
    contrast: dict[str, Case] = {}
    for kind in kinds:
        ours = f"{kind}, cubic, {QUEUES[LARGE]}"
        for peer in setting.pick(others, ()):
            job = replace(what[ours].job, peer=peer)
            contrast[f"{ours}: {peer}"] = replace(what[ours], job=job)
    besides = rounds(setting, contrast, times=1)
    after = at + patience
    rows = [_changeRow(series, name, at, after, lasts) for name in what]
    table = Table(
        f"20 Mbit/s, 40 ms, or 70 ms for less delay; {at:.0f} s after bulk began …",
        [
            Column("change", "change"),
            Column("control", "congestion control"),
            Column("size", "queue"),
            Column("idle", "idle after it, ms", "ms"),
            Column("worst", "worst call within 2 s", "ms"),
            Column("p50", "p50 from then on", "ms"),
            Column("p99", "p99", "ms", "≤", 0.015, "idle"),
            Column("share", "share of the new rate", "share", "≥", 0.95),
            Column("rates", "MB/s in each second after it", "row"),
        ],
        rows,
        [_CHANGED],
    )
    data: dict[str, Any] = {}
    for kind in kinds:
        ours = f"{kind}, cubic, {QUEUES[LARGE]}"
        traces = {PEERS["stream"].label: _trace(series, ours)}
        for peer in others:
            traces[PEERS[peer].label] = _trace(besides, f"{ours}: {peer}")
        if any(traces.values()):
            data[kind] = {label: trace for label, trace in traces.items() if trace}
    return Findings(
        [table],
        table.targets("changes", "2 s after a change"),
        {"changes": {"at": at, "kinds": data} if data else {}},
    )


def _changeRow(
    series: Series, name: str, at: float, after: float, lasts: float
) -> dict[str, Any]:
    kind, control, size = name.split(", ")
    _, trip, newRate, newTrip = _CHANGES[kind]
    row = {"change": kind, "control": control, "size": size}
    if series.failure(name):
        return {**row, "idle": series.failure(name)}
    most = carried(newRate)

    def median(value: Callable[[Outcome], float]) -> Any:
        return series.median(name, value)

    rates = [
        median(lambda each, second=second: each.arrived(at + second, at + second + 1))
        for second in range(int(lasts - at))
    ]
    return {
        **row,
        "idle": median(lambda each: percentile(each.idle(), 50)) + newTrip - trip,
        "worst": median(lambda each: max(each.busy(at, after))),
        "p50": median(lambda each: percentile(each.busy(after), 50)),
        "p99": median(lambda each: percentile(each.busy(after), 99)),
        "share": median(lambda each: each.arrived(after) / most),
        "rates": " ".join(f"{rate / 1e6:.2f}" for rate in rates),
    }


def _trace(series: Series, name: str) -> dict[str, list[tuple[float, float]]]:
    """What a run was like over time, for the plot."""
    for outcome in series.all(name)[:1]:
        start, step = outcome.started, 0.1
        count = int((outcome.stopped - start) / step)
        return {
            "calls": [
                (round(when - start, 3), round(taken, 4))
                for when, taken in outcome.result["calls"]
                if when > start - 1
            ],
            "rate": [
                (
                    round((number + 0.5) * step, 2),
                    round(outcome.arrived(number * step, (number + 1.25) * step)),
                )
                for number in range(count)
            ],
        }
    return {}


def jitter(setting: Setting) -> Findings:
    """What if the delay varies?"""
    bounds = {0.003: 0.97, 0.010: 0.95}
    tables = []
    what: dict[str, Case] = {}
    ways = setting.pick(WAYS, ("down",))
    for spread in setting.pick(tuple(bounds), (0.010,)):
        for control in setting.pick(("cubic", "bbr"), ("cubic",)):
            places = [Distance(congestion=control, jitter=spread)]
            what |= _grid(setting, places, ["stream"], (1,), ways)
    series = rounds(setting, what, times=setting.pick(3, 1))
    targets = []
    for spread, bound in bounds.items():
        some = {
            name: case
            for name, case in what.items()
            if getattr(case.place, "jitter", None) == spread
        }
        if not some:
            continue
        share = Column("share", "share of raw TCP's", "share", "≥", bound)
        table = Table(
            f"Each packet takes up to {spread * 1e3:.0f} ms longer, each way, in order",
            [*_WHERE, *_times(), share, *_LINK],
            _rows(series, some),
            ["20 Mbit/s, 40 ms and what is added at random."],
        )
        tables.append(table)
        millis = f"{spread * 1e3:.0f} ms"
        targets += table.targets(f"jitter-{spread * 1e3:.0f}", f"jitter of {millis}")
    return Findings(tables, targets)


def sharing(setting: Setting) -> Findings:
    """Who gets how much of a link that is shared?"""
    # The fourth is how long after the second one began it has to be fair.
    lasts, later, window, settled = setting.pick(
        (15.0, 3.0, 5.0, 3.0), (1.2, 0.3, 0.4, 0.2)
    )
    what = {}
    for place in _everyLink(setting):
        first = _job(setting, "stream", "down", seconds=lasts)
        second = replace(first, seconds=lasts - later, idle=first.idle + later)
        name = f"{place.congestion}, {QUEUES[place.queue]}"
        what[name] = Case(first, place, beside=(second,))
    series = rounds(setting, what, times=setting.pick(4, 1))
    rows = []
    for name in what:
        control, size = name.split(", ")
        row = {"control": control, "size": size, "idle": series.failure(name) or None}
        if not series.failure(name):
            least = sorted(
                _leastShare(outcome, later + settled, window)
                for outcome in series.all(name)
            )
            row |= _calls(series, name)
            row["least"] = median(least)
            row["worst"] = least[0]
            row["sum"] = series.median(
                name, lambda each: _together(each, later + settled)
            )
        rows.append(row)
    ours = Table(
        "Two connections of ours on 20 Mbit/s, 40 ms; the second begins 3 s later",
        [
            *_WHERE[:2],
            Column("least", "least share of either", "share", "≥", 0.40),
            Column("worst", "of all rounds", "share"),
            Column("sum", "both, of the link", "share"),
            *_times(),
        ],
        rows,
        [_LEAST],
    )
    greedy = _greedy(setting)
    return Findings(
        [ours, greedy],
        [
            *ours.targets("sharing", "two connections of ours"),
            *greedy.targets("greedy", "beside a greedy flow"),
        ],
    )


def _leastShare(outcome: Outcome, begin: float, window: float) -> float:
    (other,) = outcome.others
    shift = outcome.started - other.started
    end = min(outcome.stopped, other.stopped) - outcome.started
    shares = []
    while begin + window <= end + 0.05:
        one = outcome.arrived(begin, begin + window)
        two = other.arrived(begin + shift, begin + window + shift)
        shares.append(min(one, two) / max(1.0, one + two))
        begin += 0.1
    return min(shares, default=0.0)


def _together(outcome: Outcome, begin: float) -> float:
    (other,) = outcome.others
    shift = outcome.started - other.started
    return (outcome.arrived(begin) + other.arrived(begin + shift)) / outcome.most


def _greedy(setting: Setting) -> Table:
    lasts, begins, stays = setting.pick((16.0, 4.0, 8.0), (1.4, 0.3, 0.6))
    settled = setting.pick(1.0, 0.1)
    what = {}
    peers = setting.pick(("stream", "stream-unbounded"), ("stream",))
    for place in _everyLink(setting):
        if place.congestion == "reno":
            continue
        for peer in peers:
            job = _job(setting, peer, "down", seconds=lasts)
            other = _job(setting, "raw", "down", seconds=stays, leaves=True)
            other = replace(other, idle=job.idle + begins)
            name = f"{place.congestion}, {QUEUES[place.queue]}, {peer}"
            once = peer != "stream"
            what[name] = Case(job, place, beside=(other,), once=once)
    series = rounds(setting, what, times=setting.pick(3, 1))
    during = begins + settled, begins + stays
    rows = []
    for name, case in what.items():
        control, size, _ = name.split(", ")
        row = {"peer": case.label, "control": control, "size": size}
        if series.failure(name):
            row["share"] = series.failure(name)
        else:
            row |= _besideGreedy(series, name, during, lasts)
        rows.append(row)
    return Table(
        "Beside a greedy flow of raw TCP that comes to a full link for 8 s",
        [
            Column("peer", "peer"),
            *_WHERE[:2],
            Column("share", "share of the link while it is there", "share", "≥", 0.05),
            Column("least", "in the worst second", "share"),
            Column("p50", "calls meanwhile p50, ms", "ms"),
            Column("p99", "p99", "ms"),
            Column("after", "share from 1 s after it left", "share"),
        ],
        rows,
        ["Both come down. A tenth of a fair share is 0.05."],
    )


def _besideGreedy(
    series: Series, name: str, during: tuple[float, float], lasts: float
) -> dict[str, Any]:
    begin, end = during
    settled = (lasts - end) / 4
    seconds = range(max(1, int(end - begin)))

    def median(value: Callable[[Outcome], float]) -> Any:
        return series.median(name, value)

    return {
        "share": median(lambda each: each.arrived(begin, end) / each.most),
        "least": median(
            lambda each: min(
                each.arrived(begin + second, begin + second + 1) / each.most
                for second in seconds
            )
        ),
        "p50": median(lambda each: percentile(each.busy(begin, end), 50)),
        "p99": median(lambda each: percentile(each.busy(begin, end), 99)),
        "after": median(lambda each: each.arrived(end + settled, lasts) / each.most),
    }


def sources(setting: Setting) -> Findings:
    """What do a slow source and one that pauses do?"""
    lasts, begin, end = setting.pick((8.0, 3.0, 5.5), (1.5, 0.4, 0.8))
    kinds = {
        "slow": {"rate": 1e6, "until": lasts},
        "pause": {"pause": [begin, end], "until": lasts},
    }
    what = {}
    ways = setting.pick(WAYS, ("down",))
    for place, way in product(_everyLink(setting), ways):
        if place.congestion != "reno":
            for kind, source in kinds.items():
                options = {"source": source}
                job = _job(setting, "stream", way, size=2**40, options=options)
                job = replace(job, seconds=lasts)
                name = f"{kind}, {place.congestion}, {QUEUES[place.queue]}, {way}"
                what[name] = Case(job, place)
    series = rounds(setting, what, times=setting.pick(3, 1))
    rows: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    for name in what:
        kind, control, size, way = name.split(", ")
        row = {"control": control, "size": size, "way": way}
        rows[kind].append(row)
        if series.failure(name):
            row["idle"] = series.failure(name)
            continue
        row |= _calls(series, name)
        row["restart"] = series.median(name, lambda each: max(each.busy(end)))
        row["mbps"] = series.median(name, Outcome.arrived)
        row["lost"] = series.median(name, _lost)
    bound = ("ms", "≤", 0.015, "idle")
    lost = Column("lost", "bytes lost", "count", "≤", 0.0)
    slow = Table(
        "A source of 1 MB/s on 20 Mbit/s, 40 ms",
        [
            *_WHERE,
            *_times()[:-1],
            Column("longest", "longest", *bound),
            Column("mbps", "MB/s", "rate"),
            lost,
        ],
        rows["slow"],
    )
    pause = Table(
        "A source that pauses from 3 s to 5.5 s",
        [*_WHERE, *_times(), Column("restart", "longest after it", *bound), lost],
        rows["pause"],
    )
    return Findings(
        [slow, pause],
        [
            *slow.targets("slow", "a slow source"),
            *pause.targets("pause", "a source that pauses"),
        ],
    )


def _lost(outcome: Outcome) -> float:
    sender, receiver = outcome.client, outcome.server
    if outcome.job.down:
        sender, receiver = receiver, sender
    return float(sender["meter"]["given"] - receiver["meter"]["total"])


def near(setting: Setting) -> Findings:
    """And on a near link?"""
    what: dict[str, Case] = {}
    sizes = {20e6: SMALL, 100e6: LARGE}
    ways = setting.pick(WAYS, ("up",))
    for rate in setting.pick(tuple(sizes), (20e6,)):
        for control in setting.pick(("cubic", "bbr"), ("cubic",)):
            if (rate, control) == (100e6, "bbr"):
                continue
            place = Distance(rate, 0.0003, sizes[rate], control)
            what |= _grid(setting, [place], ["stream"], (1,), ways)
    series = rounds(setting, what, times=setting.pick(3, 1))
    rows = _rows(series, what)
    columns = [Column("link", "link"), *_WHERE]
    slow, fast = (
        [row for row in rows if row["link"].startswith(f"{rate / 1e6:.0f} ")]
        for rate in sizes
    )
    bounded = [
        replace(column, sign="≤", bound=0.010)
        if column.key in ("p99", "all99")
        else column
        for column in _times()
    ]
    tables = [
        Table(
            "20 Mbit/s without a distance: 0.15 ms each way",
            [*columns, *bounded, *_shares(), *_LINK],
            slow,
        ),
        Table(
            "100 Mbit/s without a distance",
            [*columns, *_times(), *_shares(), *_LINK],
            fast,
        ),
    ]
    targets = tables[0].targets("near", "20 Mbit/s without a distance")
    tables = [table for table in tables if table.rows]
    tables.append(_gigabit(setting))
    return Findings(tables, targets)


def _gigabit(setting: Setting) -> Table:
    place = Near(1_000_000_000)
    what = {}
    for way in setting.pick(WAYS, ("up",)):
        for peer, streams in setting.pick(
            (("stream", 1), ("stream", 64), ("raw", 1)), (("stream", 1),)
        ):
            what[f"1 Gbit/s, {way}, {peer} {streams}"] = Case(
                _job(setting, peer, way, streams), place
            )
    # One at a time: each of them takes all of the processor that there is.
    alone = replace(setting, jobs=1)
    series = rounds(alone, what, times=setting.pick(3, 1))
    rows = []
    for name, case in what.items():
        _, way, who = name.split(", ")
        if case.job.peer != "raw":
            figures = _figures(series, name, f"1 Gbit/s, {way}, raw 1")
            rows.append({"way": way, "streams": who.split()[1], **figures})
    return Table(
        "1 Gbit/s: veth with a token bucket at each end",
        [
            Column("way", "bulk"),
            Column("streams", "streams"),
            *_times(),
            Column("share", "share of raw TCP's", "share"),
            Column("first", "since the first byte", "share"),
        ],
        rows,
        [_GIGABIT],
    )

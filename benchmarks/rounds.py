# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Runs in rounds: each of them once, then each of them again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from benchmarks.catalogue import PEERS
from benchmarks.job import Job
from benchmarks.running import Outcome, Place, RunFailed, run

__all__ = ["Case", "Series", "Setting", "cases", "percentile", "rounds"]

_QUICK_TIMEOUT = 30.0


@dataclass(frozen=True)
class Setting:
    """
    How thorough to be.

    @ivar fixed: How many rounds to make of everything, instead of what the measures
        say.
    """

    quick: bool = False
    fixed: int | None = None

    def pick(self, full: Any, quick: Any) -> Any:
        """
        Choose.
        """
        return quick if self.quick else full

    @property
    def rounds(self) -> int:
        """
        How often to run everything.
        """
        return self.fixed or self.pick(5, 1)

    def say(self, text: str) -> None:
        """
        Tell whoever waits.
        """
        print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Case:
    """
    One row: what to run, and where.
    """

    job: Job
    place: Place = field(default_factory=Place)
    watch: bool = False

    @property
    def label(self) -> str:
        """
        What the table calls it.
        """
        entry = PEERS[self.job.peer]
        return f"{entry.label}, no-delay" if self.job.noDelay else entry.label


class Series:
    """
    The outcomes of all rounds, by case.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._outcomes: dict[str, list[Outcome | None]] = {name: [] for name in names}
        self._failures: dict[str, str] = {}

    def add(self, name: str, outcome: Outcome | str) -> None:
        """
        Note an outcome, or why there is none.
        """
        if isinstance(outcome, str):
            self._failures.setdefault(name, outcome)
            self._outcomes[name].append(None)
        else:
            self._outcomes[name].append(outcome)

    def failure(self, name: str) -> str:
        """
        @return: Why a case has failed, or nothing.
        """
        return self._failures.get(name, "")

    def all(self, name: str) -> list[Outcome]:
        """
        @return: Those that there are.
        """
        return [outcome for outcome in self._outcomes.get(name, ()) if outcome]

    def median(self, name: str, value: Callable[[Outcome], float]) -> float | None:
        """
        Take the median of the rounds.
        """
        values = [value(outcome) for outcome in self.all(name)]
        return median(values) if values else None

    def ratio(
        self, name: str, base: str, value: Callable[[Outcome], float]
    ) -> float | None:
        """
        Compare two cases within each round, and take the median of that.
        """
        pairs = zip(
            self._outcomes.get(name, ()), self._outcomes.get(base, ()), strict=False
        )
        values = [value(one) / value(other) for one, other in pairs if one and other]
        return median(values) if values else None


def cases(
    peers: Iterable[str], setting: Setting, make: Callable[[str], Case]
) -> dict[str, Case]:
    """
    Make a case of each peer, and another one with TCP_NODELAY where that is not what
    the peer does by itself.
    """
    found = {}
    for peer in peers:
        found[peer] = case = make(peer)
        if not PEERS[peer].noDelay and not setting.quick:
            job = replace(case.job, noDelay=True)
            found[f"{peer}, no-delay"] = replace(case, job=job)
    return found


def rounds(
    setting: Setting,
    what: Mapping[str, Case],
    timeout: float = 150.0,
    times: int | None = None,
) -> Series:
    """
    Run all of them, some times.  One that has failed is not tried again.
    """
    series = Series(what)
    timeout = setting.pick(timeout, min(timeout, _QUICK_TIMEOUT))
    for number in range(setting.fixed or times or setting.rounds):
        for name, case in what.items():
            if series.failure(name):
                continue
            unavailable = PEERS[case.job.peer].unavailable()
            if unavailable:
                series.add(name, unavailable)
                continue
            setting.say(f"  round {number + 1}: {name}")
            try:
                outcome = run(case.job, case.place, timeout, case.watch)
            except RunFailed as error:
                setting.say(f"    failed: {error}")
                series.add(name, f"failed: {error}")
            else:
                series.add(name, outcome)
    return series


def percentile(values: list[float], percent: float) -> float:
    """
    @return: The smallest of the values that so many percent do not exceed.
    """
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * percent // 100) - 1)]

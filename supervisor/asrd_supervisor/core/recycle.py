"""Whether a healthy worker shall be replaced. A rule is a pure function from what is known of a worker to a verdict."""

import random
from collections.abc import Callable
from typing import Any

import msgspec

from asrd_supervisor.core.policy import RecyclePolicy


class Verdict(msgspec.Struct, frozen=True):
    """Why a worker shall go, with the numbers behind it."""

    reason: str
    numbers: dict[str, Any]


class Facts(msgspec.Struct, frozen=True):
    """What the rules know of a worker."""

    jobs_done: int
    limit: int
    """Its own share of ``max_jobs``; 0 never."""
    age: float
    requested: bool
    diagnosed: Verdict | None = None
    """What the daemon has found by itself."""


Rule = Callable[[Facts, RecyclePolicy], Verdict | None]


def by_request(facts: Facts, policy: RecyclePolicy) -> Verdict | None:
    """An operator asked."""
    return Verdict("requested", {"age_s": round(facts.age, 1)}) if facts.requested else None


def by_diagnosis(facts: Facts, policy: RecyclePolicy) -> Verdict | None:
    """It got slower, fatter, or talks nonsense."""
    return facts.diagnosed


def by_count(facts: Facts, policy: RecyclePolicy) -> Verdict | None:
    """It has done its share of jobs."""
    if not facts.limit or facts.jobs_done < facts.limit:
        return None
    return Verdict("max_jobs", {"jobs_done": facts.jobs_done, "limit": facts.limit})


def by_age(facts: Facts, policy: RecyclePolicy) -> Verdict | None:
    """It is old."""
    if not policy.max_age or facts.age < policy.max_age:
        return None
    return Verdict("max_age", {"age_s": round(facts.age, 1), "limit_s": policy.max_age})


RULES: tuple[Rule, ...] = (by_request, by_diagnosis, by_count, by_age)


def judge(facts: Facts, policy: RecyclePolicy) -> Verdict | None:
    """The verdict of the first rule that has one."""
    return next((verdict for rule in RULES if (verdict := rule(facts, policy))), None)


def limit_of(slot: int, generation: int, workers: int, most: int, rng: random.Random) -> int:
    """How many jobs this worker may do. Random jitter alone lets a pool that started together come due together, so
    the first generation gets even shares of the limit and keeps the pool spread."""
    if not most:
        return 0
    if generation == 1 and slot < workers:
        return -(-most * (slot + 1) // workers)
    return most - rng.randint(0, most // 10)

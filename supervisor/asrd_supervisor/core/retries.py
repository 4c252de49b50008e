"""When a step that failed is tried again: delays that grow in one of four ways, with a cap and jitter."""

import random

import msgspec

from asrd_protocol.messages import Retries
from asrd_supervisor.core.policy import Duration, RetryPolicy


def asked_for(policy: RetryPolicy, wanted: Retries | None) -> RetryPolicy:
    """The policy of the pool, with what the job asked for in its place."""
    if wanted is None:
        return policy
    given = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not None}
    for name in given.keys() & {"delay", "delay_max"}:
        given[name] = Duration(given[name])
    return msgspec.structs.replace(policy, **given)


def delay_before(attempt: int, policy: RetryPolicy, rng: random.Random) -> float:
    """Seconds to wait before an attempt, from the second on."""
    number = attempt - 1
    delay = min(policy.delay_max, policy.delay * _growth(number, policy))
    return delay * (1 + rng.uniform(0, policy.jitter))


def _growth(number: int, policy: RetryPolicy) -> float:
    match policy.backoff:
        case "fixed":
            return 1.0
        case "linear":
            return float(number)
        case "exponential":
            return 2.0 ** (number - 1)
        case "fibonacci":
            before, growth = 1, 1
            for _ in range(number - 1):
                before, growth = growth, before + growth
            return float(growth)

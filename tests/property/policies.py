"""Small daemons in which everything that can come due comes due soon."""

from hypothesis import strategies as st

from asrd_supervisor.core.policy import (
    CanaryPolicy,
    ClientQuota,
    Deadlines,
    DriftPolicy,
    Duration,
    GuardPolicy,
    IdleTime,
    PoolPolicy,
    PositiveDuration,
    QueuePolicy,
    RecyclePolicy,
    RestartPolicy,
    RetryPolicy,
    Size,
)
from asrd_supervisor.core.supervisor import Policy

DEADLINES = Deadlines(
    start=Duration(5),
    warm_up=Duration(10),
    busy_floor=Duration(8),
    busy_factor=3.0,
    stall=Duration(5),
    stop=Duration(4),
    kill=Duration(2),
    cancel=Duration(2),
)


OFTEN = CanaryPolicy(every_jobs=3, idle=PositiveDuration(5))


@st.composite
def pool_policies(draw: st.DrawFn, name: str, durable: bool) -> PoolPolicy:
    """One pool; that of the name ``s`` tells speakers apart."""
    max_jobs, max_age = draw(st.sampled_from([(0, 0), (1, 0), (2, 0), (4, 0), (0, 20), (3, 30), ("auto", 0), (0, 0)]))
    max_rss, kill_rss = draw(st.sampled_from([(0, 0), (0, 2000), (1000, 0), (1000, 2000)]))
    return PoolPolicy(
        name=name,
        workers=draw(st.sampled_from([1, 2, 2, 3])),
        start_first=draw(st.booleans()),
        idle_ttl=IdleTime(draw(st.sampled_from([-1, -1, -1, 0, 4, 15]))),
        recycle=RecyclePolicy(
            max_jobs=max_jobs,  # type: ignore[arg-type]
            max_age=Duration(max_age),
            max_rss=Size(max_rss),
            kill_rss=Size(kill_rss),
            guards=draw(guard_policies()),
        ),
        drift=draw(st.sampled_from([DriftPolicy(min_jobs=5), DriftPolicy(min_jobs=5), DriftPolicy(enabled=False)])),
        canary=draw(st.sampled_from([CanaryPolicy(enabled=False), OFTEN, OFTEN])),
        deadlines=DEADLINES,
        restarts=RestartPolicy(
            intensity=draw(st.integers(1, 3)), period=Duration(20), delay_max=Duration(3), revive=Duration(15)
        ),
        retries=draw(retry_policies()),
        durable=durable,
        diarizes=name == "s",
    )


@st.composite
def guard_policies(draw: st.DrawFn) -> GuardPolicy:
    """Brakes that a short life feels."""
    return GuardPolicy(
        cooldown=Duration(draw(st.sampled_from([0, 2, 15]))),
        window=PositiveDuration(draw(st.sampled_from([1, 10, 40]))),
        budget=draw(st.sampled_from([0, 1, 2])),
        min_jobs=draw(st.sampled_from([0, 0, 2])),
        min_age=Duration(draw(st.sampled_from([0, 0, 6]))),
    )


@st.composite
def retry_policies(draw: st.DrawFn) -> RetryPolicy:
    """Mostly without a delay: what follows at once is the harder to get right."""
    return RetryPolicy(
        attempts=draw(st.sampled_from([1, 2, 3, 5])),
        deaths=draw(st.sampled_from([1, 2, 3, 3])),
        backoff=draw(st.sampled_from(["fixed", "linear", "exponential", "fibonacci"])),
        delay=draw(st.sampled_from([Duration(0), Duration(0), Duration(0.5), Duration(2)])),
        delay_max=Duration(5),
        jitter=draw(st.sampled_from([0.0, 0.5])),
    )


@st.composite
def queue_policies(draw: st.DrawFn) -> QueuePolicy:
    """Little room, for all and for each."""
    return QueuePolicy(
        max_jobs=draw(st.sampled_from([1, 6, 12, 12])),
        max_bytes=Size(100),
        max_audio_s=draw(st.sampled_from([Duration(0), Duration(0), Duration(70)])),
        per_user=ClientQuota(
            max_jobs=draw(st.sampled_from([0, 0, 2])),
            max_bytes=draw(st.sampled_from([Size(0), Size(0), Size(45)])),
            max_audio_s=draw(st.sampled_from([Duration(0), Duration(0), Duration(40)])),
        ),
    )


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """A daemon with up to three pools and little room."""
    names, durable = draw(st.sampled_from([["a"], ["a", "s"], ["a", "b", "s"], ["s", "a"]])), draw(st.booleans())
    return Policy(
        pools=[draw(pool_policies(name, durable)) for name in names],
        default_pool="a",
        queue=draw(queue_policies()),
        drain_timeout=30.0,
        durable=durable,
    )

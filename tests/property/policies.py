"""Small daemons in which everything that can come due comes due soon."""

from hypothesis import strategies as st

from asrd_supervisor.core.policy import (
    Deadlines,
    Duration,
    PoolPolicy,
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
    stop=Duration(4),
    kill=Duration(2),
    cancel=Duration(2),
)


@st.composite
def pool_policies(draw: st.DrawFn, name: str) -> PoolPolicy:
    """One pool."""
    max_jobs, max_age = draw(st.sampled_from([(0, 0), (1, 0), (2, 0), (4, 0), (0, 20), (3, 30)]))
    return PoolPolicy(
        name=name,
        workers=draw(st.sampled_from([1, 2, 2, 3])),
        start_first=draw(st.booleans()),
        recycle=RecyclePolicy(max_jobs=max_jobs, max_age=Duration(max_age)),
        deadlines=DEADLINES,
        restarts=RestartPolicy(
            intensity=draw(st.integers(1, 3)), period=Duration(20), delay_max=Duration(3), revive=Duration(15)
        ),
    )


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """A daemon with one or two pools and little room."""
    names = draw(st.sampled_from([["a"], ["a"], ["a", "b"]]))
    return Policy(
        pools=[draw(pool_policies(name)) for name in names],
        default_pool="a",
        queue=QueuePolicy(max_jobs=draw(st.sampled_from([1, 3, 6])), max_bytes=Size(100)),
        retries=RetryPolicy(attempts=draw(st.sampled_from([1, 2, 3, 3])), deaths=draw(st.integers(1, 3))),
        drain_timeout=30.0,
    )

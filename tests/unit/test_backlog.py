"""Who is next: lanes by priority, fair between clients, measured in seconds of work."""

from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd_supervisor.core.backlog import Backlog
from asrd_supervisor.core.events import StepRef
from asrd_supervisor.core.stages import FIRST_CHUNK


def step(job: str, client: str = "ann", lane: str = "normal") -> StepRef:
    return StepRef(job, 0, "p", client=client, lane=lane)


class Desk:
    """A backlog with one worker, and a number for each step."""

    def __init__(self) -> None:
        self.backlog = Backlog()
        self._count = 0

    def push(self, client: str = "ann", lane: str = "normal", cost: float = 1.0, times: int = 1) -> None:
        for _ in range(times):
            self._count += 1
            self.backlog.push(step(f"{client}-{self._count}", client, lane), cost)

    def take(self) -> StepRef:
        taken = next(self.backlog.candidates())
        self.backlog.take(taken)
        return taken

    def clients(self, times: int) -> str:
        return " ".join(self.take().client for _ in range(times))


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_one_client_is_served_in_order(desk: Desk) -> None:
    desk.push(times=4)
    assert [desk.take().job for _ in range(4)] == ["ann-1", "ann-2", "ann-3", "ann-4"]
    assert len(desk.backlog) == 0
    assert list(desk.backlog.candidates()) == []


def test_a_second_client_does_not_wait_for_the_queue_of_the_first(desk: Desk) -> None:
    desk.push("ann", times=100)
    assert desk.clients(10) == " ".join(["ann"] * 10)
    desk.push("bob")
    assert "bob" in desk.clients(2)


def test_clients_share_seconds_and_not_steps(desk: Desk) -> None:
    desk.push("ann", cost=3.0, times=30)
    desk.push("bob", cost=1.0, times=90)
    served = Counter(desk.clients(40).split())
    assert abs(served["bob"] - 3 * served["ann"]) <= 3


def test_a_client_that_comes_with_one_step_at_a_time_does_not_pass_the_others_for_ever(desk: Desk) -> None:
    desk.push("bob", times=20)
    served = []
    for _ in range(10):
        desk.push("ann")
        served.append(desk.take().client)
        served.append(desk.take().client)
        if len(desk.backlog) and "ann" in {one.client for one in desk.backlog}:
            assert served[-2:] != ["ann", "ann"]
    assert served.count("bob") >= 9


def test_a_client_that_always_has_one_step_more_does_not_starve_a_queue(desk: Desk) -> None:
    desk.push("bob", times=20)
    desk.push("ann")
    served: Counter[str] = Counter()
    for _ in range(20):
        client = desk.take().client
        served[client] += 1
        if client == "ann":
            desk.push("ann")  # the next one comes as soon as the last one has a worker
    assert abs(served["ann"] - served["bob"]) <= 2


def test_nobody_saves_up_for_later(desk: Desk) -> None:
    desk.push("ann", times=50)
    desk.clients(40)
    desk.push("bob", times=50)
    served = Counter(desk.clients(10).split())
    assert abs(served["ann"] - served["bob"]) <= 2


def test_lanes_share_by_weight_and_the_low_one_does_not_starve(desk: Desk) -> None:
    for lane in ("high", "normal", "low"):
        desk.push(lane, lane, times=200)
    served = Counter(desk.take().lane for _ in range(21 * 6))
    for lane, share in (("high", 16), ("normal", 4), ("low", 1)):
        assert abs(served[lane] - 6 * share) <= share


def test_a_lane_that_was_empty_starts_where_the_others_are(desk: Desk) -> None:
    desk.push("ann", "high", times=500)
    desk.clients(400)
    desk.push("bob", "low", times=50)
    served = Counter(desk.clients(34).split())
    assert 1 <= served["bob"] <= 4


def test_those_that_come_back_go_first_the_last_one_before_the_others(desk: Desk) -> None:
    desk.push(times=2)
    desk.backlog.push(step("x"), 1.0, again=True)
    desk.backlog.push(step("y"), 1.0, again=True)
    assert [one.job for one in desk.backlog.candidates()] == ["y", "x", "ann-1"]
    assert len(desk.backlog) == 4
    assert desk.backlog.work == 4.0
    assert [desk.take().job for _ in range(4)] == ["y", "x", "ann-1", "ann-2"]


def test_who_comes_back_pays_nothing_again(desk: Desk) -> None:
    desk.push("ann", times=4)
    desk.push("bob", times=4)
    desk.backlog.push(step("x", "ann"), 100.0, again=True)
    assert desk.take().job == "x"
    assert sorted(desk.clients(4).split()) == ["ann", "ann", "bob", "bob"]


def test_a_step_that_is_divided_pays_once(desk: Desk) -> None:
    """What it has paid for the whole is given back, and its parts pay for themselves."""
    desk.push("bob", times=30)
    desk.push("ann", cost=10.0)
    while (long := desk.take()).client != "ann":
        pass
    desk.backlog.give_back(long, 10.0)
    desk.push("ann", times=5)
    assert desk.clients(10).split().count("ann") == 5


def test_who_has_paid_nothing_gets_no_credit(desk: Desk) -> None:
    desk.push("bob", times=30)
    desk.push("ann")
    while (long := desk.take()).client != "ann":
        pass
    desk.backlog.give_back(long, 1000.0)
    desk.push("ann", times=10)
    assert desk.clients(8).split().count("ann") in (4, 5)


def chunk(job: str, number: int) -> StepRef:
    return StepRef(job, FIRST_CHUNK + number, "p", client="ann", lane="normal")


def test_a_recording_that_was_begun_is_done_before_the_next_one_is_cut(desk: Desk) -> None:
    desk.push(cost=100.0, times=3)
    assert desk.take().job == "ann-1"
    desk.backlog.push(chunk("ann-1", 0), 5.0)
    assert [desk.take().job for _ in range(2)] == ["ann-1", "ann-2"]


def test_but_short_ones_come_in_between(desk: Desk) -> None:
    desk.push(cost=1.0, times=2)
    desk.backlog.push(chunk("long", 0), 5.0)
    desk.push(cost=1.0)
    assert [desk.take().job for _ in range(4)] == ["ann-1", "ann-2", "long", "ann-3"]


def test_chunks_leave_no_trace_in_what_is_ahead_of_others(desk: Desk) -> None:
    desk.push(cost=100.0, times=3)
    for number in range(10):
        desk.backlog.push(chunk("long", number), 5.0)
        assert desk.take().job == "long"
    assert desk.backlog.ahead_of(step("ann-3"), 100.0) == 200.0


def test_what_is_removed_is_gone_and_costs_nothing(desk: Desk) -> None:
    desk.push("ann", times=3)
    desk.backlog.push(step("x"), 5.0, again=True)
    assert desk.backlog.remove("ann-2", 0)
    assert not desk.backlog.remove("ann-2", 0)
    assert desk.backlog.remove("x", 0)
    assert not desk.backlog.remove("nobody", 0)
    assert desk.backlog.work == 2.0
    assert [one.job for one in desk.backlog] == ["ann-1", "ann-3"]
    assert [one.job for one in desk.backlog.clear()] == ["ann-1", "ann-3"]
    assert (len(desk.backlog), desk.backlog.work) == (0, 0.0)


def test_steps_that_cost_nothing_change_turns_too(desk: Desk) -> None:
    desk.push("ann", cost=0.0, times=4)
    desk.push("bob", cost=0.0, times=4)
    assert sorted(desk.clients(4).split()) == ["ann", "ann", "bob", "bob"]


# --- how long ---------------------------------------------------------------------------------------------------------


def test_ahead_of_a_new_step_are_its_own_clients_others_up_to_as_much_and_those_that_come_back(desk: Desk) -> None:
    desk.push("ann", times=3)
    desk.push("bob", times=10)
    assert desk.backlog.ahead_of(step("new", "ann"), 1.0) == 3.0 + 4.0
    assert desk.backlog.ahead_of(step("new", "cid"), 1.0) == 1.0 + 1.0
    desk.backlog.push(step("x"), 5.0, again=True)
    assert desk.backlog.ahead_of(step("new", "cid"), 1.0) == 5.0 + 2.0


def test_ahead_of_a_step_in_a_lane_is_the_share_of_the_other_lanes(desk: Desk) -> None:
    desk.push("ann", "high", times=100)
    desk.push("bob", "normal", times=100)
    assert desk.backlog.ahead_of(step("new", "cid", "low"), 1.0) == 16.0 + 4.0
    assert desk.backlog.ahead_of(step("new", "cid", "normal"), 1.0) == 1.0 + 8.0


def test_ahead_of_a_step_that_waits_is_what_stands_before_it(desk: Desk) -> None:
    desk.push("ann", times=4)
    assert [desk.backlog.ahead_of(one, 1.0) for one in desk.backlog] == [0.0, 1.0, 2.0, 3.0]
    desk.take()
    assert [desk.backlog.ahead_of(one, 1.0) for one in desk.backlog] == [0.0, 1.0, 2.0]
    desk.backlog.remove("ann-4", 0)
    assert [desk.backlog.ahead_of(one, 1.0) for one in desk.backlog] == [0.0, 1.0]


# --- whatever comes ---------------------------------------------------------------------------------------------------

MOVES = st.one_of(
    st.tuples(
        st.just("push"),
        st.sampled_from(["ann", "bob", "cid"]),
        st.sampled_from(["high", "normal", "low"]),
        st.sampled_from([0.5, 1.0, 4.0]),
    ),
    st.tuples(st.just("take"), st.none(), st.none(), st.none()),
    st.tuples(st.just("remove"), st.integers(0, 9), st.none(), st.none()),
)


@given(st.lists(MOVES, max_size=60))
def test_nothing_is_lost_and_nothing_comes_twice_and_each_client_has_its_order(moves: list[tuple]) -> None:
    backlog, waiting, count = Backlog(), defaultdict(list), 0
    costs: dict[str, float] = {}
    for move, what, lane, cost in moves:
        everyone = sorted(job for flow in waiting.values() for job in flow)
        if move == "push":
            count += 1
            waiting[what, lane].append(f"j{count:03}")
            costs[f"j{count:03}"] = cost
            backlog.push(step(f"j{count:03}", what, lane), cost)
        elif move == "take" and everyone:
            taken = next(backlog.candidates())
            backlog.take(taken)
            assert waiting[taken.client, taken.lane].pop(0) == taken.job
        elif move == "remove" and everyone:
            job = everyone[what % len(everyone)]
            assert backlog.remove(job, 0)
            next(flow for flow in waiting.values() if job in flow).remove(job)
        left = sorted(job for flow in waiting.values() for job in flow)
        assert sorted(one.job for one in backlog) == left
        assert len(backlog) == len(left)
        assert backlog.work == pytest.approx(sum(costs[job] for job in left))


def test_a_stream_of_new_clients_keeps_no_old_one_waiting(desk: Desk) -> None:
    desk.push("batch", times=10)
    turns = Counter[bool]()
    for number in range(60):
        desk.push(f"passing-{number}")
        turns[desk.take().client == "batch"] += 1
    assert turns[True] >= 8, "about half of the turns, until it has none left"


def test_clients_that_come_once_leave_nothing_behind(desk: Desk) -> None:
    for number in range(1_000):
        desk.push(f"passing-{number}")
        desk.take()
    lane = desk.backlog._lanes["normal"]
    assert not lane.flows and len(lane.ended) <= 1
    assert desk.backlog.work == 0.0

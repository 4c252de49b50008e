"""On which GPU a worker computes: where there is room, evenly, not where others died; and what happens without any."""

import itertools

import pytest

from asrd_protocol.exits import Exit
from asrd_protocol.faults import Code, Fault
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.placement import Candidate, choose
from support.play import Play, greeted, pool, seat

GB = 1 << 30
A, B, C = "cuda:0", "cuda:1", "cuda:2"


# --- the choice -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("candidates", "need", "wanted"),
    [
        ([Candidate(A), Candidate(B)], 0, A),
        ([Candidate(A, residents=1), Candidate(B)], 0, B),
        ([Candidate(A, free=3 * GB), Candidate(B, free=9 * GB)], 0, B),
        ([Candidate(A, free=9 * GB, residents=1), Candidate(B, free=3 * GB)], 0, B),
        ([Candidate(A, free=9 * GB, residents=1), Candidate(B, free=3 * GB)], 4 * GB, A),
        ([Candidate(A, free=9 * GB, residents=1), Candidate(B)], 0, A),
        ([Candidate(A, free=GB), Candidate(B, free=2 * GB)], 4 * GB, B),
        ([Candidate(A, free=9 * GB, deaths=1), Candidate(B, free=5 * GB, residents=3)], 0, B),
        ([Candidate(A, free=9 * GB, deaths=1), Candidate(B, free=GB)], 4 * GB, A),
        ([Candidate(A, residents=2, deaths=2), Candidate(B, residents=9, deaths=1)], 0, B),
    ],
    ids=[
        "all alike: the first one",
        "the fewest workers",
        "the most memory",
        "fewer workers are worth more than memory",
        "but not where there is no room",
        "the driver does not speak of it any more",
        "no room anywhere",
        "where nobody died",
        "where one died rather than where there is no room",
        "where fewer died",
    ],
)
def test_choice(candidates: list[Candidate], need: int, wanted: str) -> None:
    assert choose(candidates, need) == wanted


def test_the_choice_does_not_depend_on_the_order_where_they_differ() -> None:
    candidates = [Candidate(A, free=GB), Candidate(B, free=3 * GB), Candidate(C, free=2 * GB)]

    assert {choose(order) for order in itertools.permutations(candidates)} == {B}


# --- a pool with several GPUs -----------------------------------------------------------------------------------------


def gpus(workers: int = 2, *, others: tuple[str, ...] = (B,), **more: object) -> Play:
    """A pool that may use them."""
    return Play(pool(workers=workers, device=A, others=others, **more))


def sampled(play: Play, *workers: ev.WorkerSample, **free: int) -> list[do.Action]:
    """The host says so much of each GPU, in GiB."""
    told = {name.replace("cuda", "cuda:"): GB * amount for name, amount in free.items()}
    return play.tell(ev.HostSampled(free=told, workers=workers))


def where(play: Play, name: str = "p") -> list[str]:
    """The device of each worker that has one."""
    return [slot.device for slot in play.core.pools[name].slots if slot.live]


def die(play: Play, name: str, device: str = "", *, hopeless: bool = True) -> list[do.Action]:
    """A worker that cannot load its model; because of its device, if that is named."""
    context = {"device": device} if device else {}
    fault = Fault.of(Code.MODEL_UNAVAILABLE, "no such device" if device else "no such model", **context)
    exited = ev.WorkerExited(seat(name), "exit 78", hopeless)
    return play.tell(greeted(name), ev.LoadFaulted(seat(name), fault), exited)


def succeed(play: Play, name: str) -> None:
    """A warm worker is gone, by no wish of anybody's, and the next one in its seat becomes warm."""
    gone = seat(name)
    play.exit(name)
    play.ring(gone.slot)
    play.boot(f"p/{gone.slot}.{gone.generation + 1}")


def has_failed(play: Play, orders: list[do.Action]) -> bool:
    """Whether a seat has failed and the daemon, which has no other, leaves for its configuration."""
    left = any(isinstance(order, do.Leave) and order.code is Exit.CONFIG for order in orders)
    assert left == bool(play.topics("worker.failed"))
    return left


def test_each_worker_gets_its_own_and_is_told() -> None:
    play = gpus(3, others=(B, C))
    told = [order for name in ("p/0.1", "p/1.1", "p/2.1") for order in play.tell(greeted(name))]

    assert told == [do.SendLoad(seat("p/0.1")), *(do.SendLoad(seat(f"p/{i}.1"), None, f"cuda:{i}") for i in (1, 2))]
    assert where(play) == [A, B, C]


def test_the_device_is_announced() -> None:
    play = gpus()
    play.boot("p/0.1", "p/1.1")

    assert [said["device"] for said in play.topics("worker.ready")] == [A, B]


def test_with_one_gpu_nothing_has_to_be_told() -> None:
    play = Play(pool(workers=1, device=B))

    assert play.tell(greeted("p/0.1")) == [do.SendLoad(seat("p/0.1"))]
    assert where(play) == [B]


def test_the_first_worker_goes_where_the_most_memory_is() -> None:
    play = gpus(1)
    sampled(play, cuda0=4, cuda1=9)
    play.boot("p/0.1")

    assert where(play) == [B]


def test_one_with_no_room_for_such_a_worker_is_left_alone() -> None:
    play = gpus(2)
    play.boot("p/0.1")
    sampled(play, ev.WorkerSample(seat("p/0.1"), vram=4 * GB), cuda0=9, cuda1=3)
    play.boot("p/1.1")

    assert where(play) == [A, A]


def test_workers_of_other_pools_count() -> None:
    play = Play(pool("q", workers=1, device=A), pool(workers=1, device=A, others=(B,)))
    play.boot("q/0.1")
    play.boot("p/0.1")

    assert where(play) == [B]


def test_pools_that_share_gpus_fill_them_evenly() -> None:
    play = Play(pool("q", workers=2, device=A, others=(B,)), pool(workers=3, device=A, others=(B, C)))
    play.boot("q/0.1", "q/1.1", "p/0.1", "p/1.1", "p/2.1")

    assert where(play, "q") == [A, B]
    assert where(play) == [C, A, B]


def test_what_one_pool_cannot_use_another_one_may() -> None:
    """It has another engine, and other libraries."""
    play = Play(pool("q", workers=1, device=B, others=(A,)), pool(workers=1, device=A, others=(B,)))
    die(play, "p/0.1", A)
    play.ring(0)
    play.boot("p/0.2", "q/0.1")

    assert (where(play), where(play, "q")) == ([B], [A])


def test_a_replacement_takes_the_place_of_the_one_that_leaves() -> None:
    """Else two would sit on one GPU, and none on the other."""
    play = gpus(start_first=True)
    play.boot("p/0.1", "p/1.1")
    play.tell(ev.RecycleRequested("p", 0))
    sampled(play, cuda0=5, cuda1=9)
    play.tell(greeted("p/2.1"))

    assert where(play) == [A, B, A]


def test_those_that_leave_do_not_count() -> None:
    play = gpus()
    play.boot("p/0.1", "p/1.1")
    play.tell(ev.RecycleRequested("p", 1))
    play.exit("p/1.1")
    play.boot("p/1.2")

    assert where(play) == [A, B]


def test_a_worker_is_slowed_down_by_those_on_its_own_gpu_only() -> None:
    """The companions of a job are those on the same device."""
    play = gpus(3)
    play.boot("p/0.1", "p/1.1", "p/2.1")
    assert where(play) == [A, B, A]
    play.submit("a", "b", "c")
    play.now = 10.0
    devices = play.core.pools["p"].placement._devices

    assert [devices[name].load.companions(10.0, 0.0, 0.0) for name in (A, B)] == [1.0, 0.0]


# --- one that does not work -------------------------------------------------------------------------------------------


def test_a_gpu_that_cannot_be_used_is_tried_once() -> None:
    play = gpus()
    play.boot("p/0.1")
    die(play, "p/1.1", B)
    assert play.states() == "idle backoff"
    play.ring(1)
    play.boot("p/1.2")

    assert where(play) == [A, A]
    play.now += 3600
    succeed(play, "p/1.2")
    assert where(play) == [A, A]


def one_has_been_tried_in_vain() -> Play:
    """A pool that has two GPUs and uses one."""
    play = gpus()
    play.boot("p/0.1")
    die(play, "p/1.1", B)
    play.ring(1)
    play.boot("p/1.2")
    assert where(play) == [A, A]
    return play


def test_an_operator_who_wants_workers_has_it_tried_again() -> None:
    play = one_has_been_tried_in_vain()
    play.tell(ev.WakeRequested("p"))
    succeed(play, "p/1.2")

    assert where(play) == [A, B]


@pytest.mark.parametrize(
    "wish", [ev.RecycleRequested("p", 1), ev.RecycleRequested("p"), ev.RenewRequested("p", "reload")]
)
def test_one_who_wants_them_replaced_as_well(wish: ev.Event) -> None:
    play = one_has_been_tried_in_vain()
    play.tell(wish)
    leaving = next(slot for slot in play.core.pools["p"].slots if slot.state == "stopping")
    play.exit(str(leaving.seat))
    play.boot(f"p/{leaving.index}.{leaving.generation}")

    assert sorted(where(play)) == [A, B]


def test_a_gpu_that_has_vanished_is_left_alone_until_it_is_back() -> None:
    """It has fallen off the bus: its worker dies, and the driver does not speak of it any more."""
    play = gpus()
    sampled(play, cuda0=9, cuda1=9)
    play.boot("p/0.1", "p/1.1")
    assert where(play) == [A, B]
    sampled(play, cuda0=5)
    succeed(play, "p/1.1")
    assert where(play) == [A, A]
    sampled(play, cuda0=5, cuda1=9)
    succeed(play, "p/1.2")

    assert where(play) == [A, B]


def test_nor_is_it_found_out_more_than_once_where_the_driver_says_nothing() -> None:
    play = gpus()
    play.boot("p/0.1", "p/1.1")
    play.exit("p/1.1")
    play.ring(1)
    die(play, "p/1.2", B)
    play.ring(1)
    play.boot("p/1.3")
    play.now += 3600
    succeed(play, "p/1.3")

    assert where(play) == [A, A]
    assert [said["seat"] for said in play.topics("worker.died")] == ["p/1.1", "p/1.2", "p/1.3"]


def test_deaths_that_may_pass_are_forgotten_with_time() -> None:
    play = gpus()
    play.boot("p/0.1")
    die(play, "p/1.1", hopeless=False)
    play.ring(1)
    play.boot("p/1.2")
    assert where(play) == [A, A]
    play.now += 61
    succeed(play, "p/1.2")

    assert where(play) == [A, B]


def test_when_all_have_been_tried_the_seat_has_failed() -> None:
    play = gpus(1)
    die(play, "p/0.1", A)
    play.ring(0)
    assert not has_failed(play, [])

    assert has_failed(play, die(play, "p/0.2", B))


def test_a_wrong_configuration_is_not_tried_on_every_gpu() -> None:
    play = gpus(1)

    assert has_failed(play, die(play, "p/0.1"))


# --- without any ------------------------------------------------------------------------------------------------------


def fallen(**more: object) -> Play:
    """A pool whose only GPU cannot be used, and that may go on on the CPU."""
    play = Play(pool(workers=2, device=A, fallbacks=("cpu",), **more))
    die(play, "p/0.1", A)
    die(play, "p/1.1", A)
    return play


def test_the_pool_goes_on_on_the_cpu_and_says_why() -> None:
    play = fallen()
    orders = play.boot("p/0.2", "p/1.2")

    assert play.topics("pool.fell_back") == [{"pool": "p", "fallback": "cpu", "fault": "no such device"}]
    assert orders == [do.SendLoad(seat("p/0.2"), None, "cpu"), do.SendLoad(seat("p/1.2"), None, "cpu")]
    assert play.states() == "idle idle"
    assert play.core.pools["p"].placement.fallback


def test_not_while_a_gpu_still_works() -> None:
    play = Play(pool(workers=2, device=A, others=(B,), fallbacks=("cpu",)))
    play.boot("p/0.1")
    die(play, "p/1.1", B)
    for generation in range(2, 9):
        if play.states() == "idle failed":
            break
        play.ring(1)
        die(play, f"p/1.{generation}", hopeless=False)

    assert play.states() == "idle failed"
    assert not play.topics("pool.fell_back")


def test_not_for_a_wrong_configuration() -> None:
    play = Play(pool(workers=1, device=A, fallbacks=("cpu",)))

    assert has_failed(play, die(play, "p/0.1"))
    assert not play.topics("pool.fell_back")


def test_too_many_deaths_are_a_reason_as_well() -> None:
    play = Play(pool(workers=1, device=A, fallbacks=("cpu",)))
    for generation in range(1, 7):
        if generation > 1:
            play.ring(0)
        die(play, f"p/0.{generation}", hopeless=False)

    assert len(play.topics("pool.fell_back")) == 1
    play.boot("p/0.7")
    assert where(play) == ["cpu"]


def test_without_leave_it_fails() -> None:
    play = Play(pool(workers=1, device=A))

    assert has_failed(play, die(play, "p/0.1", A))
    assert not play.topics("pool.fell_back")


def test_if_the_cpu_does_not_help_either_it_fails() -> None:
    play = Play(pool(workers=1, device=A, fallbacks=("cpu",)))
    die(play, "p/0.1", A)

    assert has_failed(play, die(play, "p/0.2"))
    assert len(play.topics("pool.fell_back")) == 1


def test_a_reload_tries_the_gpu_again() -> None:
    play = fallen()
    play.boot("p/0.2", "p/1.2")
    play.tell(ev.RenewRequested("p", "reload"))
    play.exit("p/0.2")
    play.boot("p/0.3")
    play.exit("p/1.2")
    play.boot("p/1.3")

    assert where(play) == [A, A]
    assert not play.core.pools["p"].placement.fallback


def test_in_vain_and_all_is_as_before_at_once() -> None:
    play = fallen()
    play.boot("p/0.2", "p/1.2")
    play.tell(ev.RecycleRequested("p"))
    play.exit("p/0.2")
    die(play, "p/0.3", A)
    play.ring(0)
    play.boot("p/0.4")

    assert where(play) == ["cpu", "cpu"]
    assert len(play.topics("pool.fell_back")) == 2
    assert play.core.pools["p"].placement.fallback


def test_work_on_the_cpu_is_not_compared_with_that_on_the_gpu() -> None:
    """The workers are not to blame for being slower there."""
    play = Play(pool(workers=1, device=A, fallbacks=("cpu",)))
    monitor = play.core.pools["p"].monitor
    slot = play.core.pools["p"].slots[0]
    before = monitor._kind(slot, "beam5", 0.0)
    die(play, "p/0.1", A)
    play.boot("p/0.2")

    assert slot.device == "cpu"
    assert monitor._kind(slot, "beam5", 0.0) != before

"""What a pool does when its jobs do not fit into the memory of a GPU: another process, int8, the CPU. Events in,
actions out; that a worker halves its batch before it says so is its own affair."""

from asrd_protocol.faults import Code
from asrd_protocol.messages import Retries
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.supervisor import pool_status
from support.play import Play, pool, seat

GPU = "cuda:0"


def warm(*fallbacks: str, workers: int = 1, device: str = GPU) -> Play:
    """A pool with nothing to do."""
    play = Play(pool(workers=workers, device=device, fallbacks=fallbacks))
    play.boot(*(f"p/{index}.1" for index in range(workers)))
    return play


def starve(play: Play, name: str) -> list[do.Action]:
    """The worker has a job and finds no memory for it; it leaves, and another one comes."""
    play.fault(name, Code.OUT_OF_MEMORY, leave=True)
    return play.exit(name)


def loads(orders: list[do.Action]) -> list[tuple[str, bool]]:
    """On which device, and whether in int8."""
    return [(order.device, order.light) for order in orders if isinstance(order, do.SendLoad)]


def test_once_a_fresh_process_is_tried() -> None:
    play = warm("int8", "cpu")
    play.submit("a")
    starve(play, "p/0.1")

    assert loads(play.boot("p/0.2")) == [("", False)]
    assert not play.topics("pool.fell_back")


def test_then_int8_and_then_the_cpu_and_the_job_is_done() -> None:
    play = warm("int8", "cpu")
    play.submit("a")
    told = []
    for generation in range(1, 5):
        starve(play, f"p/0.{generation}")
        told += loads(play.boot(f"p/0.{generation + 1}"))

    assert told == [("", False), ("", True), ("", True), ("cpu", False)]
    assert [said["fallback"] for said in play.topics("pool.fell_back")] == ["int8", "cpu"]
    assert [said["fault"] for said in play.topics("pool.fell_back")] == ["out_of_memory happened"] * 2
    (end,) = [order for order in play.finish("p/0.5") if isinstance(order, do.Deliver)]
    assert end.job.id == "a"


def test_below_the_last_rung_the_job_fails() -> None:
    """With the tries that any job has."""
    play = warm("int8")
    play.submit("a")
    for generation in (1, 2):
        starve(play, f"p/0.{generation}")
        play.boot(f"p/0.{generation + 1}")
    (end,) = [order for order in play.fault("p/0.3", Code.OUT_OF_MEMORY, leave=True) if isinstance(order, do.Fail)]

    assert (end.fault.code, end.job.attempts) == (Code.OUT_OF_MEMORY, 3)
    assert len(play.topics("pool.fell_back")) == 1


def test_a_job_that_asks_for_a_number_of_tries_gets_that() -> None:
    play = warm("int8", "cpu")
    play.submit("a", retries=Retries(attempts=1))
    (end,) = [order for order in play.fault("p/0.1", Code.OUT_OF_MEMORY, leave=True) if isinstance(order, do.Fail)]

    assert end.job.attempts == 1


def test_another_fault_is_not_excused() -> None:
    play = warm("int8", "cpu")
    play.submit("a")
    for generation in range(1, 4):
        starve(play, f"p/0.{generation}")
        play.boot(f"p/0.{generation + 1}")
    (end,) = [order for order in play.fault("p/0.4", Code.ENGINE_ERROR) if isinstance(order, do.Fail)]

    assert end.fault.code is Code.ENGINE_ERROR


def test_the_other_workers_follow_one_by_one() -> None:
    play = warm("int8", workers=2)
    play.submit("a")
    starve(play, "p/0.1")
    play.boot("p/0.2")
    starve(play, "p/1.1")
    assert play.topics("pool.changing") == [{"pool": "p", "reason": "memory", "settings": {}}]
    assert loads(play.boot("p/1.2")) == [("", True)]

    play.finish("p/0.2")
    assert play.topics("worker.recycled")[-1]["reason"] == "memory"
    play.exit("p/0.2")
    assert loads(play.boot("p/0.3")) == [("", True)]
    assert play.topics("pool.changed") == [{"pool": "p", "reason": "memory", "settings": {}}]


def test_a_job_of_yesterday_does_not_count() -> None:
    play = warm("cpu")
    play.submit("a")
    starve(play, "p/0.1")
    play.now += 86_400
    play.boot("p/0.2")
    starve(play, "p/0.2")

    assert loads(play.boot("p/0.3")) == [("", False)]
    assert not play.topics("pool.fell_back")


def test_a_pool_that_may_not_stays_as_it_is() -> None:
    play = warm()
    for generation in range(1, 4):
        play.submit(f"job{generation}")
        starve(play, f"p/0.{generation}")
        assert loads(play.boot(f"p/0.{generation + 1}")) == [("", False)]

    assert not play.topics("pool.fell_back")


def test_memory_of_the_host_is_no_reason() -> None:
    play = warm("cpu", device="cpu")
    play.submit("a")
    for generation in range(1, 4):
        starve(play, f"p/0.{generation}")
        play.boot(f"p/0.{generation + 1}")

    assert not play.topics("pool.fell_back")


def test_nor_is_a_job_that_is_to_blame_itself() -> None:
    play = warm("cpu")
    for number in range(3):
        play.submit(f"job{number}")
        play.fault("p/0.1", Code.OUT_OF_MEMORY)

    assert not play.topics("pool.fell_back")


def test_what_does_not_load_in_int8_either_goes_to_the_cpu() -> None:
    play = warm("int8", "cpu")
    play.submit("a")
    for generation in (1, 2):
        starve(play, f"p/0.{generation}")
        if generation == 1:
            play.boot("p/0.2")
    for generation in range(3, 20):
        play.tell(ev.WorkerGreeted(seat(f"p/0.{generation}"), 4711))
        play.exit(f"p/0.{generation}", "exit 1")
        if len(play.topics("pool.fell_back")) == 2:
            break
        play.ring(0)

    assert [said["fallback"] for said in play.topics("pool.fell_back")] == ["int8", "cpu"]
    assert not play.topics("pool.change_failed"), "there is no way back to what did not fit"


def test_a_reload_tries_what_the_pool_was_meant_to_be() -> None:
    play = warm("int8")
    play.submit("a")
    for generation in (1, 2):
        starve(play, f"p/0.{generation}")
        play.boot(f"p/0.{generation + 1}")
    play.finish("p/0.3")
    play.tell(ev.RenewRequested("p", "reload"))
    play.exit("p/0.3")

    assert loads(play.boot("p/0.4")) == [("", False)]
    assert not play.core.pools["p"].placement.fallback


def test_health_says_so() -> None:
    play = warm("int8")
    assert pool_status(play.core.pools["p"])[0] == "ready"
    play.submit("a")
    for generation in (1, 2):
        starve(play, f"p/0.{generation}")
        play.boot(f"p/0.{generation + 1}")
    status, said = pool_status(play.core.pools["p"])

    assert (status, said) == (
        "degraded",
        "'p' has fallen back to int8; `asrd reload p` tries what it was meant to be",
    )

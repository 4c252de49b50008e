"""What the workers of a pool are to load, and what is gone back to when that fails: also when nobody was warm before
the change came, when the configuration's own workers have died, and when the change was one for want of memory."""

import pytest

from asrd_protocol.faults import Code, Fault
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.edition import MEMORY, Edition, Editions
from asrd_supervisor.core.supervisor import pool_status
from support.play import Play, greeted, pool, seat

FIRST = "first settings"
SECOND = "second settings"
CONFIGURED = None
"""What a worker is told to load that has the settings of the configuration."""


# --- as such ----------------------------------------------------------------------------------------------------------


def changed(editions: Editions, load: str) -> Edition:
    return editions.renew("changed", {"compute_type": load}, load)


def test_what_nobody_was_warm_with_is_taken_back_to_the_configuration() -> None:
    editions = Editions()
    configured = editions.wanted
    changed(editions, FIRST)
    assert editions.take_back("no such type")
    assert (editions.wanted, editions.fault) == (configured, "no such type")
    assert not editions.take_back("nor that"), "it is the wanted one"
    assert editions.fault == "no such type"


def test_a_configuration_that_a_worker_has_died_of_is_nothing_to_go_back_to() -> None:
    editions = Editions()
    editions.failed(editions.wanted)
    first = changed(editions, FIRST)
    assert not editions.take_back("no such type")
    assert editions.wanted is first


def test_that_a_change_has_failed_says_nothing_of_the_configuration() -> None:
    editions = Editions()
    configured = editions.wanted
    editions.failed(changed(editions, FIRST))
    changed(editions, SECOND)
    assert editions.take_back("no such type")
    assert editions.wanted is configured


def test_the_last_one_that_was_good_goes_before_the_configuration() -> None:
    editions = Editions()
    first = changed(editions, FIRST)
    editions.warmed(first)
    changed(editions, SECOND)
    assert editions.take_back("no such type")
    assert editions.wanted is first


def test_who_is_warm_with_something_older_proves_nothing_new() -> None:
    editions = Editions()
    configured = editions.wanted
    first = changed(editions, FIRST)
    editions.warmed(configured)
    assert editions.proven is not first
    assert editions.take_back("no such type")
    assert editions.wanted is configured


def test_a_new_change_forgets_why_the_last_one_was_taken_back() -> None:
    editions = Editions()
    changed(editions, FIRST)
    editions.take_back("no such type")
    changed(editions, SECOND)
    assert editions.fault == ""


@pytest.mark.parametrize("warm", [False, True])
def test_there_is_no_way_back_to_what_did_not_fit(warm: bool) -> None:
    editions = Editions()
    if warm:
        editions.warmed(editions.wanted)
    less = editions.renew(MEMORY, None, None)
    assert not editions.take_back("it does not load either")
    assert editions.wanted is less


def test_what_takes_less_keeps_what_was_set() -> None:
    editions = Editions()
    first = changed(editions, FIRST)
    less = editions.renew(MEMORY, None, None)
    assert (less.settings, less.load, less.reason) == (first.settings, FIRST, MEMORY)
    assert less.number > first.number


def test_a_change_after_it_goes_back_to_what_takes_less() -> None:
    editions = Editions()
    editions.warmed(editions.wanted)
    less = editions.renew(MEMORY, None, None)
    changed(editions, FIRST)
    assert editions.take_back("no such type")
    assert editions.wanted is less


# --- in a pool --------------------------------------------------------------------------------------------------------


def renew(load: str = FIRST) -> ev.RenewRequested:
    """An operator wants other settings."""
    return ev.RenewRequested("p", "changed", {"compute_type": load}, load)


def fails_to_load(play: Play, name: str) -> list[do.Action]:
    fault = Fault.of(Code.MODEL_UNAVAILABLE, "no such type")
    return play.tell(greeted(name), ev.LoadFaulted(seat(name), fault), ev.WorkerExited(seat(name), "exit 78", True))


def loads(orders: list[do.Action]) -> list[tuple[str, object]]:
    """Who was told to load what."""
    return [(str(order.seat), order.load) for order in orders if isinstance(order, do.SendLoad)]


def settle(play: Play, *, broken: tuple[object, ...] = ()) -> list[do.Leave]:
    """Play on until nothing moves: whoever is told to leave does, who is to come comes, and loads what is not broken.
    What the daemon leaves for."""
    left: list[do.Leave] = []
    for _ in range(60):
        orders: list[do.Action] = []
        for slot in play.core.pools["p"].slots:
            name = str(slot.seat)
            match slot.state:
                case "starting":
                    orders += _comes(play, name, broken)
                case "stopping":
                    orders += play.exit(name)
                case "backoff":
                    orders += play.ring(slot.index)
                case _:
                    continue
            break
        else:
            return left
        left += [order for order in orders if isinstance(order, do.Leave)]
    raise AssertionError(f"it does not settle: {play.states()}")


def _comes(play: Play, name: str, broken: tuple[object, ...]) -> list[do.Action]:
    orders = play.tell(greeted(name))
    ((_, load),) = loads(orders)
    if load not in broken:
        return orders + play.tell(ev.WorkerWarmed(seat(name)))
    fault = ev.LoadFaulted(seat(name), Fault.of(Code.MODEL_UNAVAILABLE, "no such type"))
    return orders + play.tell(fault, ev.WorkerExited(seat(name), "exit 78", True))


def wanted(play: Play) -> object:
    return play.core.pools["p"].staffing.renewal.editions.wanted.load


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("start_first", [False, True])
def test_a_wrong_change_before_anybody_has_greeted_ends_nothing(workers: int, start_first: bool) -> None:
    play = Play(pool(workers=workers, start_first=start_first))
    play.tell(renew())
    assert settle(play, broken=(FIRST,)) == []
    assert (wanted(play), pool_status(play.core.pools["p"])[0]) == (CONFIGURED, "ready")
    assert len(play.topics("pool.change_failed")) == 1
    assert play.sent(play.submit("a")), "and jobs are done"


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("start_first", [False, True])
def test_a_wrong_change_while_they_load_ends_nothing(workers: int, start_first: bool) -> None:
    play = Play(pool(workers=workers, start_first=start_first))
    play.tell(*(greeted(f"p/{slot}.1") for slot in range(workers)), renew())
    play.tell(*(ev.WorkerWarmed(seat(f"p/{slot}.1")) for slot in range(workers)))
    assert settle(play, broken=(FIRST,)) == []
    assert (wanted(play), pool_status(play.core.pools["p"])[0]) == (CONFIGURED, "ready")


@pytest.mark.parametrize("workers", [1, 2])
def test_two_wrong_changes_end_nothing_either(workers: int) -> None:
    play = Play(pool(workers=workers))
    play.tell(renew(), renew(SECOND))
    assert settle(play, broken=(FIRST, SECOND)) == []
    play.tell(renew())
    assert settle(play, broken=(FIRST, SECOND)) == []
    assert (wanted(play), pool_status(play.core.pools["p"])[0]) == (CONFIGURED, "ready")


def test_a_right_change_before_anybody_is_warm_is_there_at_once() -> None:
    play = Play()
    play.tell(renew())
    assert loads(play.boot("p/0.1", "p/1.1")) == [("p/0.1", FIRST), ("p/1.1", FIRST)]
    assert (len(play.topics("pool.changed")), play.topics("pool.change_failed")) == (1, [])


def test_one_of_the_configuration_that_died_does_not_spoil_what_another_one_is_warm_with() -> None:
    """It was killed while it loaded, as anybody may be; the other is proof that the configuration is good."""
    play = Play()
    play.tell(greeted("p/0.1"), greeted("p/1.1"))
    play.exit("p/0.1", "SIGKILL")
    play.tell(ev.WorkerWarmed(seat("p/1.1")))
    play.tell(renew())
    assert settle(play, broken=(FIRST,)) == []
    assert (wanted(play), pool_status(play.core.pools["p"])[0]) == (CONFIGURED, "ready")


def test_nor_when_that_one_is_warm_after_the_change_has_come() -> None:
    play = Play()
    play.tell(greeted("p/0.1"), greeted("p/1.1"))
    play.exit("p/0.1", "SIGKILL")
    play.tell(renew())
    play.tell(ev.WorkerWarmed(seat("p/1.1")))
    assert settle(play, broken=(FIRST,)) == []
    assert (wanted(play), pool_status(play.core.pools["p"])[0]) == (CONFIGURED, "ready")


def test_a_configuration_that_cannot_be_loaded_is_mended_by_a_change() -> None:
    play = Play(pool(), pool("q"))
    fails_to_load(play, "p/0.1")
    fails_to_load(play, "p/1.1")
    assert play.states() == "failed failed"
    play.tell(renew())
    assert settle(play, broken=(CONFIGURED,)) == []
    assert (wanted(play), play.states()) == (FIRST, "idle idle")
    play.tell(renew(SECOND))
    assert settle(play, broken=(CONFIGURED, SECOND)) == []
    assert (wanted(play), play.states()) == (FIRST, "idle idle"), "back to what was good, not to what never was"


def test_where_both_are_wrong_the_pool_gives_up_and_does_not_go_round() -> None:
    play = Play(pool(), pool("q"))
    fails_to_load(play, "p/0.1")
    play.tell(renew())
    settle(play, broken=(CONFIGURED, FIRST))
    assert play.states() == "failed failed"
    assert play.topics("pool.change_failed") == []


# --- for want of memory -----------------------------------------------------------------------------------------------


def fallen(*fallbacks: str) -> Play:
    """A pool on a GPU that has fallen back once, and is warm again."""
    play = Play(pool(workers=1, device="cuda:0", fallbacks=fallbacks), pool("q"))
    play.boot("p/0.1")
    play.submit("a")
    for generation in (1, 2):
        play.fault(f"p/0.{generation}", Code.OUT_OF_MEMORY, leave=True)
        play.exit(f"p/0.{generation}")
        play.boot(f"p/0.{generation + 1}")
    play.finish("p/0.3")
    assert [said["fallback"] for said in play.topics("pool.fell_back")] == [fallbacks[0]]
    return play


def lightly(orders: list[do.Action]) -> list[tuple[object, bool]]:
    return [(order.load, order.light) for order in orders if isinstance(order, do.SendLoad)]


def test_after_a_wrong_change_the_pool_is_tried_as_it_was_meant_to_be_and_falls_back_again() -> None:
    """An operator has had a hand in it; if that was in vain, jobs live to see the fallback once more."""
    play = fallen("int8")
    play.tell(renew())
    play.exit("p/0.3")
    fails_to_load(play, "p/0.4")
    assert play.states() == "backoff"
    play.ring(0)
    assert lightly(play.boot("p/0.5")) == [(CONFIGURED, False)]
    assert (len(play.topics("pool.change_failed")), pool_status(play.core.pools["p"])[0]) == (1, "ready")
    play.submit("b")
    told = []
    for generation in (5, 6):
        play.fault(f"p/0.{generation}", Code.OUT_OF_MEMORY, leave=True)
        play.exit(f"p/0.{generation}")
        told = lightly(play.boot(f"p/0.{generation + 1}"))
    assert told == [(CONFIGURED, True)]
    assert [order for order in play.finish("p/0.7") if isinstance(order, do.Deliver)]


def test_a_change_for_want_of_memory_keeps_the_settings_of_the_operator() -> None:
    play = Play(pool(workers=1, device="cuda:0", fallbacks=("int8",)))
    play.boot("p/0.1")
    play.tell(renew())
    play.exit("p/0.1")
    play.boot("p/0.2")
    play.submit("a")
    for generation in (2, 3):
        play.fault(f"p/0.{generation}", Code.OUT_OF_MEMORY, leave=True)
        play.exit(f"p/0.{generation}")
        told = lightly(play.boot(f"p/0.{generation + 1}"))
    assert told == [(FIRST, True)]
    assert [order for order in play.finish("p/0.4") if isinstance(order, do.Deliver)]


def test_one_that_dies_while_it_loads_what_takes_less_is_tried_again() -> None:
    """There is nothing to go back to, and that is its own affair."""
    play = Play(pool(workers=1, device="cuda:0", fallbacks=("int8",)))
    play.boot("p/0.1")
    play.submit("a")
    for generation in (1, 2):
        play.fault(f"p/0.{generation}", Code.OUT_OF_MEMORY, leave=True)
        play.exit(f"p/0.{generation}")
        if generation == 1:
            play.boot("p/0.2")
    play.tell(greeted("p/0.3"))
    play.exit("p/0.3", "SIGKILL")
    assert play.states() == "backoff"
    play.ring(0)
    assert lightly(play.boot("p/0.4")) == [(CONFIGURED, True)]
    assert play.topics("pool.change_failed") == []

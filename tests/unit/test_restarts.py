"""When a seat whose worker died gets the next one."""

import random

import pytest

from asrd_supervisor.core.policy import Duration, RestartPolicy
from asrd_supervisor.core.restarts import Restarts


def restarts(seed: int = 1, **policy: object) -> Restarts:
    return Restarts(RestartPolicy(**policy), random.Random(seed))  # type: ignore[arg-type]


def test_the_first_restart_of_a_warm_worker_is_immediate() -> None:
    assert restarts().died(100.0, booting=False) == 0.0


@pytest.mark.parametrize("seed", range(20))
def test_a_worker_that_dies_while_booting_waits_at_least_a_second(seed: int) -> None:
    delay = restarts(seed).died(100.0, booting=True)
    assert delay is not None
    assert 1.0 <= delay <= 1.1


@pytest.mark.parametrize("booting", [True, False])
@pytest.mark.parametrize("seed", range(10))
def test_the_back_off_doubles_up_to_its_bound(seed: int, booting: bool) -> None:
    deaths = restarts(seed, intensity=8, delay_max=Duration(10), period=Duration(1000))
    delays = [deaths.died(float(at), booting=booting) or 0.0 for at in range(8)]
    for delay, least in zip(delays[1:], [1, 2, 4, 8, 10, 10, 10], strict=True):
        assert least <= delay <= min(10.0, least * 1.1)


def test_seats_do_not_come_back_in_step() -> None:
    assert len({restarts(seed).died(0.0, booting=True) for seed in range(10)}) > 5


def test_one_death_more_than_the_intensity_is_too_many() -> None:
    deaths = restarts(intensity=3, period=Duration(60))
    assert [deaths.died(float(at), booting=False) is None for at in range(4)] == [False, False, False, True]


def test_deaths_of_a_former_period_do_not_count() -> None:
    deaths = restarts(intensity=2, period=Duration(60))
    assert deaths.died(0.0, booting=False) == 0.0
    assert deaths.died(1.0, booting=False)
    assert deaths.died(60.0, booting=False)  # the first one is 60 s old
    assert deaths.died(61.0, booting=False)
    assert deaths.died(62.0, booting=False) is None
    assert deaths.died(122.0, booting=False) == 0.0


def test_forgiven_deaths_do_not_count() -> None:
    deaths = restarts(intensity=1)
    assert deaths.died(0.0, booting=False) == 0.0
    assert deaths.died(1.0, booting=False) is None
    deaths.forgive()
    assert deaths.died(2.0, booting=False) == 0.0

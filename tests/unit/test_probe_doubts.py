"""What is unknown is said once for each time that it becomes unknown, after as much patience as was asked for."""

from structlog.testing import capture_logs

from asrd_supervisor.probes.binding import Binding
from asrd_supervisor.probes.doubts import Doubts
from asrd_supervisor.probes.nvml import Nvml, Reading


def test_said_once_until_it_was_known() -> None:
    doubts = Doubts()
    with capture_logs() as said:
        doubts.known("cuda:0", "free memory")
        for _ in range(2):
            for _ in range(3):
                doubts.unknown("cuda:0", "free memory", "why")
            doubts.known("cuda:0", "free memory")
            doubts.known("cuda:0", "free memory")

    unknown, known = "a figure is unknown", "a figure is known again"
    assert [entry["event"] for entry in said] == [unknown, known, unknown, known]
    assert (said[0]["device"], said[0]["figure"], said[0]["reason"]) == ("cuda:0", "free memory", "why")


def test_patience_is_for_times_without_a_break() -> None:
    doubts = Doubts()
    with capture_logs() as said:
        for _ in range(4):
            doubts.unknown("cuda:0", "free memory", "why", patience=3)
            doubts.unknown("cuda:0", "free memory", "why", patience=3)
            doubts.known("cuda:0", "free memory")
    assert not said


def test_figures_and_devices_are_told_apart() -> None:
    doubts = Doubts()
    with capture_logs() as said:
        for device in ("cuda:0", "cuda:1"):
            for figure in ("free memory", "throttling"):
                doubts.unknown(device, figure, "why")
                doubts.unknown(device, figure, "another reason")
    assert len(said) == 4


def test_a_library_that_is_not_there_is_not_looked_for_all_the_time() -> None:
    looked = 0

    def _load() -> Binding:
        nonlocal looked
        looked += 1
        raise ImportError("not today")

    for retry_s, times in ((3600.0, 1), (0.0, 3)):
        looked, nvml = 0, Nvml(retry_s, binding=_load)
        with capture_logs() as said:
            assert [nvml.read({1: "cuda:0"}) for _ in range(3)] == [Reading()] * 3
        assert (looked, len(said)) == (times, 1)

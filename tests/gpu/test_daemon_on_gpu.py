"""A real daemon with real tiny.en on a GPU: what it takes, what it hears, what it does without one."""

import os
import signal
import time
from pathlib import Path

import jiwer
import pytest

from gpu import cards
from support.daemon import Daemon, running
from support.invariants import tell
from support.wait import eventually

pytestmark = [
    pytest.mark.skipif(bool(cards.missing()), reason=cards.missing()),
    pytest.mark.model,
    pytest.mark.timeout(900),
]


def heard(daemon: Daemon, speech: Path) -> tuple[str, float]:
    """The words of all recordings, and the seconds that they took."""
    began = time.monotonic()
    texts = [cards.transcribed(daemon, clip.read_bytes())[0]["text"] for clip in sorted(speech.glob("*.wav"))]
    return cards.words(" ".join(texts)), time.monotonic() - began


def test_auto_takes_the_gpu_and_hears_there_what_a_cpu_hears(speech: Path) -> None:
    with running(config=cards.config()) as daemon:
        pool = cards.pool_of(daemon.ready(timeout=cards.READY_S))
        (ready,) = cards.logged(daemon, "worker.ready")
        there, seconds = heard(daemon, speech)
        log = daemon.log.read_text()
    with running(config=cards.config().replace('"auto"', '"cpu"')) as daemon:
        daemon.ready()
        here, more = heard(daemon, speech)

    assert (pool["device"], pool["compute_type"], pool["fallback"]) == (cards.KIND, cards.USUAL, "")
    assert ready["device"].startswith(cards.KIND)
    assert f"pools.default: device is {cards.KIND}" in log
    assert "worker.died" not in log
    assert jiwer.wer(here, there) < 0.1
    tell(
        f"all recordings: {seconds:.2f} s on {ready['device']}, {more:.2f} s on the CPU; loaded in {ready['start_s']} s"
    )


def test_its_memory_is_what_operators_are_shown(speech: Path) -> None:
    card = cards.Card()
    with running(config=cards.config()) as daemon:
        pid = cards.pid_of(daemon.ready(timeout=cards.READY_S))
        told = card.of(pid)
        if told is None:
            pytest.skip("the driver does not tell the memory of a process: another pid namespace, or WSL2")
        shown = eventually(lambda: daemon.workers()[0]["vram_bytes"], 30)
    assert abs(shown - told) < cards.SLACK


@pytest.mark.parametrize("wanted", ["int8_float16", "float32", "int8"])
def test_another_compute_type_without_losing_a_job(speech: Path, wanted: str) -> None:
    clip = cards.joined(speech)
    with running(config=cards.config()) as daemon:
        before, _ = cards.transcribed(daemon.ready(timeout=cards.READY_S), clip)
        answer = daemon.ask("set_pool", pool="default", settings={"compute_type": wanted})
        assert answer["type"] == "done", answer
        during, _ = cards.transcribed(daemon, clip)

        def renewed() -> bool:
            pool = cards.pool_of(daemon)
            return bool(pool["ready"] == pool["workers"] and not pool["behind"])

        eventually(renewed, cards.READY_S)
        pool = cards.pool_of(daemon)
        after, _ = cards.transcribed(daemon, clip)

    assert (pool["compute_type"], pool["change_fault"]) == (wanted, "")
    for text in (during["text"], after["text"]):
        assert jiwer.wer(cards.words(before["text"]), cards.words(text)) < 0.1


def test_windows_at_once(speech: Path) -> None:
    clip = cards.joined(speech, times=2)
    with running(config=cards.config("[pools.default.options]", 'batch_size = "auto"')) as daemon:
        alone, _ = cards.transcribed(daemon.ready(timeout=cards.READY_S), clip, options={"batch_size": 0})
        several, run = cards.transcribed(daemon, clip)

    assert run["work"]["batches"] >= 1
    assert run["work"]["batch_rows"] > run["work"]["batches"], "more than one window at once"
    assert not several.get("warnings")
    assert jiwer.wer(cards.words(alone["text"]), cards.words(several["text"])) < 0.1


def test_two_workers_on_one_gpu_and_one_of_them_is_killed(speech: Path) -> None:
    clip = cards.joined(speech)
    card = cards.Card()
    meter = cards.Meter(card)
    with running(config=cards.config("workers = 2")) as daemon:
        daemon.ready(timeout=cards.READY_S)
        first, second = (worker["pid"] for worker in daemon.workers())
        assert first != second
        os.kill(first, signal.SIGKILL)
        assert cards.transcribed(daemon, clip)[0]["text"].strip()
        eventually(lambda: not card.lists(first), 30)
        eventually(lambda: daemon.ask("stats")["workers"]["ready"] == 2, cards.READY_S)
        assert len({said["device"] for said in cards.logged(daemon, "worker.ready")}) == 1
    eventually(meter.back, 30)


@pytest.mark.skipif(cards.found().gpus < 2, reason="needs two GPUs")
def test_each_of_several_gpus_has_a_worker(speech: Path) -> None:
    clip = sorted(speech.glob("*.wav"))[0].read_bytes()
    text = cards.config('workers = "auto"').replace("device_index = 0", 'device_index = "auto"')
    with running(config=text) as daemon:
        daemon.ready(timeout=cards.READY_S)
        devices = [said["device"] for said in cards.logged(daemon, "worker.ready")]
        assert cards.transcribed(daemon, clip)[0]["text"].strip()

    assert len(devices) == len(set(devices)) == cards.found().gpus


# --- without it -------------------------------------------------------------------------------------------------------


def test_when_all_are_hidden_the_pool_goes_on_on_the_cpu(speech: Path) -> None:
    clip = sorted(speech.glob("*.wav"))[0].read_bytes()
    text = cards.config('fallback = "cpu"').replace('"auto"', '"cuda"')
    with running(config=text, environ=cards.HIDDEN) as daemon:
        daemon.ready(timeout=cards.READY_S)
        pool = cards.pool_of(daemon)
        transcript, _ = cards.transcribed(daemon, clip)
        (fell,) = cards.logged(daemon, "pool.fell_back")

    assert (pool["device"], pool["compute_type"], pool["fallback"]) == ("cpu", "int8", "cpu")
    assert "on cuda as float16" in fell["fault"]
    assert transcript["text"].strip()


def test_what_is_hidden_from_one_pool_is_not_hidden_from_the_other(speech: Path) -> None:
    clip = sorted(speech.glob("*.wav"))[0].read_bytes()
    other = cards.config("[pools.default.env]", 'CUDA_VISIBLE_DEVICES = ""').replace("default", "other")
    with running(config=f"{cards.config()}\n{other}") as daemon:
        daemon.ready(timeout=cards.READY_S)
        texts = [cards.transcribed(daemon, clip, pool=name)[0]["text"] for name in ("default", "other")]
        devices = [cards.pool_of(daemon, name)["device"] for name in ("default", "other")]

    assert devices == [cards.KIND, "cpu"]
    assert jiwer.wer(*map(cards.words, texts)) < 0.1

"""What a run shall do, and the directory in which it is kept."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from msgspec.structs import replace

from asrd_lab.errors import LabError
from asrd_lab.plan import Clip, Plan, injected, playlist, recording
from asrd_lab.rows import jobs
from asrd_lab.store import Store, read_plan
from asrd_protocol.exits import Exit
from lab.measured import aged

PLAN = Plan(audio=[], engine="scripted")


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("leak=5MB,slow=1%/job", {"leak_mb_per_job": 5e6 / (1 << 20), "slow_per_job": 0.01}),
        ("leak=2MiB/job", {"leak_mb_per_job": 2.0}),
        ("slow=0.5%", {"slow_per_job": 0.005}),
        ("", {}),
    ],
)
def test_what_is_injected(text: str, settings: dict[str, float]) -> None:
    assert injected(text) == pytest.approx(settings)


@pytest.mark.parametrize("text", ["leak=5", "leak=MB", "slow=1", "rust=3%", "leak=-5MB", "slow=1%/jobs"])
def test_what_cannot_be_injected_is_named(text: str) -> None:
    with pytest.raises(LabError, match="expected leak=5MB or slow=1%/job") as raised:
        injected(text)
    assert raised.value.code is Exit.USAGE and text in str(raised.value)


def test_every_round_has_every_clip_and_seeds_give_orders() -> None:
    clips = [Clip(name=name) for name in "abcd"]
    found = playlist(clips, 10, seed=4)
    assert [Counter(clip.name for clip in found[i : i + 4]) for i in (0, 4)] == [Counter("abcd")] * 2
    assert len(found) == 10 and found == playlist(clips, 10, seed=4) != playlist(clips, 10, seed=5)


def test_rows_are_there_for_the_next_run(tmp_path: Path) -> None:
    first = Store(tmp_path, PLAN)
    for row in aged(jobs=5):
        first.add(row)
    first.close()
    second = Store(tmp_path, PLAN)
    assert (first.session, second.session) == (1, 2)
    assert second.missing("e4", 8) == [6, 7, 8] and second.missing("e2", 2) == [1, 2]
    assert jobs(second.rows, "e4") == aged(jobs=5)
    second.close()


def test_a_row_that_was_cut_off_is_done_again(tmp_path: Path) -> None:
    first = Store(tmp_path, PLAN)
    for row in aged(jobs=3):
        first.add(row)
    first.close()
    file = tmp_path / "jobs.jsonl"
    file.write_bytes(file.read_bytes()[:-20])
    second = Store(tmp_path, PLAN)
    assert second.missing("e4", 3) == [3]
    second.add(aged(jobs=3)[2])
    second.close()
    third = Store(tmp_path, PLAN)
    assert third.missing("e4", 3) == []
    third.close()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    Store(tmp_path, PLAN).close()
    (tmp_path / "jobs.jsonl").write_text('{"no": "row"}\n{"no": "row"}\n')
    with pytest.raises(LabError, match=r"jobs\.jsonl is damaged"):
        Store(tmp_path, PLAN)
    (tmp_path / "plan.json").write_text("[]")
    with pytest.raises(LabError, match=r"plan\.json is damaged"):
        read_plan(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"jobs": 61}, "--jobs was 60 and is now 61"),
        ({"compute_type": "int8"}, "--compute-type was 'default' and is now 'int8'"),
        ({"experiments": ("e1", "e4")}, "--experiments was e3,e4,e2,e1,pool,recycled and is now e1,e4"),
    ],
)
def test_another_plan_is_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    Store(tmp_path, PLAN).close()
    with pytest.raises(LabError) as raised:
        Store(tmp_path, replace(PLAN, **change))
    assert said in str(raised.value) and raised.value.code is Exit.USAGE


def test_other_audio_under_the_same_name_is_refused(tmp_path: Path) -> None:
    clip = tmp_path / "a.wav"
    clip.write_bytes(b"one")
    before = replace(PLAN, audio=[recording(clip)])
    Store(tmp_path / "r", before).close()
    clip.write_bytes(b"two")
    with pytest.raises(LabError, match="the audio is not the same as before"):
        Store(tmp_path / "r", replace(PLAN, audio=[recording(clip)]))


def test_a_directory_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "3.wav").write_bytes(b"mine")
    with pytest.raises(LabError, match="is not empty and has no run of the lab") as raised:
        Store(tmp_path, PLAN)
    assert raised.value.code is Exit.USAGE
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["clips", "clips/3.wav"]


def test_only_a_directory_that_was_made_for_it_is_taken_away(tmp_path: Path) -> None:
    for there in (True, False):
        directory = tmp_path / str(there)
        if there:
            directory.mkdir()
        Store(directory, PLAN).discard()
        assert directory.exists() == there


def test_two_runs_do_not_share_a_directory(tmp_path: Path) -> None:
    first = Store(tmp_path, PLAN)
    with pytest.raises(LabError, match="another run") as raised:
        Store(tmp_path, PLAN)
    assert raised.value.code is Exit.TEMPFAIL
    first.close()


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    script = (
        "import resource, sys; from pathlib import Path; from asrd_lab.store import Store\n"
        "from asrd_lab.plan import Plan; from asrd_lab.errors import LabError; from lab.measured import aged\n"
        f"store = Store(Path({str(tmp_path)!r}), Plan(audio=[], engine='scripted'))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))\n"
        "try: [store.add(row) for row in aged(jobs=9)]\n"
        "except LabError as error: sys.stdout.write(f'{error.code.name} {error}'); store.close()\n"
    )
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={"PYTHONPATH": str(tests)}
    )
    assert done.stdout == f"IO {tmp_path} cannot be written: File too large", done.stderr
    again = Store(tmp_path, PLAN)
    assert 1 <= len(again.rows) < 9, "what the disk took is there"
    again.close()


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty.wav"
    empty.touch()
    for path, said in ((tmp_path / "no.wav", "there is no file"), (empty, "is empty"), (tmp_path, "cannot be read")):
        with pytest.raises(LabError, match=said) as raised:
            recording(path)
        assert str(path) in str(raised.value)

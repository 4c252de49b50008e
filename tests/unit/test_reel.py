"""Segments in the order of the audio, although chunks are transcribed side by side."""

import asyncio
import random

import pytest

from asrd_supervisor.feed import Feed
from asrd_supervisor.reel import Reel
from asrd_supervisor.sources import Body

A, B, C = 3, 4, 5


@pytest.fixture
def reel() -> Reel:
    """Of a job that was cut in three."""
    made = Reel()
    made.divide([A, B, C])
    for step in (A, B, C):
        made.begin(step, 1)
    return made


def seen(reel: Reel) -> str:
    return b"".join(bytes(body) for body in reel.shown).decode()


def test_a_job_with_one_step_shows_each_segment_as_it_comes() -> None:
    reel = Reel()
    reel.begin(0, 1)
    assert reel.add(0, 1, 0, b"a") == [b"a"]
    assert reel.add(0, 1, 1, b"b") == [b"b"]
    assert seen(reel) == "ab"


def test_a_job_with_one_step_begins_anew_with_each_try() -> None:
    reel = Reel()
    reel.begin(0, 1)
    reel.add(0, 1, 0, b"a")
    reel.begin(0, 2)
    assert seen(reel) == ""
    assert reel.add(0, 1, 0, b"late") == []
    assert reel.add(0, 2, 0, b"x") == [b"x"]
    assert seen(reel) == "x"


def test_what_comes_too_early_is_shown_when_its_turn_comes(reel: Reel) -> None:
    assert reel.add(B, 1, 0, b"c") == []
    assert reel.add(A, 1, 0, b"a") == [b"a"]
    assert reel.add(B, 1, 1, b"d") == []
    assert reel.add(A, 1, 1, b"b") == [b"b"]
    assert reel.end(A) == [b"c", b"d"]
    assert reel.add(B, 1, 2, b"e") == [b"e"]
    assert seen(reel) == "abcde"


def test_chunks_that_ended_long_ago_come_all_at_once(reel: Reel) -> None:
    for step, body in ((C, b"c"), (B, b"b")):
        reel.add(step, 1, 0, body)
        assert reel.end(step) == []
    reel.add(A, 1, 0, b"a")
    assert reel.end(A) == [b"b", b"c"]
    assert reel.end(C) == [], "nothing is shown twice"
    assert seen(reel) == "abc"


def test_a_chunk_without_a_word_does_not_stop_the_reel(reel: Reel) -> None:
    reel.end(B)
    reel.add(C, 1, 0, b"c")
    assert reel.end(A) == [b"c"]


def test_only_the_foremost_chunk_is_shown_anew_when_it_is_tried_again(reel: Reel) -> None:
    reel.add(A, 1, 0, b"a")
    reel.end(A)
    reel.add(B, 1, 0, b"b")
    reel.add(C, 1, 0, b"c")
    reel.begin(B, 2)
    assert seen(reel) == "a"
    assert reel.add(B, 2, 0, b"B") == [b"B"]
    reel.begin(C, 2)
    assert seen(reel) == "aB"
    assert reel.end(B) == [], "what the first try of the next one said is forgotten"
    assert reel.add(C, 2, 0, b"C") == [b"C"]


@pytest.mark.parametrize(("attempt", "index"), [(2, 0), (0, 0), (1, 1), (1, 5)])
def test_segments_of_another_try_or_after_a_gap_are_left_out(reel: Reel, attempt: int, index: int) -> None:
    assert reel.add(A, attempt, index, b"?") == []
    assert reel.segments_of(A) == []
    assert seen(reel) == ""


def test_steps_that_give_no_segments_are_none_of_its_business(reel: Reel) -> None:
    for step in (1, 2, 99):
        reel.begin(step, 1)
        assert reel.add(step, 1, 0, b"?") == []
        assert reel.end(step) == []
        reel.restore(step, [b"?"])
        assert reel.segments_of(step) == []
    assert seen(reel) == ""


def test_a_cut_forgets_what_the_whole_has_said() -> None:
    reel = Reel()
    reel.begin(0, 1)
    reel.add(0, 1, 0, b"old")
    reel.divide([A, B])
    assert seen(reel) == ""
    assert reel.add(0, 1, 1, b"late") == []
    reel.begin(A, 1)
    assert reel.add(A, 1, 0, b"a") == [b"a"]


def test_what_was_kept_is_shown_after_a_restart_up_to_the_first_chunk_that_is_not_done() -> None:
    reel = Reel()
    reel.divide([A, B, C])
    reel.restore(A, [b"a", b"b"])
    reel.restore(C, [b"d"])
    assert seen(reel) == "ab"
    reel.begin(B, 3)
    assert reel.add(B, 3, 0, b"c") == [b"c"]
    assert reel.end(B) == [b"d"]
    assert [len(reel.segments_of(step)) for step in (A, B, C)] == [2, 1, 1]


def test_the_order_in_which_chunks_are_restored_does_not_matter() -> None:
    reel = Reel()
    reel.divide([A, B, C])
    for step, body in ((C, b"c"), (A, b"a"), (B, b"b")):
        reel.restore(step, [body])
    assert seen(reel) == "abc"


@pytest.mark.parametrize("seed", range(50))
def test_whatever_the_order_a_follower_that_puts_each_segment_at_its_index_has_the_text(seed: int) -> None:
    """Chunks side by side, tried again now and then; somebody who was there from the start, and the reel itself."""
    dice = random.Random(seed)
    steps = list(range(3, 3 + dice.randint(1, 6)))
    texts = {step: [f"{step}.{at} ".encode() for at in range(dice.randint(0, 4))] for step in steps}
    reel, follower = Reel(), dict[int, Body]()
    loop = asyncio.new_event_loop()
    feed = Feed(loop, lambda index, _, body: follower.update({index: body}) is None, 0)
    reel.divide(steps)
    at, tries = dict.fromkeys(steps, 0), dict.fromkeys(steps, 1)
    for step in steps:
        reel.begin(step, 1)
    open_steps = list(steps)
    while open_steps:
        step = dice.choice(open_steps)
        if dice.random() < 0.1:
            tries[step] += 1
            at[step] = 0
            reel.begin(step, tries[step])
        elif at[step] < len(texts[step]):
            reel.add(step, tries[step], at[step], texts[step][at[step]])
            at[step] += 1
        else:
            reel.end(step)
            open_steps.remove(step)
        feed.show(reel.shown, tries[step])
    loop.close()
    wanted = [body for step in steps for body in texts[step]]
    assert reel.shown == wanted
    assert [follower[index] for index in range(len(wanted))] == wanted

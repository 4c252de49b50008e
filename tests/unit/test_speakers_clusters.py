"""Clusters of voices: what they are, how many, and what a long recording costs."""

import tracemalloc
from collections.abc import Generator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrd_worker.speakers import clusters
from asrd_worker.speakers.clusters import Bounds, centroids, cut, dendrogram, joined
from asrd_worker.speakers.lite import nearest, refined, smooth

Vectors = npt.NDArray[np.float32]

SIZE = 24


def unit(vectors: npt.NDArray[Any]) -> Vectors:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def people(counts: list[int], seed: int = 0, spread: float = 0.1, size: int = SIZE) -> tuple[Vectors, list[int]]:
    """Voices of as many people, in a random order, and whose each is."""
    rng = np.random.default_rng(seed)
    own = unit(rng.standard_normal((len(counts), size)))
    own = unit(np.linalg.qr(own.T)[0].T) if len(counts) <= size else own
    whose = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    return unit(own[whose] + spread * rng.standard_normal((len(whose), size))), whose.tolist()


def result(work: Generator[None, None, Vectors]) -> Vectors:
    while True:
        try:
            next(work)
        except StopIteration as end:
            found: Vectors = end.value
            return found


def labels(voices: Vectors, bounds: Bounds) -> list[int]:
    found: list[int] = nearest(voices, result(centroids(voices, bounds))).tolist()
    return found


def same_parts(one: list[int], other: list[int]) -> bool:
    """Whether two lists of labels mean the same groups."""
    pairs = set(zip(one, other, strict=True))
    return len(pairs) == len(set(one)) == len(set(other))


def slowly(voices: Vectors, threshold: float) -> list[int]:
    """Average linkage as it is defined: again and again join the two groups whose members are most alike on average."""
    groups = [[number] for number in range(len(voices))]
    likeness = voices.astype(float) @ voices.astype(float).T
    while len(groups) > 1:
        pairs = [(likeness[np.ix_(a, b)].mean(), i, j) for i, a in enumerate(groups) for j, b in enumerate(groups[:i])]
        best, i, j = max(pairs)
        if best < threshold:
            break
        groups[j] += groups.pop(i)
    return [next(number for number, group in enumerate(groups) if member in group) for member in range(len(voices))]


@given(st.integers(2, 14), st.integers(0, 10_000), st.floats(-0.3, 0.9))
def test_the_chain_finds_what_the_definition_says(count: int, seed: int, threshold: float) -> None:
    voices = unit(np.random.default_rng(seed).standard_normal((count, 5)))
    merges = dendrogram(voices.astype(float), np.ones(count))
    wanted = [merge for merge in merges if merge.similarity >= threshold]

    assert same_parts(joined(count, wanted).tolist(), slowly(voices, threshold))


@given(st.lists(st.sampled_from([0, 1, 2]), min_size=1, max_size=40))
def test_equal_voices_do_not_make_it_run_for_ever(whose: list[int]) -> None:
    voices = unit(np.random.default_rng(3).standard_normal((3, SIZE)))[whose]
    merges = dendrogram(voices.astype(float), np.ones(len(whose)))

    assert len(merges) == len(whose) - 1
    likeness = [merge.similarity for merge in merges]
    assert likeness == sorted(likeness, reverse=True)
    assert same_parts(joined(len(whose), [merge for merge in merges if merge.similarity > 0.99]).tolist(), whose)


def test_a_weighted_start_is_as_if_its_members_had_been_merged_before() -> None:
    voices, _ = people([6, 5, 4], spread=0.4)
    groups = np.repeat(np.arange(5), 3)
    sums = np.stack([voices[groups == one].astype(float).sum(axis=0) for one in range(5)])
    top = dendrogram(sums, np.full(5, 3.0))[0]
    pairs = {(a, b): float((voices[groups == a] @ voices[groups == b].T).mean()) for a in range(5) for b in range(a)}
    best = max(pairs, key=lambda pair: pairs[pair])

    assert {top.kept, top.gone} == set(best)
    assert top.similarity == pytest.approx(pairs[best], abs=1e-6)


@settings(max_examples=40)
@given(st.lists(st.integers(5, 30), min_size=1, max_size=8), st.integers(0, 1000))
def test_each_has_a_cluster_when_nobody_says_how_many_there_are(counts: list[int], seed: int) -> None:
    voices, whose = people(counts, seed)

    assert same_parts(labels(voices, Bounds()), whose)


@settings(max_examples=80)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.integers(1, 10), st.integers(0, 5), st.integers(0, 99))
def test_the_bounds_are_kept(counts: list[int], low: int, more: int, seed: int) -> None:
    voices, _ = people(counts, seed, spread=0.25)
    found = result(centroids(voices, Bounds(low=low, high=low + more)))

    assert min(low, len(voices)) <= len(found) <= low + more
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)


def test_a_number_that_is_known_beats_the_threshold() -> None:
    voices, whose = people([20, 20, 20], spread=0.2, seed=2)

    assert len(result(centroids(voices, Bounds(threshold=0.99)))) != 3
    for threshold in (0.0, 0.99):
        assert len(result(centroids(voices, Bounds(low=3, high=3, threshold=threshold)))) == 3
    assert len(result(centroids(voices, Bounds(low=1, high=2)))) == 2
    assert len(result(centroids(voices, Bounds(low=4, high=9)))) == 4
    assert len(set(whose)) == 3


def test_a_cough_is_no_speaker() -> None:
    voices, whose = people([30, 30, 2])
    found = labels(voices, Bounds())

    assert len(set(found)) == 2
    assert cut(dendrogram(voices.astype(float), np.ones(62)), np.ones(62), Bounds()) == 59, "it stays by itself"
    kept = [number for number, one in enumerate(whose) if one != 2]
    assert same_parts([found[number] for number in kept], [whose[number] for number in kept])
    assert len(result(centroids(voices, Bounds(low=3)))) == 3, "unless somebody says that there are three"


def test_in_a_short_recording_one_window_may_be_a_speaker() -> None:
    voices, whose = people([6, 1])

    assert same_parts(labels(voices, Bounds()), whose)


def test_the_cut_is_as_near_to_the_threshold_as_it_may() -> None:
    voices, _ = people([10, 10, 10, 10], spread=0.05)
    merges = dendrogram(voices.astype(float), np.ones(40))

    assert cut(merges, np.ones(40), Bounds()) == 36
    assert cut(merges, np.ones(40), Bounds(low=2, high=2)) == 38
    assert cut(merges, np.ones(40), Bounds(low=1, high=1)) == 39


def test_hours_take_little_memory_and_come_out_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    voices, whose = people([4000, 3000, 300], spread=0.12, size=48)
    monkeypatch.setattr(clusters, "LIMIT", 300)
    tracemalloc.start()
    work = centroids(voices, Bounds())
    pauses = 0
    try:
        while True:
            next(work)
            pauses += 1
    except StopIteration as end:
        found = end.value
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert same_parts(nearest(voices, found).tolist(), whose)
    assert pauses > 25, "it pauses after each block"
    assert peak < 8 * voices.nbytes, "a whole matrix would take 400 MB"


def test_no_block_is_left_over_in_which_strangers_would_have_to_merge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "LIMIT", 100)
    voices, whose = people([51, 50], spread=0.05)

    assert same_parts(labels(voices, Bounds()), whose)


# --- before and after -------------------------------------------------------------------------------------------------


def test_neighbours_are_smoothed_within_a_stretch_only() -> None:
    voices = np.eye(6, dtype=np.float32)
    found = smooth(voices, [1, 3, 2])

    assert found[0].tolist() == voices[0].tolist()
    assert np.flatnonzero(found[1]).tolist() == [1, 2]
    assert np.flatnonzero(found[2]).tolist() == [1, 2, 3]
    assert np.flatnonzero(found[3]).tolist() == [2, 3]
    assert np.flatnonzero(found[4]).tolist() == [4, 5]
    assert np.linalg.norm(found, axis=1) == pytest.approx(1)
    assert smooth(voices[:1], [1]).tolist() == voices[:1].tolist()


def test_a_speaker_is_the_mean_of_who_is_nearest() -> None:
    voices, whose = people([30, 30], spread=0.2)
    apart = np.stack([voices[whose.index(0)], voices[whose.index(1)], -voices[0]])
    found = refined(voices, apart)

    for one in (0, 1):
        mean = voices[np.array(whose) == one].mean(axis=0)
        assert found[one] @ mean / np.linalg.norm(mean) == pytest.approx(1, abs=1e-4)
    assert found[2].tolist() == pytest.approx(apart[2].tolist()), "who has no window stays"

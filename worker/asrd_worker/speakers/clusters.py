"""Which windows are of one voice: agglomerative clustering with average linkage over cosine similarity.

The algorithm is the nearest-neighbour chain (Murtagh, "A survey of recent advances in hierarchical clustering
algorithms", 1983; Müllner, arXiv:1109.2378): quadratic in time, and exact because average linkage is reducible. A
cluster is known by the sum of its vectors and their number, since the mean similarity of two clusters is the product
of their sums over the product of their numbers.

That is what keeps long audio small. The matrix of similarities has at most LIMIT rows: more windows than that are
first merged within blocks of neighbours, the most similar first, until a quarter is left, as often as it takes.
Windows overlap by three quarters, so these are merges of what is nearly the same; and in the end each window goes to
the nearest speaker, whatever it was merged with. The time all of this takes is linear in the number of windows.
"""

from collections.abc import Generator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from asrd_worker.speakers.voices import Vectors

LIMIT = 2_000
"""Clusters that are compared with each other at a time: 32 MB of similarities."""

SHRINK = 4
"""So many windows of a block are one cluster afterwards."""

Numbers = npt.NDArray[np.float64]
Labels = npt.NDArray[np.intp]


class Bounds(NamedTuple):
    """How many speakers there may be, and what makes one."""

    low: int = 1
    high: int = 64
    threshold: float = 0.38
    """Clusters whose mean cosine is at least this are of one voice."""
    smallest: int = 4
    """Windows of a speaker, at least; in short audio a tenth of all windows."""


class Merge(NamedTuple):
    """Two clusters become one, which keeps the lower name."""

    kept: int
    gone: int
    similarity: float
    """Mean cosine over all pairs of their members."""


def centroids(voices: Vectors, bounds: Bounds) -> Generator[None, None, Vectors]:
    """The voice of each speaker: n > 0 vectors of unit length to (speakers, d) such vectors.

    There are as many as the bounds allow and the windows give: never more than ``high``, and fewer than ``low`` only
    when there are fewer windows. Yields after each second of work or sooner.
    """
    sums, counts = voices.astype(np.float64), np.ones(len(voices))
    while len(sums) > LIMIT:
        blocks = np.array_split(np.arange(len(sums)), -(-len(sums) // LIMIT))
        parts = []
        for block in blocks:
            merges = dendrogram(sums[block], counts[block])
            groups = joined(len(block), merges[: len(block) - len(block) // SHRINK])
            parts.append((_added(sums[block], groups), _added(counts[block], groups)))
            yield
        sums, counts = np.concatenate([one for one, _ in parts]), np.concatenate([one for _, one in parts])
    merges = dendrogram(sums, counts)
    groups = joined(len(sums), merges[: cut(merges, counts, bounds)])
    yield
    sizes = _added(counts, groups)
    largest = np.sort(np.argsort(-sizes, kind="stable")[: speakers(sizes, len(voices), bounds)])
    return unit(_added(sums, groups)[largest])


def dendrogram(sums: Numbers, counts: Numbers) -> list[Merge]:
    """All merges of n clusters into one, the most similar first; (n, d) sums of vectors, (n,) their numbers."""
    similarity = (sums @ sums.T) / np.outer(counts, counts)
    similarity = np.maximum(similarity, similarity.T)  # by rounding it could matter who asks
    np.fill_diagonal(similarity, -np.inf)
    counts = counts.copy()
    merges: list[Merge] = []
    chain: list[int] = []
    while len(merges) < len(counts) - 1:
        if not chain:
            chain.append(0)
        top = chain[-1]
        nearest = int(np.argmax(similarity[top]))
        if len(chain) > 1 and similarity[top, chain[-2]] >= similarity[top, nearest]:
            merges.append(_merge(similarity, counts, *sorted((chain.pop(), chain.pop()))))
        else:
            chain.append(nearest)
    return sorted(merges, key=lambda merge: -merge.similarity)


def _merge(similarity: Numbers, counts: Numbers, kept: int, gone: int) -> Merge:
    """Write the row of the new cluster over that of the one, and strike out the other."""
    merge = Merge(kept, gone, float(similarity[kept, gone]))
    one, other = similarity[kept], similarity[gone]
    mean = (counts[kept] * one + counts[gone] * other) / (counts[kept] + counts[gone])
    mean = np.clip(mean, np.minimum(one, other), np.maximum(one, other))  # else rounding lets a chain bite its tail
    mean[[kept, gone]] = -np.inf
    similarity[kept] = similarity[:, kept] = mean
    similarity[gone] = similarity[:, gone] = -np.inf
    counts[kept] += counts[gone]
    return merge


def joined(size: int, merges: list[Merge]) -> Labels:
    """The group of each of ``size`` clusters after these merges, numbered from 0 without gaps."""
    group = np.arange(size)
    for merge in merges:
        group[merge.gone] = merge.kept
    for number in range(size):  # the lower name is final by then
        group[number] = group[group[number]]
    return np.unique(group, return_inverse=True)[1].reshape(-1)


def cut(merges: list[Merge], counts: Numbers, bounds: Bounds) -> int:
    """How many of the merges to do: those above the threshold, if that gives a number of speakers that may be.

    Otherwise the nearest number that may be, in the way that leaves the fewest windows without a speaker.
    """
    wished = sum(merge.similarity >= bounds.threshold for merge in merges)
    for smallest in range(_smallest(counts.sum(), bounds), 0, -1):
        found, covered = _large(merges, counts, smallest)
        wanted = min(max(int(found[wished]), bounds.low), bounds.high)
        if found[wished] == wanted:
            return wished
        fit = np.flatnonzero(found == wanted)
        if fit.size:
            return int(min(fit, key=lambda number: (-covered[number], abs(number - wished))))
    return 0


def speakers(sizes: Numbers, windows: int, bounds: Bounds) -> int:
    """How many of the clusters of these sizes are speakers."""
    large = int((sizes >= _smallest(windows, bounds)).sum())
    return min(max(large, bounds.low), bounds.high, len(sizes))


def _smallest(windows: float, bounds: Bounds) -> int:
    return min(bounds.smallest, max(1, round(0.1 * windows)))


def _large(merges: list[Merge], counts: Numbers, smallest: int) -> tuple[Labels, Numbers]:
    """After no merge, the first, the first two, ...: how many clusters have so many members, and how many in all."""
    sizes = counts.copy()
    large = sizes >= smallest
    found, covered = [int(large.sum())], [float(sizes[large].sum())]
    for kept, gone, _ in merges:
        apart = [size for size in (sizes[kept], sizes[gone]) if size >= smallest]
        sizes[kept] += sizes[gone]
        now = [size for size in (sizes[kept],) if size >= smallest]
        found.append(found[-1] + len(now) - len(apart))
        covered.append(covered[-1] + sum(now) - sum(apart))
    return np.array(found), np.array(covered)


def _added(rows: Numbers, groups: Labels) -> Numbers:
    """Rows of one group added up."""
    total = np.zeros((int(groups.max()) + 1, *rows.shape[1:]))
    np.add.at(total, groups, rows)
    return total


def unit(vectors: Numbers | Vectors) -> Vectors:
    """Rows of length 1; one that is 0 stays so."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)

"""What a job should take a healthy worker: seconds as a sum over the work that was counted.

Latencies of different clips cannot be compared, but latencies for the same work can. A job costs something fixed, so
much for each encoder window, and so much for each decoding step, of which sampled ones are dearer than those of the
beam. The four coefficients are fitted to the jobs of young workers by non-negative least squares on relative errors.
With four unknowns that needs no iteration: the optimum is the ordinary solution on some subset of them, and there are
fifteen.
"""

from collections import deque
from collections.abc import Sequence
from itertools import combinations
from math import isfinite, log, sqrt
from statistics import median

import msgspec

from asrd_protocol.model import Work

LEAST_S = 1e-3
"""No job is predicted to take less, so that ratios to predictions are finite."""

SHORTEST_S = 1e-6
"""What took less was not measured."""

NOTHING = 1e-6
"""The share of a time that stands for a prediction of zero in a ratio."""

MANY = 200
"""Jobs that a profile remembers."""

BATCH = 20
"""New jobs from one fit to the next; until the first there are no costs."""

OUTLIER = log(2.0)
"""A job is left out of the second fit when it took twice, or half, what the first one says, beside
the others."""

OUTLIERS = 0.1
"""Only that share of the jobs can be outliers: if more are, the costs have another form than we think."""

FEW = 3
"""With fewer fallbacks than this a sampled step is taken to cost what one of the beam does. The first jobs of a pool
often have none, and later ones must not look slow for it."""

SINGULAR = 1e-10
"""A pivot of the scaled normal equations below it means that two kinds of work always came together."""

Row = tuple[float, ...]
Sample = tuple[Work, float]


class Costs(msgspec.Struct, frozen=True):
    """Seconds of each kind of work."""

    fixed: float
    window: float
    beam_step: float
    sample_step: float

    def predict(self, work: Work) -> float:
        """Seconds that so much work should take, at least a millisecond."""
        return max(LEAST_S, _dot(_row(work), msgspec.structs.astuple(self)))


class Profile:
    """What the last jobs of young workers have taught."""

    def __init__(self) -> None:
        self.costs: Costs | None = None
        self._samples: deque[Sample] = deque(maxlen=MANY)
        self._fresh = 0

    def learn(self, work: Work, wall: float) -> None:
        """A young worker took so many seconds for that; times that cannot be are passed over."""
        if not _usable(wall):
            return
        self._samples.append((work, wall))
        self._fresh += 1
        if self._fresh == BATCH:
            self._fresh = 0
            self.costs = fit(self._samples) or self.costs


def fit(samples: Sequence[Sample]) -> Costs | None:
    """The costs that explain the times best, relatively, with outliers left out; None when too little is known."""
    known = sorted((_row(work), wall) for work, wall in samples if _usable(wall))  # sums of floats depend on the order
    first = _solve(known)
    if first is None:
        return None
    return _solve(_without_outliers(known, first)) or first


def _row(work: Work) -> Row:
    return (1.0, float(work.windows), float(work.beam_steps), float(work.sample_steps))


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def _usable(wall: float) -> bool:
    return isfinite(wall) and wall >= SHORTEST_S


def _without_outliers(known: Sequence[tuple[Row, float]], costs: Costs) -> list[tuple[Row, float]]:
    """Those that the costs miss like the others: a few that were quick pull a relative fit down for all."""
    coefficients = msgspec.structs.astuple(costs)
    missed = [(log(wall / max(_dot(row, coefficients), NOTHING * wall)), row, wall) for row, wall in known]
    usual = median(miss for miss, _, _ in missed)
    ranked = sorted((abs(miss - usual), row, wall) for miss, row, wall in missed)
    least = len(known) - int(OUTLIERS * len(known))
    return [(row, wall) for i, (miss, row, wall) in enumerate(ranked) if i < least or miss <= OUTLIER]


# --- non-negative least squares ---------------------------------------------------------------------------------------


def _solve(known: Sequence[tuple[Row, float]]) -> Costs | None:
    """The non-negative costs with the least sum of squared relative errors.

    Exact, because the optimum is the ordinary least-squares solution on the costs that are not zero. Costs that cannot
    be told apart (all clips had one window) have many optima; the first subset that reaches one is taken, and those
    that blame the work come before ``fixed``.
    """
    if len(known) < 2:
        return None
    merged = sum(row[-1] > 0 for row, _ in known) < FEW
    rows = [[much / wall for much in (_merged(row) if merged else row)] for row, wall in known]
    size = len(rows[0])
    gram = [[sum(row[i] * row[j] for row in rows) for j in range(size)] for i in range(size)]
    target = [sum(row[i] for row in rows) for i in range(size)]
    best, explained = [0.0] * size, 0.0
    for chosen in _subsets(size):
        solution = _on(chosen, gram, target)
        if solution is None or min(solution) < 0:
            continue
        reach = _dot([target[i] for i in chosen], solution)
        if reach > explained + 1e-9 * len(known):
            best, explained = _spread(chosen, solution, size), reach
    if merged:
        best.append(best[-1])
    return Costs(*best) if explained else None


def _merged(row: Row) -> Row:
    """The features with all steps as one."""
    *others, beam_steps, sample_steps = row
    return (*others, beam_steps + sample_steps)


def _subsets(size: int) -> list[tuple[int, ...]]:
    """All that are not empty, small ones first, and those of the last features first."""
    order = range(size - 1, -1, -1)
    return [chosen for count in range(1, size + 1) for chosen in combinations(order, count)]


def _spread(chosen: tuple[int, ...], solution: list[float], size: int) -> list[float]:
    costs = dict(zip(chosen, solution, strict=True))
    return [costs.get(i, 0.0) for i in range(size)]


def _on(chosen: tuple[int, ...], gram: list[list[float]], target: list[float]) -> list[float] | None:
    """The least-squares solution with these features only, or None when they are not independent."""
    scale = {i: sqrt(gram[i][i]) for i in chosen}
    if not all(scale.values()):
        return None
    left = [[gram[i][j] / (scale[i] * scale[j]) for j in chosen] for i in chosen]
    solution = _eliminate([[*row, target[i] / scale[i]] for i, row in zip(chosen, left, strict=True)])
    return solution and [one / scale[i] for i, one in zip(chosen, solution, strict=True)]


def _eliminate(matrix: list[list[float]]) -> list[float] | None:
    """Gauss and Jordan, with pivoting, on equations with their right sides; None when they are singular."""
    size = len(matrix)
    for i in range(size):
        pivot = max(range(i, size), key=lambda row: abs(matrix[row][i]))
        if abs(matrix[pivot][i]) < SINGULAR:
            return None
        matrix[i], matrix[pivot] = matrix[pivot], matrix[i]
        for row in range(size):
            if row != i:
                share = matrix[row][i] / matrix[i][i]
                matrix[row] = [a - share * b for a, b in zip(matrix[row], matrix[i], strict=True)]
    return [matrix[i][size] / matrix[i][i] for i in range(size)]

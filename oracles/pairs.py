"""Pairs of different segments, all equally likely."""

import math

import numpy as np

from preflab.errors import InvalidArgument
from preflab.types import IntArray, SegmentIndex


def distinct_pairs(candidates: SegmentIndex, n: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Returns (n,) rows of both sides: different segments, no unordered pair twice, all equally likely."""
    rows = different_rows(candidates)
    total = math.comb(len(rows), 2)
    if not 0 <= n <= total:
        rule = f"must be at most {total}, the number of pairs among {len(rows)} different segments"
        raise InvalidArgument("n", rule, n)
    if n == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    code = rng.choice(total, size=n, replace=False)  # pair (i, j), i < j, has code j (j − 1) / 2 + i
    j = ((1 + np.sqrt(1 + 8 * code.astype(np.float64))) / 2).astype(np.int64)
    j -= j * (j - 1) // 2 > code  # the root of a large code may round across an integer
    j += j * (j + 1) // 2 <= code
    i = code - j * (j - 1) // 2
    is_swapped = rng.random(n) < 0.5
    return rows[np.where(is_swapped, j, i)], rows[np.where(is_swapped, i, j)]


def different_rows(candidates: SegmentIndex) -> IntArray:
    """Returns the rows of different segments, each segment once, in the order given."""
    names = np.stack([candidates.trajectory, candidates.start], axis=1)
    return np.sort(np.unique(names, axis=0, return_index=True)[1]).astype(np.int64)

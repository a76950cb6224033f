"""Sums over trajectories of what sampled distances are made of."""

from __future__ import annotations

import numpy as np

from preflab.types import FloatArray, IntArray


def pair_products(x: FloatArray, groups: IntArray, n_groups: int) -> FloatArray:
    """Returns (G, m, m) sums over the points of each group of the mean over pairs of different draws of x_j x_kᵀ, for (B, K, m) x.

    [(Σ_j x_j)(Σ_j x_j)ᵀ − Σ_j x_j x_jᵀ] / (K (K − 1)), which estimates E[x] E[x]ᵀ without bias; with one draw, x xᵀ.
    """
    n_draws = x.shape[1]
    total = x.sum(1)
    products = grouped(total, total, groups, n_groups)
    if n_draws == 1:
        return products
    flat = x.reshape(-1, x.shape[-1])
    alone = grouped(flat, flat, np.repeat(groups, n_draws), n_groups)
    return np.asarray((products - alone) / (n_draws * (n_draws - 1)))


def grouped(x: FloatArray, y: FloatArray, groups: IntArray, n_groups: int) -> FloatArray:
    """Returns (G, m, n) sums of x yᵀ over the rows of each group."""
    order = np.argsort(groups, kind="stable")
    cuts = np.cumsum(np.bincount(groups, minlength=n_groups))[:-1]
    return np.stack([a.T @ b for a, b in zip(np.split(x[order], cuts), np.split(y[order], cuts), strict=True)])

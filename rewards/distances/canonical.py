"""Canonical forms of rewards in a finite MDP, exact: what is left of R(s, a, s') when what no policy notices is removed.

Potential shaping adds γΦ(s') − Φ(s); S'-redistribution changes R(s, a, ·) and keeps its mean over s' ~ T(s, a). Both leave every
policy's return what it was, up to a constant, and with positive scaling nothing else does (Skalse et al. 2024, "STARC", ICLR,
https://arxiv.org/abs/2309.15257). Scaling is left to `starc`.

Every function takes rewards (…, S, A, S) with any leading axes and returns as many canonical forms; all are linear. V and Φ of
terminals are 0, and their rows come out 0: nothing is done there. EPIC and DARD were published without terminals, and read the
rewards of all rows as they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from preflab.errors import InvalidArgument
from preflab.tabular import Dynamics
from preflab.types import FloatArray


def none(rewards: FloatArray, dynamics: Dynamics) -> FloatArray:
    """Returns R itself, the control: only scaling is removed, by what comes after."""
    return _real_rows(_checked(rewards, dynamics), dynamics)


def epic(
    rewards: FloatArray, dynamics: Dynamics, states: FloatArray | None = None, actions: FloatArray | None = None
) -> FloatArray:
    """Returns R + γ p(s') − p(s) − γ E_{S ~ D_S} p(S), p(s) = E_{A ~ D_A, S' ~ D_S} R(s, A, S').

    Gleave et al. 2021, section 4 (https://arxiv.org/abs/2006.13900). Looks at steps that cannot happen.

    Args:
        rewards: (…, S, A, S).
        dynamics: S states, A actions, γ; transitions are not read.
        states: (S,) D_S; None is uniform.
        actions: (A,) D_A; None is uniform.
    """
    rewards = _checked(rewards, dynamics)
    d_states, d_actions = _distribution(states, dynamics.n_states, "states"), _distribution(actions, dynamics.n_actions, "actions")
    p = np.einsum("...ijk,j,k->...i", rewards, d_actions, d_states)
    mean = dynamics.gamma * (p @ d_states)
    return _real_rows(shaped_by(rewards, p, dynamics.gamma) - mean[..., None, None, None], dynamics)


def dard(rewards: FloatArray, dynamics: Dynamics, actions: FloatArray | None = None) -> FloatArray:
    """Returns R + γ E R(s', A, S'') − E R(s, A, S') − γ E R(S', A, S''), A ~ D_A, S' ~ T(s, A), S'' ~ T(s', A).

    Wulfe et al. 2022 (https://arxiv.org/abs/2201.10081): one A in all three means, and the last of them is about steps
    from S' to S'' that may not be possible.

    Args:
        rewards: (…, S, A, S).
        dynamics: T and γ.
        actions: (A,) D_A; None is uniform.
    """
    rewards = _checked(rewards, dynamics)
    d_actions = _distribution(actions, dynamics.n_actions, "actions")
    p = np.einsum("...ijk,ijk,j->...i", rewards, dynamics.transitions, d_actions)
    by_action = np.moveaxis(dynamics.transitions, 1, 0)
    crossed = by_action @ np.moveaxis(rewards, -2, -3) @ np.moveaxis(by_action, 1, 2)
    met = np.einsum("...jik,j->...ik", crossed, d_actions)
    return _real_rows(shaped_by(rewards, p, dynamics.gamma) - dynamics.gamma * met[..., None, :], dynamics)


def val(rewards: FloatArray, dynamics: Dynamics, policy: FloatArray | None = None) -> FloatArray:
    """Returns E_{s' ~ T(s, a)}[R + γ V^π(s') − V^π(s)] at every s', the advantage of π: value-adjusted levelling.

    Skalse et al. 2024, section 3, there with any fixed π.

    Args:
        rewards: (…, S, A, S).
        dynamics: T and γ.
        policy: (S, A) π; None is uniform.
    """
    mean = expected(rewards, dynamics)
    values = policy_values(mean, dynamics, policy)
    return _real_rows(np.repeat(_levelled(mean, values, dynamics)[..., None], dynamics.n_states, -1), dynamics)


def val_potential(rewards: FloatArray, dynamics: Dynamics, policy: FloatArray | None = None) -> FloatArray:
    """Returns R + γ V^π(s') − V^π(s): `val` without the mean over s', so that S'-redistribution stays (released code of STARC)."""
    values = policy_values(expected(rewards, dynamics), dynamics, policy)
    return _real_rows(shaped_by(_checked(rewards, dynamics), values, dynamics.gamma), dynamics)


def minimal(rewards: FloatArray, dynamics: Dynamics) -> FloatArray:
    """Returns the reward of least L2 norm among all that shaping and S'-redistribution make of R.

    With b_sa(Φ) = E_T[R + γΦ(s') − Φ(s)], the least reward at fixed Φ is b_sa T(·|s, a) / ‖T_sa‖², so that Φ makes
    Σ_sa b_sa² / ‖T_sa‖² least: one least-squares problem (minimal canonicalization, Skalse et al. 2024, section 3).
    """
    size = np.linalg.norm(dynamics.transitions, axis=-1)
    left = _least_squares(expected(rewards, dynamics), dynamics, 1 / size)
    return _real_rows((left / size**2)[..., None] * dynamics.transitions, dynamics)


def minimal_weighted(rewards: FloatArray, dynamics: Dynamics) -> FloatArray:
    """Returns the reward of least transition-weighted norm √Σ T(s'|s, a) R² in the class of `minimal`: constant in s'.

    Its value b_sa(Φ) is the residual of the least squares of E_T[R] on Φ(s) − γ E_T Φ(s').
    """
    left = _least_squares(expected(rewards, dynamics), dynamics, np.ones(dynamics.transitions.shape[:2]))
    return _real_rows(np.repeat(left[..., None], dynamics.n_states, -1), dynamics)


def minimal_potential(rewards: FloatArray, dynamics: Dynamics) -> FloatArray:
    """Returns the reward of least L2 norm that potential shaping alone makes of R; S'-redistribution stays.

    Φ solves the least squares of R(s, a, s') on Φ(s) − γΦ(s'), in which a plays no part, so that R is averaged over it.
    """
    rewards = _checked(rewards, dynamics)
    goes_on = ~dynamics.terminal
    eye = np.eye(dynamics.n_states)[:, goes_on]
    design = (dynamics.gamma * eye[None] - eye[:, None])[goes_on]
    target = rewards.mean(-2)[..., goes_on, :]
    potential = _solved(design.reshape(-1, design.shape[-1]), target.reshape(*target.shape[:-2], -1), dynamics)
    return _real_rows(shaped_by(rewards, potential, dynamics.gamma), dynamics)


CANONICAL: Mapping[str, Callable[[FloatArray, Dynamics], FloatArray]] = {
    "none": none, "epic": epic, "dard": dard, "val": val, "val_potential": val_potential, "minimal": minimal,
    "minimal_weighted": minimal_weighted, "minimal_potential": minimal_potential,
}


def expected(rewards: FloatArray, dynamics: Dynamics) -> FloatArray:
    """Returns (…, S, A) means of R over next states; 0 in terminals."""
    mean = np.einsum("...ijk,ijk->...ij", _checked(rewards, dynamics), dynamics.transitions)
    return np.where(dynamics.terminal[:, None], 0.0, mean)


def policy_values(mean: FloatArray, dynamics: Dynamics, policy: FloatArray | None = None) -> FloatArray:
    """Returns V^π = (I − γ P_π)⁻¹ r_π, (…, S), of expected rewards (…, S, A); `policy` is (S, A) or None, uniform."""
    shape = (dynamics.n_states, dynamics.n_actions)
    chosen = np.full(shape, 1 / shape[1]) if policy is None else np.asarray(policy, dtype=np.float64)
    if chosen.shape != shape or (chosen < 0).any() or not np.allclose(chosen.sum(-1), 1):
        raise InvalidArgument("policy", f"must be {shape}, probabilities that sum to 1 over actions", chosen.shape)
    flow = np.einsum("ij,ijk->ik", chosen, dynamics.transitions)
    flow[dynamics.terminal], flow[:, dynamics.terminal] = 0.0, 0.0
    system = np.eye(shape[0]) - dynamics.gamma * flow
    return np.asarray(np.linalg.solve(system, (mean * chosen).sum(-1)[..., None])[..., 0])


def shaped_by(rewards: FloatArray, potential: FloatArray, gamma: float) -> FloatArray:
    """Returns R + γΦ(s') − Φ(s), (…, S, A, S), for potentials (…, S)."""
    return np.asarray(rewards + gamma * potential[..., None, None, :] - potential[..., :, None, None])


def _levelled(mean: FloatArray, potential: FloatArray, dynamics: Dynamics) -> FloatArray:
    """Returns b_sa(Φ) = E_T[R + γΦ(s') − Φ(s)], (…, S, A); Φ of terminals is 0."""
    after = np.einsum("ijk,...k->...ij", dynamics.transitions, potential)
    return np.asarray(mean + dynamics.gamma * after - potential[..., None])


def _least_squares(mean: FloatArray, dynamics: Dynamics, weight: FloatArray) -> FloatArray:
    """Returns b_sa(Φ), (…, S, A), at the Φ that makes Σ (weight_sa b_sa)² least."""
    goes_on = ~dynamics.terminal
    design = dynamics.gamma * dynamics.transitions - np.eye(dynamics.n_states)[:, None]
    rows = (weight[..., None] * design)[goes_on][..., goes_on]
    target = (weight * mean)[..., goes_on, :]
    potential = _solved(rows.reshape(-1, rows.shape[-1]), target.reshape(*target.shape[:-2], -1), dynamics)
    return _levelled(mean, potential, dynamics)


def _solved(design: FloatArray, target: FloatArray, dynamics: Dynamics) -> FloatArray:
    """Returns Φ, (…, S), that makes ‖target + design Φ‖ least for (…, n) targets; 0 in terminals."""
    flat = target.reshape(-1, target.shape[-1])
    found = np.zeros((len(flat), dynamics.n_states))
    found[:, ~dynamics.terminal] = -np.linalg.lstsq(design, flat.T, rcond=None)[0].T
    return found.reshape(*target.shape[:-1], dynamics.n_states)


def _checked(rewards: FloatArray, dynamics: Dynamics) -> FloatArray:
    array, shape = np.asarray(rewards, dtype=np.float64), dynamics.transitions.shape
    if array.shape[-3:] != shape:
        raise InvalidArgument("rewards", f"must end in (S, A, S) = {shape}", array.shape)
    if not np.isfinite(array).all():
        raise InvalidArgument("rewards", "must be finite", f"{int((~np.isfinite(array)).sum())} entries that are not")
    return array


def _real_rows(canonical: FloatArray, dynamics: Dynamics) -> FloatArray:
    return np.where(dynamics.terminal[:, None, None], 0.0, canonical)


def _distribution(given: FloatArray | None, n: int, name: str) -> FloatArray:
    found = np.full(n, 1 / n) if given is None else np.asarray(given, dtype=np.float64)
    if found.shape != (n,) or (found < 0).any() or not np.isclose(found.sum(), 1):
        raise InvalidArgument(name, f"must be ({n},) probabilities that sum to 1", found)
    return found

"""Exact planning on finite MDPs, by linear solves and iteration on arrays: the ground truth of every other method.

Conventions: S states, A actions; `transitions` (S, A, S) rows sum to 1; `rewards` (S, A, S); `terminal` (S,) states
have value 0 and are left only by a reset.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from preflab.errors import InvalidArgument
from preflab.types import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Dynamics:
    """A finite MDP without its reward: what a learner may be given to plan with.

    Attributes:
        transitions: (S, A, S) P(s' | s, a).
        gamma: discount in [0, 1).
        terminal: (S,) true terminals.
        initial: (S,) distribution of the first state.
    """

    transitions: FloatArray
    gamma: float
    terminal: BoolArray
    initial: FloatArray

    def __post_init__(self) -> None:
        shape = self.transitions.shape
        if len(shape) != 3 or shape[0] != shape[2]:
            raise InvalidArgument("transitions", "must be (S, A, S)", shape)
        if not np.allclose(self.transitions.sum(-1), 1.0, atol=1e-12) or (self.transitions < 0).any():
            rule = "must be probabilities that sum to 1 over next states"
            raise InvalidArgument("transitions", rule, self.transitions.sum(-1))
        if not 0 <= self.gamma < 1:
            raise InvalidArgument("gamma", "must be in [0, 1)", self.gamma)
        if self.terminal.shape != shape[:1] or self.terminal.dtype != np.bool_:
            raise InvalidArgument("terminal", "must be (S,) of bool", (self.terminal.shape, self.terminal.dtype))
        if self.initial.shape != shape[:1] or not np.isclose(self.initial.sum(), 1.0) or (self.initial < 0).any():
            raise InvalidArgument("initial", "must be (S,) probabilities that sum to 1", self.initial)

    @property
    def n_states(self) -> int:
        """S."""
        return int(self.transitions.shape[0])

    @property
    def n_actions(self) -> int:
        """A."""
        return int(self.transitions.shape[1])


@dataclass(frozen=True, eq=False)
class TabularMDP:
    """A finite MDP.

    Attributes:
        transitions: (S, A, S) P(s' | s, a).
        rewards: (S, A, S) r(s, a, s').
        gamma: discount in [0, 1).
        terminal: (S,) true terminals.
        initial: (S,) distribution of the first state.
    """

    transitions: FloatArray
    rewards: FloatArray
    gamma: float
    terminal: BoolArray
    initial: FloatArray

    def __post_init__(self) -> None:
        if self.rewards.shape != self.transitions.shape:
            rule = "must be (S, A, S) like transitions"
            raise InvalidArgument("rewards", rule, (self.transitions.shape, self.rewards.shape))
        self.dynamics()

    def dynamics(self) -> Dynamics:
        """Returns the MDP without its reward."""
        return Dynamics(self.transitions, self.gamma, self.terminal, self.initial)

    @property
    def n_states(self) -> int:
        """S."""
        return int(self.transitions.shape[0])

    @property
    def n_actions(self) -> int:
        """A."""
        return int(self.transitions.shape[1])

    def expected_rewards(self) -> FloatArray:
        """Returns (S, A) rewards averaged over next states; 0 in terminals."""
        mean = np.einsum("ijk,ijk->ij", self.transitions, self.rewards)
        return np.where(self.terminal[:, None], 0.0, mean)


def action_values(mdp: TabularMDP, values: FloatArray) -> FloatArray:
    """Returns Q(s, a) = r(s, a) + γ Σ P(s'|s,a) V(s'), (S, A), with V of terminals 0."""
    masked = np.where(mdp.terminal, 0.0, values)
    backup = mdp.expected_rewards() + mdp.gamma * mdp.transitions @ masked
    return np.where(mdp.terminal[:, None], 0.0, backup)


def evaluate_policy(mdp: TabularMDP, policy: FloatArray) -> FloatArray:
    """Returns V of `policy` (S, A) exactly, by one linear solve; (S,).

    >>> coin = TabularMDP(np.ones((1, 1, 1)), np.ones((1, 1, 1)), 0.5, np.array([False]), np.ones(1))
    >>> evaluate_policy(coin, np.ones((1, 1)))
    array([2.])
    """
    flow = np.einsum("ij,ijk->ik", policy, mdp.transitions)
    flow[mdp.terminal] = 0.0
    flow[:, mdp.terminal] = 0.0
    reward = np.einsum("ij,ij->i", policy, mdp.expected_rewards())
    return np.linalg.solve(np.eye(mdp.n_states) - mdp.gamma * flow, reward)


def optimal_values(mdp: TabularMDP) -> tuple[FloatArray, FloatArray]:
    """Returns (V*, Q*), (S,) and (S, A), exactly, by policy iteration (Howard 1960)."""
    policy = np.zeros(mdp.n_states, dtype=np.int64)
    for _ in range(10_000):
        values = evaluate_policy(mdp, np.eye(mdp.n_actions)[policy])
        q = action_values(mdp, values)
        best = q.max(-1)
        keep = q[np.arange(mdp.n_states), policy] >= best - 1e-12 * np.maximum(1.0, np.abs(best))
        improved = np.where(keep, policy, q.argmax(-1))
        if np.array_equal(improved, policy):
            return values, q
        policy = improved
    raise RuntimeError("policy iteration did not converge")  # finite MDPs always do


def optimal_actions(q: FloatArray, tolerance: float = 1e-9) -> BoolArray:
    """Returns (S, A): which actions are optimal up to `tolerance`, relative to the size of Q."""
    scale = max(1.0, float(np.abs(q).max()))
    return np.asarray(q >= q.max(-1, keepdims=True) - tolerance * scale)


def occupancy(mdp: TabularMDP, policy: FloatArray) -> FloatArray:
    """Returns the discounted state-action occupancy Σ_t γ^t P(s_t = s, a_t = a), (S, A); terminals are not occupied."""
    flow = np.einsum("ij,ijk->ik", policy, mdp.transitions)
    flow[mdp.terminal] = 0.0
    visits = np.linalg.solve(np.eye(mdp.n_states) - mdp.gamma * flow.T, mdp.initial)
    return np.where(mdp.terminal, 0.0, visits)[:, None] * policy


def shaped(mdp: TabularMDP, potential: npt.NDArray[np.float64]) -> TabularMDP:
    """Returns the MDP with r + γ Φ(s') − Φ(s), Φ(terminal) = 0: same optimal policies (Ng, Harada & Russell 1999)."""
    phi = np.where(mdp.terminal, 0.0, potential)
    rewards = mdp.rewards + mdp.gamma * phi[None, None, :] - phi[:, None, None]
    return TabularMDP(mdp.transitions, rewards, mdp.gamma, mdp.terminal, mdp.initial)


def greedy(q: FloatArray) -> IntArray:
    """Returns the first optimal action of each state, (S,)."""
    return np.asarray(q.argmax(-1), dtype=np.int64)

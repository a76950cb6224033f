"""A random finite MDP: small enough to solve exactly, irregular enough to show what a method gets wrong."""

import numpy as np
import numpy.typing as npt

from preflab import seeding
from preflab.envs import drawing
from preflab.tabular import TabularMDP
from preflab.types import FloatArray

N_STATES, N_ACTIONS, N_SUCCESSORS, GAMMA = 12, 4, 3, 0.95


def random_mdp(form: str, seed: int = 0) -> TabularMDP:
    """Returns a Garnet MDP (Archibald, McKinnon & Thomas 1995).

    Each (s, a) leads to three states with Dirichlet(1, 1, 1) probabilities, and r(s, a, s') ~ N(0, 1). In the
    terminating form the last state is terminal, in the fixed-horizon form it is a state like any other; all else is
    equal. The first state is uniform over the others.
    """
    rng = seeding.generator(seed, "random-mdp")
    transitions = np.zeros((N_STATES, N_ACTIONS, N_STATES))
    for state in range(N_STATES):
        for action in range(N_ACTIONS):
            after = rng.choice(N_STATES, N_SUCCESSORS, replace=False)
            transitions[state, action, after] = rng.dirichlet(np.ones(N_SUCCESSORS))
    rewards = rng.standard_normal((N_STATES, N_ACTIONS, N_STATES))
    terminal = np.zeros(N_STATES, dtype=np.bool_)
    if form == "terminating":
        terminal[-1] = True
        transitions[-1] = 0.0
        transitions[-1, :, -1] = 1.0
        rewards[-1] = 0.0
    initial = np.full(N_STATES, 1.0 / (N_STATES - 1))
    initial[-1] = 0.0
    return TabularMDP(transitions, rewards, GAMMA, terminal, initial)


def random_mdp_factors(form: str) -> FloatArray:
    """Returns (S, A, S, 1): the reward itself is the only factor."""
    return random_mdp(form).rewards[..., None]


def picture(state: int, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Returns the states on a circle, the present one filled, (height, width, 3)."""
    return drawing.ring(N_STATES, state, width, height)

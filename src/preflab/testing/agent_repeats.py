"""Laws of agents about states, seeds, actions and files; `check_agent` of `agents` checks them all."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from preflab.errors import Refused
from preflab.storage import load_tensors
from preflab.testing.laws import SaysNothing, hold
from preflab.testing.trials import AgentCase, MakeAgent, TrainableAgent, some_obs, state_difference, trained, untrained
from preflab.types import AnyArray


def law_equal_agents_train_alike(make: MakeAgent, case: AgentCase) -> None:
    """Two agents of one seed, trained with equal arguments, are equal to the bit."""
    one, other = (trained(make, case).agent.state() for _ in range(2))
    found = state_difference(one, other)
    hold(not found, f"two equal agents part in the same training: {found}")


def law_seeds_matter(make: MakeAgent, case: AgentCase) -> None:
    """Another seed gives other initial weights, and another seed of a training another end."""
    first = untrained(make, case).agent.state()
    is_same = not state_difference(first, untrained(make, case, seed=7).agent.state())
    hold(not is_same, "agents of different seeds begin with the same state")
    is_same = not state_difference(*(trained(make, case, train_seed=seed).agent.state() for seed in (1, 50)))
    hold(not is_same, "trainings of different seeds end with the same state")


def law_a_loaded_state_goes_on_alike(make: MakeAgent, case: AgentCase) -> None:
    """An agent of another seed that loads a state acts and trains on as the agent does that it was taken from."""
    original, loaded = trained(make, case), untrained(make, case, seed=9)
    loaded.agent.load_state(original.agent.state())
    found = state_difference(original.agent.state(), loaded.agent.state())
    hold(not found, f"a loaded state is another one: {found}")
    _hold_same_acts(original.agent, loaded.agent, "a loaded state")
    loaded.n_steps, loaded.n_calls = original.n_steps, original.n_calls
    for trial in (original, loaded):
        trial.train(case.n_env_steps)
    found = state_difference(original.agent.state(), loaded.agent.state())
    hold(not found, f"from a loaded state the same training leads elsewhere: {found}")
    _hold_same_acts(original.agent, loaded.agent, "a loaded state that was trained on")


def law_a_state_is_a_copy(make: MakeAgent, case: AgentCase) -> None:
    """A state that was taken, or loaded, keeps its numbers when the agent trains on."""
    trial = trained(make, case)
    taken = trial.agent.state()
    kept = {name: np.array(value) for name, value in taken.items()}
    trial.train(case.n_env_steps)
    found = state_difference(kept, taken)
    hold(not found, f"training changes a state that was taken before: {found}")
    trial.agent.load_state(taken)
    trial.train(case.n_env_steps)
    found = state_difference(kept, taken)
    hold(not found, f"training changes the state that was loaded: {found}")


def law_act_is_deterministic_without_generator(make: MakeAgent, case: AgentCase) -> None:
    """`act(obs)` gives equal actions however often it is called, and leaves the agent as it was."""
    agent = trained(make, case).agent
    before, acted = agent.state(), agent.act(some_obs())
    hold(np.array_equal(acted, agent.act(some_obs())), "two calls of act(obs) differ")
    agent.act(some_obs(), np.random.default_rng(0))
    hold(np.array_equal(acted, agent.act(some_obs())), "act(obs) differs after act(obs, rng)")
    hold(not state_difference(before, agent.state()), "acting changes the agent's state")


def law_act_follows_its_generator(make: MakeAgent, case: AgentCase) -> None:
    """Equal generators give equal actions, others give others, and one generator does not give the same twice."""
    agent, obs = trained(make, case).agent, some_obs(256)
    first, again, other = (agent.act(obs, np.random.default_rng(seed)) for seed in (0, 0, 1))
    hold(np.array_equal(first, again), "equal generators give different actions")
    if all(np.array_equal(acted, agent.act(obs)) for acted in (first, other)):
        raise SaysNothing("the agent acts the same with and without a generator")
    hold(not np.array_equal(first, other), "different generators give the same actions")
    rng = np.random.default_rng(0)
    hold(not np.array_equal(agent.act(obs, rng), agent.act(obs, rng)), "the generator is not drawn from, only read")


def law_actions_are_legal(make: MakeAgent, case: AgentCase) -> None:
    """`act` returns (N, *act) actions of the action space's dtype and within its bounds, for any N and far observations."""
    agent, space = trained(make, case).agent, case.action_space
    for obs in (some_obs(200), some_obs(1), 100 * some_obs(200)):
        for rng in (None, np.random.default_rng(0)):
            acted = np.asarray(agent.act(obs, rng))
            expected = (len(obs), *(space.shape or ()))
            hold(acted.shape == expected, f"actions for {len(obs)} observations are {acted.shape}, not {expected}")
            kind = np.integer if case.is_discrete else np.floating
            hold(np.issubdtype(acted.dtype, kind), f"actions are {acted.dtype}, in {space}")
            illegal = [action for action in acted.astype(space.dtype) if not space.contains(action)]
            hold(not illegal, f"{len(illegal)} of {len(acted)} actions are outside {space}, such as {illegal[:1]}")


def law_act_is_the_policy_in_training(make: MakeAgent, case: AgentCase) -> None:
    """Inside `on_rollout`, `act` is the policy as just updated: not the initial one, not the one before the update."""
    acts: list[AnyArray] = []

    def look(agent: TrainableAgent, info: Any) -> None:
        acts.append(np.array(agent.act(some_obs(), np.random.default_rng(0))))

    trial = trained(make, case, on_rollout=look)
    if not acts:
        raise SaysNothing("on_rollout was never called")
    after = trial.agent.act(some_obs(), np.random.default_rng(0))
    hold(np.array_equal(acts[-1], after), "what the agent does inside the last on_rollout is not what it does afterward")


def law_kl_to_itself_is_zero(make: MakeAgent, case: AgentCase) -> None:
    """`kl_to(state(), obs)` is exactly 0; to the untrained policy it is positive. (N,), finite."""
    start = untrained(make, case).agent.state()
    agent, obs = trained(make, case).agent, some_obs()
    try:
        own, other = np.asarray(agent.kl_to(agent.state(), obs)), np.asarray(agent.kl_to(start, obs))
    except Refused as refusal:
        raise SaysNothing(str(refusal)) from refusal
    for kl in (own, other):
        hold(kl.shape == (len(obs),), f"KL at {len(obs)} observations is {kl.shape}")
        hold(bool(np.isfinite(kl).all()), "KL is not finite")
    worst = float(np.abs(own).max())
    hold(worst == 0.0, f"KL to the agent's own policy is {worst:.2g}, not 0")
    hold(bool((other >= 0).all()), f"KL to the untrained policy is negative: {other.min():.2g}")
    hold(bool(other.max() > 0), "KL to the untrained policy is 0 after training")


def law_a_saved_policy_opens_in_sb3(make: MakeAgent, case: AgentCase) -> None:
    """SB3's own class loads what `save` writes, and its deterministic actions are the agent's.

    Where the agent standardizes observations, `<stem>.vecnormalize.safetensors` beside it holds `mean` and `var`.
    """
    if case.sb3_class is None:
        raise SaysNothing("no class of SB3 was given")
    agent, obs = trained(make, case).agent, some_obs()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.zip"
        agent.save(path)
        hold(path.is_file(), "save wrote no file at the path it was given")
        model = case.sb3_class.load(path, device="cpu")
        shown, beside = obs, path.with_name("policy.vecnormalize.safetensors")
        if beside.is_file():
            kept = load_tensors(beside)
            scaled = (obs - kept["mean"].numpy()) / np.sqrt(kept["var"].numpy() + 1e-8)
            shown = np.clip(scaled, -10, 10).astype(np.float32)
        predicted = model.predict(shown, deterministic=True)[0]
    worst = float(np.abs(np.asarray(agent.act(obs), np.float64) - predicted).max())
    hold(worst < 1e-5, f"the saved policy acts up to {worst:.3g} otherwise than the agent")


def _hold_same_acts(one: TrainableAgent, other: TrainableAgent, what: str) -> None:
    for is_sampled in (False, True):
        first, second = (
            agent.act(some_obs(), np.random.default_rng(0) if is_sampled else None) for agent in (one, other)
        )
        hold(np.array_equal(first, second), f"{what} acts otherwise")


LAWS = (
    law_equal_agents_train_alike, law_seeds_matter, law_a_loaded_state_goes_on_alike,
    law_a_state_is_a_copy, law_act_is_deterministic_without_generator, law_act_follows_its_generator, law_actions_are_legal,
    law_act_is_the_policy_in_training, law_kl_to_itself_is_zero, law_a_saved_policy_opens_in_sb3,
)

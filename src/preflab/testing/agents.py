"""Laws that every agent keeps, as plain functions: `check_agent(make)` for your own.

A law takes a factory `make(make_vec, seed) -> agent` and how the agent is to be tried (`AgentCase`). It trains small
agents in an environment that writes down what happens (`tape`), and raises `LawBroken` with the figures if it is broken,
or `SaysNothing` if it does not apply. A factory should make small agents: a law trains for `n_env_steps`, which should
hold two updates or more, and `law_the_proxy_moves_the_policy` for `n_learning_steps`. This file has what an agent is
trained on; `agent_repeats` has what it then is: states, seeds, actions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from preflab.testing import agent_repeats
from preflab.testing.laws import LawBroken, SaysNothing, checked, global_states, hold
from preflab.testing.tape import Source, Tape, likes_high_actions, likes_low_actions, likes_matches
from preflab.testing.trials import AgentCase, MakeAgent, Trial, probe, some_obs, state_difference, trained
from preflab.types import AnyArray

Law = Callable[[MakeAgent, AgentCase], None]
LEAST_MOVE = 0.2  # of the width of the action space, between the ends of two trainings on opposite proxies


def check_agent(make: MakeAgent, case: AgentCase | None = None, laws: dict[str, Law] | None = None) -> dict[str, str]:
    """Checks every law of `AGENT_LAWS` (or those given); raises `LawBroken` at the first one broken.

    Args:
        make: returns a new, untrained, small agent from (make_vec, seed).
        case: how the agent is tried; by default on-policy with continuous actions.
        laws: by name.

    Returns:
        The laws that say nothing of this agent, each with the reason.
    """
    tried = AgentCase() if case is None else case

    def bound(law: Law) -> Callable[[], None]:
        return lambda: law(make, tried)

    return checked({name: bound(law) for name, law in (AGENT_LAWS if laws is None else laws).items()})


def law_every_transition_is_scored(make: MakeAgent, case: AgentCase) -> None:
    """The proxy is asked about every step that was taken (exactly once, if on-policy), and about nothing else."""
    trial = trained(make, case)
    asked = [obs.tobytes() for obs in trial.source.rows().obs]
    taken = {row[0].tobytes() for row in trial.tape.rows}
    n_foreign = sum(obs not in taken for obs in asked)
    hold(n_foreign == 0, f"the proxy is asked about {n_foreign} of {len(asked)} steps that nobody took")
    n_missing = len(taken - set(asked))
    hold(n_missing == 0, f"the proxy is never asked about {n_missing} of {len(taken)} steps")
    n_again = len(asked) - len(set(asked)) if case.is_on_policy else 0
    hold(n_again == 0, f"the proxy is asked about {n_again} of {len(taken)} steps more than once")


def law_next_observations_are_true(make: MakeAgent, case: AgentCase) -> None:
    """A transition's next observation is the one that its step led to: at an end the final one, not the next first."""
    trial = trained(make, case)
    told, n_wrong, n_wrong_ends, n_ends = trial.source.rows().next_obs, 0, 0, 0
    for i, row in _matched(trial):
        is_wrong = not np.array_equal(told[i], row[2])
        n_ends += row[3] or row[4]
        n_wrong += is_wrong
        n_wrong_ends += is_wrong and (row[3] or row[4])
    if not n_ends:
        raise SaysNothing("no episode ended: raise case.n_env_steps")
    hold(n_wrong == 0, f"{n_wrong} next observations are wrong, {n_wrong_ends} of them at the {n_ends} ends of episodes")


def law_a_time_limit_is_no_termination(make: MakeAgent, case: AgentCase) -> None:
    """The proxy is told `terminated` where an episode truly ended, and not where a time limit cut it."""
    trial = trained(make, case)
    told = trial.source.rows().terminated
    cuts, ends = ([i for i, row in _matched(trial) if row[which]] for which in (4, 3))
    if not cuts or not ends:
        raise SaysNothing("no episode was cut, or none ended: raise case.n_env_steps")
    hold(not told[cuts].any(), f"{told[cuts].sum()} of {len(cuts)} steps that a time limit cut are called terminal")
    hold(bool(told[ends].all()), f"{(~told[ends]).sum()} of {len(ends)} true ends are not called terminal")
    others = np.delete(told, [*cuts, *ends])
    hold(not others.any(), f"{others.sum()} of {len(others)} steps inside an episode are called terminal")


def law_actions_scored_are_those_taken(make: MakeAgent, case: AgentCase) -> None:
    """The proxy is told the action that the environment got, in the environment's units."""
    trial = trained(make, case)
    rows = trial.source.rows()
    expected = (len(rows), *(case.action_space.shape or ()))
    hold(rows.actions.shape == expected, f"the proxy is told actions of shape {rows.actions.shape}, not {expected}")
    worst = max((float(np.abs(rows.actions[i] - row[1]).max(initial=0.0)) for i, row in _matched(trial)), default=0.0)
    hold(worst < 1e-5, f"an action that the proxy is told is {worst:.3g} from the one that the environment got")


def law_the_env_gets_legal_actions(make: MakeAgent, case: AgentCase) -> None:
    """Every action that the environment gets while the agent trains is in the action space."""
    taken = [row[1] for row in trained(make, case).tape.rows]
    outside = [action for action in taken if not case.action_space.contains(action)]
    hold(not outside, f"{len(outside)} of {len(taken)} actions are outside {case.action_space}, such as {outside[:1]}")


def law_rewards_of_the_env_change_nothing(make: MakeAgent, case: AgentCase) -> None:
    """Whatever the environment itself pays, noise or NaN, changes no bit of the agent."""
    _hold_lies_change_nothing(make, case, "pays")


def law_infos_of_the_env_change_nothing(make: MakeAgent, case: AgentCase) -> None:
    """Whatever the environment tells in infos, noise or NaN, changes no bit of the agent."""
    _hold_lies_change_nothing(make, case, "tells")


def law_the_proxy_moves_the_policy(make: MakeAgent, case: AgentCase) -> None:
    """Equal agents trained on opposite proxies act as each proxy likes; paid by what it sees, an agent acts by what it sees.

    Mean deterministic actions over many observations differ by a fifth of the action space's width at least. An agent
    that ignores the proxy, or gives rewards to other steps than they are for, does not get there.
    """
    high, low = (
        float(likes_high_actions(probe(trained(make, case, n=case.n_learning_steps, pay=pay).agent)).mean())
        for pay in (likes_high_actions, likes_low_actions)
    )
    figures = f"mean action {high:.2f} where high ones are paid and {low:.2f} where low ones are, between -1 and 1"
    hold((high - low) / 2 >= LEAST_MOVE, f"{figures}: less than {LEAST_MOVE} of the width apart")
    probed = probe(trained(make, case, n=2 * case.n_learning_steps, pay=likes_matches).agent)
    acted, is_high = likes_high_actions(probed), probed.obs[:, 0] > 0
    high, low = float(acted[is_high].mean()), float(acted[~is_high].mean())
    figures = f"mean action {high:.2f} where what is seen makes high ones pay and {low:.2f} where low ones do"
    hold((high - low) / 2 >= LEAST_MOVE, f"{figures}: less than {LEAST_MOVE} of the width apart")


def law_steps_are_reported(make: MakeAgent, case: AgentCase) -> None:
    """Reports count the steps that the environment saw: at least those asked for; episodes too."""
    trial = trained(make, case)
    seen, told = len(trial.tape.rows), trial.report.n_env_steps
    hold(told == seen, f"the report counts {told} steps, the environments {seen}")
    hold(seen >= case.n_env_steps, f"{seen} steps were taken, {case.n_env_steps} asked for")
    hold(trial.report.n_episodes == trial.tape.n_episodes, f"{trial.report.n_episodes} episodes, not {trial.tape.n_episodes}")
    counted = [info.n_env_steps for info in trial.infos]
    is_right = counted == sorted(counted) and counted[-1:] in ([], [told])
    hold(is_right, f"on_rollout counts {counted} steps, the report {told}")


def law_false_stops_training(make: MakeAgent, case: AgentCase) -> None:
    """`on_rollout` returning False ends the training there, and the report says so."""
    n = 4 * case.n_env_steps
    trial = trained(make, case, n=n, on_rollout=lambda agent, info: False)
    hold(len(trial.tape.rows) < n, f"all {n} steps were taken although on_rollout returned False")
    hold(bool(trial.report.is_stopped), "the report does not say that on_rollout stopped the training")
    whole = trained(make, case)
    hold(not whole.report.is_stopped, "the report says that a whole training was stopped")


def law_a_broken_proxy_is_refused(make: MakeAgent, case: AgentCase) -> None:
    """Rewards that are not finite, or not one a step, raise; the agent is then as it was, and trains as if nothing had been."""
    clean = trained(make, case, n_calls=2)
    breaks_at = len(clean.source.asked) * 3 // 4 + 1
    trial = trained(make, case)
    before, n_asked = trial.agent.state(), len(trial.source.asked)
    for name, broken in {"NaN": _with_nan, "infinity": _with_infinity, "a column": _as_column, "one too few": _short}.items():
        try:
            trial.train(case.n_env_steps, Source(likes_matches, breaks_at - n_asked, broken))
        except Exception:  # whatever an agent refuses with
            found = state_difference(before, trial.agent.state())
            hold(not found, f"a proxy of {name} is refused, but the agent is no longer as it was: {found}")
        else:
            raise LawBroken(f"a proxy of {name} is taken")
    trial.train(case.n_env_steps)
    found = state_difference(clean.agent.state(), trial.agent.state())
    hold(not found, f"after proxies were refused, the agent trains otherwise: {found}")


def law_global_state_rests(make: MakeAgent, case: AgentCase) -> None:
    """No global generator moves; torch's number of threads stays, or is set to one, as parallelism is over seeds."""
    before, threads = global_states(), torch.get_num_threads()
    agent = trained(make, case).agent
    obs = some_obs()
    agent.act(obs)
    agent.act(obs, np.random.default_rng(0))
    agent.load_state(agent.state())
    moved = [name for name, state in global_states().items() if state != before[name]]
    hold(not moved, f"the agent moves the global generator of {', '.join(moved)}")
    now = torch.get_num_threads()
    hold(now in (threads, 1), f"the agent sets torch from {threads} to {now} threads")


def _matched(trial: Trial) -> list[tuple[int, tuple[Any, ...]]]:
    """Returns what was scored beside what happened: (row of the source's transitions, row of the tape)."""
    return [(i, found[0]) for i, obs in enumerate(trial.source.rows().obs) if (found := trial.tape.found(obs))]


def _hold_lies_change_nothing(make: MakeAgent, case: AgentCase, which: str) -> None:
    clean = trained(make, case).agent.state()
    for lie in ("noise", "nan"):
        tape = Tape(pays=lie) if which == "pays" else Tape(tells=lie)
        try:
            poisoned = trained(make, case, tape=tape).agent.state()
        except Exception as error:  # an agent that reads NaN may fail in any way
            raise LawBroken(f"training fails where the environment {which} {lie}: {error}") from error
        found = state_difference(clean, poisoned)
        hold(not found, f"the agent changes where the environment {which} {lie}: {found}")


def _with_nan(rewards: AnyArray) -> AnyArray:
    return np.where(np.arange(len(rewards)) == 0, np.nan, rewards).astype(np.float32)


def _with_infinity(rewards: AnyArray) -> AnyArray:
    return np.where(np.arange(len(rewards)) == 0, -np.inf, rewards).astype(np.float32)


def _as_column(rewards: AnyArray) -> AnyArray:
    return rewards[:, None]


def _short(rewards: AnyArray) -> AnyArray:
    return rewards[:-1]


AGENT_LAWS: dict[str, Law] = {
    law.__name__: law
    for law in (
        law_every_transition_is_scored, law_next_observations_are_true, law_a_time_limit_is_no_termination,
        law_actions_scored_are_those_taken, law_the_env_gets_legal_actions, law_rewards_of_the_env_change_nothing,
        law_infos_of_the_env_change_nothing, law_the_proxy_moves_the_policy, law_steps_are_reported,
        law_false_stops_training, law_a_broken_proxy_is_refused, law_global_state_rests,
        *agent_repeats.LAWS,
    )
}

"""How each task's expert is trained: one table, with sources."""

from __future__ import annotations

from dataclasses import dataclass, replace

from preflab.errors import UnknownName

_ZOO = "RL Baselines3 Zoo, hyperparams/ppo.yml, https://github.com/DLR-RM/rl-baselines3-zoo"
_OURS = "preflab: many environments, large minibatches, one core"


@dataclass(frozen=True)
class Preset:
    """PPO's settings for one task, and how large a critic it deserves.

    Attributes:
        steps: environment steps to train for.
        n_steps: steps of each of the `n_envs` environments in a rollout.
        batch_size: minibatch, in steps.
        learning_rate: at the start; it falls linearly to a tenth.
        gamma: discount.
        log_std: log standard deviation of actions at the start (Box actions only).
        critic_steps: gradient steps of the critic's fits.
        critic_gamma: discount of the critic where it is not the policy's own.
        critic_starts: states per quality from which the expert is followed for the critic.
        critic_trajectories: source trajectories per quality for the critic.
        target: episode return that counts as reached; below it the card says so.
        source: where the settings come from.
        train_form: form that the policy is trained in, where it is not the expert's own: what is best there is best
            here, and states that never pay again are left out of training.
    """

    steps: int
    n_steps: int
    batch_size: int
    target: float
    source: str
    n_envs: int = 16
    n_epochs: int = 5
    learning_rate: float = 2.5e-4
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    ent_coef: float = 0.0
    target_kl: float | None = None
    hidden: tuple[int, ...] = (64, 64)
    log_std: float = 0.0
    critic_starts: int = 200
    critic_trajectories: int = 20
    critic_hidden: tuple[int, ...] = (128, 128)
    critic_gamma: float | None = None
    critic_steps: int = 2000
    train_form: str | None = None


_HUMANOID = Preset(
    steps=3_200_000, n_steps=512, batch_size=512, target=1000.0, target_kl=0.03, hidden=(256, 256), log_std=-1.0,
    critic_starts=400, critic_trajectories=40, critic_hidden=(256, 256), source=_OURS,
)
_RUNNER = Preset(
    steps=2_000_000, n_steps=512, batch_size=512, target=4000.0, target_kl=0.05, learning_rate=3e-4, hidden=(128, 128),
    log_std=-1.0, critic_starts=200, critic_trajectories=20, source=_OURS,
)
_HALFCHEETAH = Preset(
    steps=2_000_000, n_envs=4, n_steps=128, batch_size=64, n_epochs=20, learning_rate=3e-5, gamma=0.98, gae_lambda=0.92,
    clip_range=0.1, ent_coef=4e-4, hidden=(256, 256), log_std=-2.0, target=4000.0,
    # The policy's own γ: under .95 the critic ranks a little better (.88, .87), because an expert's stumbles far ahead are
    # chaos, but a human who looks 20 steps ahead teaches worse than one who looks 50 ahead (docs/results.md).
    critic_starts=5000, critic_trajectories=400, critic_hidden=(256, 256), critic_steps=12_000,
    source=f"{_ZOO} (HalfCheetah-v4; four environments, twice the steps, a falling learning rate, tanh, SB3's loss weights)",
)
_WALKER = Preset(
    steps=2_000_000, n_envs=4, n_steps=512, batch_size=64, n_epochs=10, learning_rate=3e-4, target=2500.0,
    critic_starts=1000, critic_trajectories=100, critic_hidden=(256, 256),
    source="CleanRL, ppo_continuous_action.py, https://docs.cleanrl.dev/rl-algorithms/ppo (four environments, twice the steps)",
)
_HOPPER = replace(
    _WALKER, target=2000.0, critic_gamma=0.95, critic_starts=4000, critic_trajectories=400, critic_steps=6000,
)
_ANT = replace(
    _HUMANOID, steps=3_000_000, hidden=(128, 128), target=1500.0, critic_starts=500, critic_trajectories=50,
)
_PENDULUM = Preset(
    steps=200_000, n_steps=256, batch_size=256, n_epochs=10, learning_rate=1e-3, gamma=0.95, target=-200.0,
    source=f"{_ZOO} (Pendulum-v1; more environments, γ .95 instead of .9)",
)
_CARTPOLE = Preset(
    steps=200_000, n_steps=64, batch_size=256, n_epochs=10, learning_rate=1e-3, gamma=0.98, gae_lambda=0.8,
    target=250.0, source=f"{_ZOO} (CartPole-v1; twice the environments)",
)

# (task, form); form "fixed" stands for both where there is no row of its own.
PRESETS: dict[tuple[str, str], Preset] = {
    ("mujoco-humanoid", "fixed"): _HUMANOID,
    ("mujoco-humanoid", "terminating"): replace(_HUMANOID, steps=2_600_000, target=4500.0),
    ("mujoco-halfcheetah", "fixed"): _HALFCHEETAH,
    ("mujoco-hopper", "fixed"): replace(
        _HOPPER, target=500.0, train_form="terminating", critic_starts=1500, critic_trajectories=150, critic_steps=4000,
    ),
    ("mujoco-hopper", "terminating"): _HOPPER,
    ("mujoco-walker2d", "fixed"): replace(_WALKER, target=625.0, train_form="terminating"),
    ("mujoco-walker2d", "terminating"): replace(_WALKER, target=2500.0),
    ("mujoco-ant", "fixed"): replace(_ANT, target=375.0, train_form="terminating"),
    ("mujoco-ant", "terminating"): _ANT,
    ("mujoco-swimmer", "fixed"): replace(
        _WALKER, n_steps=1024, batch_size=256, learning_rate=6e-4, gamma=0.9999, gae_lambda=0.98, steps=1_000_000,
        target=200.0, source=f"{_ZOO} (Swimmer-v4; a falling learning rate)",
        # With γ .9999 a value is a thousand steps' sum, beside which what 25 steps lose is noise to a network.
        critic_gamma=0.99,
    ),
    ("mujoco-reacher", "fixed"): replace(  # every trajectory has its own target, so the critic needs many
        _RUNNER, steps=1_000_000, target=-6.0, critic_starts=2000, critic_trajectories=400,
    ),
    ("mujoco-inverted-pendulum", "fixed"): replace(
        _RUNNER, steps=300_000, hidden=(64, 64), target=250.0, train_form="terminating",
    ),
    ("mujoco-inverted-pendulum", "terminating"): replace(_RUNNER, steps=300_000, hidden=(64, 64), target=950.0),
    ("pendulum", "fixed"): _PENDULUM,
    ("cartpole", "fixed"): replace(_CARTPOLE, train_form="terminating"),
    ("cartpole", "terminating"): replace(_CARTPOLE, target=500.0),
    ("mountain-car-continuous", "fixed"): replace(_PENDULUM, gamma=0.99, target=90.0, log_std=1.0),
    ("mountain-car-continuous", "terminating"): replace(_PENDULUM, gamma=0.99, target=90.0, log_std=1.0),
}


def preset(task: str, form: str) -> Preset:
    """Returns the preset of `task` in `form`; raises `UnknownName` with the nearest names."""
    if (task, form) not in PRESETS:
        raise UnknownName("env, form", f"{task} {form}", [f"{name} {of}" for name, of in PRESETS])
    return PRESETS[task, form]

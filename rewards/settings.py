"""Settings of a learned reward, validated once."""

from __future__ import annotations

from dataclasses import dataclass

from preflab.errors import InvalidArgument, UnknownName
from preflab.networks import ACTIVATIONS

INPUTS = ("obs", "obs_action", "obs_action_next", "obs_action_delta")
DATA = ("shared", "bootstrap", "folds")
LIKELIHOODS = ("partial_return",)
PESSIMISM = ("mean",)


class FewComparisonsWarning(UserWarning):
    """A network is trained from very few comparisons; the message does the arithmetic."""


@dataclass(frozen=True, slots=True)
class RewardSettings:
    """What a reward ensemble is and how it is fitted.

    The defaults were chosen by accuracy on clean held-out pairs of two synthetic rewards, three seeds each (100 and 400
    Boltzmann answers of 85 % accuracy; 20 and 300 observations, of which at most 5 matter): "relu" and strong decay
    helped; leaving answers out to stop on measured no better than neither, but tells how far a fit can be trusted.

    Attributes:
        n_members: networks in the ensemble.
        hidden: widths of the hidden layers.
        activation: "tanh" or "relu".
        inputs: what a step's reward may depend on: "obs", "obs_action", "obs_action_next", or
            "obs_action_delta" (the change of the observation, standardized by itself).
        likelihood: what the learner assumes of the human; "partial_return" is Bradley-Terry on summed rewards.
        data: "shared" (every member sees all comparisons), "bootstrap" (each its own multinomial weights) or "folds"
            (each leaves out its own n-th of the comparisons).
        pessimism: how members become one number; "mean".
        learning_rate: AdamW's step size.
        weight_decay: AdamW's decoupled decay: a step shrinks weights by learning_rate · weight_decay, 1 % by default.
        n_epochs: passes over the comparisons, unless `max_steps` ends the fit first.
        max_steps: most gradient steps of one fit.
        batch_size: comparisons in a minibatch.
        label_smoothing: mass moved from each answer to ½; 0 trusts answers as given.
        input_noise: standard deviation of Gaussian noise on standardized inputs while training.
        early_stopping: keeps, of each fit, the weights at which the comparisons a member did not train on are predicted
            best; needs data "bootstrap" or "folds".
        warm_start: continues from the last fit's weights instead of fresh ones.
        freeze_scale: anchors the proxy on the first fit's anchor segments for good; False takes each fit's own.
        refit_inputs: standardizes a fresh network's inputs on the segments it is fitted to and the anchor; False keeps
            the first fit's statistics (a warm start always does).
    """

    n_members: int = 3
    hidden: tuple[int, ...] = (64, 64)
    activation: str = "relu"
    inputs: str = "obs_action"
    likelihood: str = "partial_return"
    data: str = "folds"
    pessimism: str = "mean"
    learning_rate: float = 1e-3
    weight_decay: float = 10.0
    n_epochs: int = 80
    max_steps: int = 400
    batch_size: int = 64
    label_smoothing: float = 0.0
    input_noise: float = 0.0
    early_stopping: bool = True
    warm_start: bool = False
    freeze_scale: bool = True
    refit_inputs: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(int(width) for width in self.hidden))
        for name, known in (
            ("activation", tuple(ACTIVATIONS)), ("inputs", INPUTS), ("likelihood", LIKELIHOODS), ("data", DATA),
            ("pessimism", PESSIMISM),
        ):
            if getattr(self, name) not in known:
                raise UnknownName(name, getattr(self, name), known)
        for name in ("n_members", "n_epochs", "max_steps", "batch_size"):
            if getattr(self, name) < 1:
                raise InvalidArgument(name, "must be at least 1", getattr(self, name))
        if not self.hidden or min(self.hidden) < 1:
            raise InvalidArgument("hidden", "must be one or more positive widths", self.hidden, "(64, 64)")
        if not self.learning_rate > 0:
            raise InvalidArgument("learning_rate", "must be positive", self.learning_rate)
        for name in ("weight_decay", "input_noise"):
            if not getattr(self, name) >= 0:
                raise InvalidArgument(name, "must not be negative", getattr(self, name))
        if not 0 <= self.label_smoothing < 1:
            raise InvalidArgument("label_smoothing", "must be in [0, 1)", self.label_smoothing)
        if self.data == "folds" and self.n_members < 2:
            raise InvalidArgument("n_members", 'must be at least 2 for data "folds"', self.n_members)
        if self.early_stopping and self.data == "shared":
            raise InvalidArgument(
                "early_stopping", "needs comparisons that a member did not train on", self.data,
                'data "bootstrap" or "folds"',
            )

"""Judgments from outside: any callable, and reward code in a file of its own."""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from preflab.errors import InvalidArgument, Refused
from preflab.interfaces import Judgment
from preflab.oracles.judgments import real_steps, weighted_sum
from preflab.types import AnyArray, FloatArray, ScoredSegments

Compute = Callable[[AnyArray, AnyArray, AnyArray, Any], Any]


class CallableJudgment(Judgment):
    """Values segments by any function of a batch of them: (N,) numbers for `ScoredSegments`, more is better.

    The function is trusted with everything that an oracle may see, and held to the kit's laws by `check_oracle`.
    """

    def __init__(self, function: Callable[[ScoredSegments], Any], name: str | None = None) -> None:
        """Takes the function and what the card calls it (its own name, unless told)."""
        self.function = function
        self.name = name or getattr(function, "__qualname__", type(function).__name__)

    def values(self, scored: ScoredSegments) -> FloatArray:
        """Returns (N,) what the function returns; raises `InvalidArgument` if that is not (N,) finite numbers."""
        found = np.asarray(self.function(scored), dtype=np.float64)
        if found.shape != (len(scored),) or not np.isfinite(found).all():
            shown = found.shape if found.shape != (len(scored),) else "a value that is not finite"
            raise InvalidArgument("judgment", f"{self.name} must return ({len(scored)},) finite numbers", shown)
        return found

    def card(self) -> dict[str, Any]:
        """Returns the function's name and the first line of its docstring."""
        said = [*(getattr(self.function, "__doc__", None) or "").strip().splitlines(), "a function of the whole segment"][0]
        return {"kind": "callable", "formula": said, "function": self.name, "source": self.name}


class RewardCode(Judgment):
    """Values a segment by Σ_t compute(obs, act, next_obs, info) over the steps that really happened.

    The form of Text2Reward, Xie et al. 2024 (https://arxiv.org/abs/2309.11489), over batches: obs (B, *obs), act (B, *act),
    next_obs (B, *obs) and info, a mapping from the names of gold's factors (and "terminated") to (B,) arrays, all read-only;
    returns (B,) rewards. Every transition must be paid for itself, whatever else is in the batch.
    """

    def __init__(self, compute: Compute, factor_names: Sequence[str], *, name: str, bound: float = 1e6) -> None:
        """Takes the code; no reward may exceed `bound` in absolute value."""
        if not (math.isfinite(bound) and bound > 0):
            raise InvalidArgument("code_bound", "must be finite and above 0", bound)
        self.compute, self.factor_names, self.name, self.bound = compute, tuple(factor_names), name, float(bound)

    @staticmethod
    def from_file(path: str | Path, factor_names: Sequence[str], *, bound: float = 1e6) -> RewardCode:
        """Returns the judgment of the Python file at `path`, which must define `compute`; refuses it with the reason."""
        file = Path(path)
        if not file.is_file():
            valid = "a file that defines compute(obs, act, next_obs, info)"
            raise InvalidArgument("code", "must be a Python file", str(path), valid)
        spec = importlib.util.spec_from_file_location(f"preflab_reward_code_{file.stem}", file)
        if spec is None or spec.loader is None:
            raise InvalidArgument("code", "must be a Python file", str(path), "a name that ends with .py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look up their own module there
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[spec.name]
            raise Refused(f"reward code {file} cannot be imported: {type(error).__name__}: {error}") from error
        compute = getattr(module, "compute", None)
        if not callable(compute):
            raise Refused(f"reward code {file} defines no function compute(obs, act, next_obs, info)")
        return RewardCode(compute, factor_names, name=str(file), bound=bound)

    def probe(self, scored: ScoredSegments) -> None:
        """Refuses code that fails, is of a wrong shape, not finite, not bounded, not repeatable, or depends on batch mates."""
        whole = self.values(scored)
        if not np.array_equal(whole, self.values(scored)):
            raise Refused(f"reward code {self.name} returns other rewards when asked again; they must follow from its arguments")
        rows, half = np.arange(len(scored)), len(scored) // 2
        for part in (rows[::-1], rows[:half], rows[half:]):  # order alone shows what looks at the row before
            if not np.allclose(whole[part], self.values(scored[part]), rtol=1e-9, atol=1e-9):
                raise Refused(f"reward code {self.name} pays a transition by what else is in the batch; it must pay each alone")

    def values(self, scored: ScoredSegments) -> FloatArray:
        """Returns (N,) sums; absorbing steps are not shown to the code and count 0."""
        segments, mask = scored.segments, real_steps(scored.segments)
        info: dict[str, AnyArray] = {name: scored.factors[..., i][mask] for i, name in enumerate(self.factor_names)}
        info["terminated"] = segments.terminated[mask]
        shown = [segments.observations[:, :-1][mask], segments.actions[mask], segments.observations[:, 1:][mask]]
        for array in (*shown, *info.values()):
            array.flags.writeable = False
        steps = np.zeros(mask.shape)
        if mask.any():
            steps[mask] = self._checked(*shown, MappingProxyType(info), n=int(mask.sum()))
        return weighted_sum(steps, mask, 1.0)

    def _checked(self, *arguments: Any, n: int) -> FloatArray:
        try:
            said = self.compute(*arguments)
            found = np.asarray(said, dtype=np.float64)
        except Exception as error:
            raise Refused(f"reward code {self.name} fails: {type(error).__name__}: {error}") from error
        if found.shape != (n,):
            raise Refused(f"reward code {self.name} returns shape {found.shape} for {n} transitions; it must return ({n},)")
        if not np.isfinite(found).all():
            n_bad = int((~np.isfinite(found)).sum())
            raise Refused(f"reward code {self.name} returns {n_bad} of {n} rewards that are not finite")
        worst = float(np.abs(found).max(initial=0.0))
        if worst > self.bound:
            beyond = f"beyond the bound of {self.bound:.3g} (oracle.code_bound)"
            raise Refused(f"reward code {self.name} returns a reward of {worst:.3g}, {beyond}")
        return found

    def card(self) -> dict[str, Any]:
        """Returns formula, file, bound and source."""
        return {
            "kind": "reward_code", "formula": "sum over real steps of compute(obs, act, next_obs, info)", "code": self.name,
            "bound": self.bound, "unit": "the code's own", "source": "Xie et al. 2024 (Text2Reward), https://arxiv.org/abs/2309.11489",
        }


def imported(path: str) -> Callable[[ScoredSegments], Any]:
    """Returns what "module:function" names; raises `InvalidArgument` if there is none."""
    module, _, name = path.partition(":")
    valid = "module:function, a function of ScoredSegments that returns (N,) values"
    if not module or not name:
        raise InvalidArgument("function", "must name a function", path, valid)
    try:
        found = getattr(importlib.import_module(f"{module}"), name)
    except Exception as error:
        raise InvalidArgument("function", f"cannot be imported ({error})", path, valid) from error
    if not callable(found):
        raise InvalidArgument("function", "must be callable", path, valid)
    return found  # type: ignore[no-any-return]

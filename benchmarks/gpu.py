"""What a GPU is for: absolute speeds of every stage that could run on one, beside the CPU's, and where to put each.

    python benchmarks/gpu.py --out figures.json              # with what is installed here
    python benchmarks/gpu.py --pack wheels --python 3.12     # on a machine with network: fetches what else is needed
    python benchmarks/gpu.py --wheels wheels --out f.json    # on a GPU machine without network, with its own Python and torch

Each row times one kind of work for about `--seconds` on each device that torch sees, after a warm-up, with the device
synchronized, and says how many pieces a second it did: median of five repetitions with their extremes. A placement is the
device of the higher median. A figure from a GPU appears only where there is one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# What preflab's stages import beyond the standard library and torch; numpy comes along in case torch came without it.
WHEELS = (
    "absl-py", "cloudpickle", "etils", "farama-notifications", "glfw", "gymnasium", "imageio", "mujoco", "mujoco-core", "numpy",
    "pillow", "pyopengl",
    "safetensors", "sb3-contrib", "stable-baselines3", "typing-extensions",
)
Work = Callable[[], int]  # does a piece of work and returns how many units it was


@dataclass(frozen=True)
class Row:
    """The speed of one kind of work on one device.

    Attributes:
        work: what was done.
        unit: of what the figures count.
        device: "cpu" or "cuda".
        per_second: median over repetitions; `low` and `high` are the extremes.
        n_threads: torch threads.
    """

    work: str
    unit: str
    device: str
    per_second: float
    low: float
    high: float
    n_threads: int


def measured(work: Work, seconds: float, synchronize: Callable[[], None], n_repetitions: int = 5) -> tuple[float, float, float]:
    """Returns (median, lowest, highest) units a second over repetitions that take `seconds` in all, after a warm-up."""
    work()
    synchronize()
    speeds = []
    for _ in range(n_repetitions):
        n, started = 0, time.perf_counter()
        while True:
            n += work()
            synchronize()
            if (elapsed := time.perf_counter() - started) >= seconds / n_repetitions:
                break
        speeds.append(n / elapsed)
    return statistics.median(speeds), min(speeds), max(speeds)


def placements(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Returns, for each kind of work, the device of the higher median and how many times faster it is than the slowest."""
    found: dict[str, dict[str, Any]] = {}
    for work in dict.fromkeys(row.work for row in rows):
        own = [row for row in rows if row.work == work]
        best = max(own, key=lambda row: row.per_second)
        found[work] = {"device": best.device, "times_faster": best.per_second / min(row.per_second for row in own)}
    return found


def works(device: str, is_quick: bool) -> Iterator[tuple[str, str, Callable[[], Work]]]:
    """Yields (name, unit, how to set it up) of everything that is timed on `device`."""
    for n_members, width in ((1, 64), (5, 64), (5, 256)) if not is_quick else ((2, 16),):
        for dtype in ("float32", "bfloat16"):
            name = f"reward fit, {n_members} members of {width}x{width}, {dtype}"
            yield name, "comparisons", lambda k=n_members, w=width, d=dtype: reward_fit(k, w, d, device)
        name = f"reward inference, {n_members} members of {width}x{width}"
        yield name, "transitions", lambda k=n_members, w=width: reward_inference(k, w, device, 1_000 if is_quick else 100_000)
    for width, batch in ((256, 256), (1024, 1024)) if not is_quick else ((16, 16),):
        yield f"SAC update, {width}x{width}, batch {batch}", "gradient steps", lambda w=width, b=batch: sac_update(w, b, device)
    for width, batch in ((64, 512), (256, 512), (256, 8192)) if not is_quick else ((16, 64),):
        yield f"PPO update, {width}x{width}, minibatch {batch}", "samples", lambda w=width, b=batch: ppo_update(w, b, device)
    for n_envs in (16, 64) if not is_quick else (2,):
        yield f"PPO acting, 256x256, {n_envs} environments", "actions", lambda n=n_envs: ppo_acting(n, device)
    steps = 256 if is_quick else 16_384
    yield "PPO on HalfCheetah, 256x256, whole loop", "env steps", lambda: ppo_loop(steps, device, 2 if is_quick else 16)


def reward_fit(n_members: int, width: int, dtype: str, device: str) -> Work:
    """Gradient steps on 64 comparisons of 50-step segments, 23 inputs (HalfCheetah's)."""
    import torch

    from preflab.networks import EnsembleMLP

    network = EnsembleMLP(n_members, 23, (width, width), "relu", torch.Generator().manual_seed(0)).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    inputs = torch.randn(64 * 2 * 50, 23, device=device)
    target = torch.randint(0, 2, (64,), device=device).float()

    def step() -> int:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
            scores = network(inputs).float().reshape(n_members, 2, 64, 50).sum(-1)
        logits = scores[:, 0] - scores[:, 1]
        loss = (torch.nn.functional.softplus(logits) - target * logits).mean(1).sum()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        return 64

    return step


def reward_inference(n_members: int, width: int, device: str, n_rows: int) -> Work:
    """Scores of many transitions at once, as relabelling asks for them."""
    import torch

    from preflab.networks import EnsembleMLP

    network = EnsembleMLP(n_members, 23, (width, width), "relu", torch.Generator().manual_seed(0)).to(device)
    inputs = torch.randn(n_rows, 23)

    def score() -> int:
        with torch.no_grad():
            for chunk in torch.split(inputs, 16_384):
                network(chunk.to(device)).mean(0).cpu()
        return n_rows

    return score


def _spaces() -> tuple[Any, Any]:
    import gymnasium as gym
    import numpy as np

    return gym.spaces.Box(-np.inf, np.inf, (17,), np.float32), gym.spaces.Box(-1, 1, (6,), np.float32)


def sac_update(width: int, batch: int, device: str) -> Work:
    """SB3's SAC on a full replay buffer."""
    import numpy as np
    from stable_baselines3 import SAC
    from stable_baselines3.common.logger import Logger

    from preflab.agents.nowhere import Nowhere

    model = SAC(
        "MlpPolicy", Nowhere(*_spaces(), 1), batch_size=batch, buffer_size=10_000, device=device, seed=0,
        policy_kwargs={"net_arch": [width, width]},
    )
    model.set_logger(Logger(folder=None, output_formats=[]))
    buffer, rng = model.replay_buffer, np.random.default_rng(0)
    assert buffer is not None
    for name in ("observations", "next_observations", "actions", "rewards"):
        array = getattr(buffer, name)
        array[:] = rng.uniform(-1, 1, array.shape)
    buffer.full = True

    def update() -> int:
        model.train(gradient_steps=10, batch_size=batch)
        return 10

    return update


def _ppo(width: int, batch: int, n_envs: int, n_steps: int, device: str) -> Any:
    from stable_baselines3 import PPO
    from stable_baselines3.common.logger import Logger

    from preflab.agents.nowhere import Nowhere

    model = PPO(
        "MlpPolicy", Nowhere(*_spaces(), n_envs), n_steps=n_steps, batch_size=batch, n_epochs=1, device=device, seed=0,
        policy_kwargs={"net_arch": [width, width]},
    )
    model.set_logger(Logger(folder=None, output_formats=[]))
    return model


def ppo_update(width: int, batch: int, device: str) -> Work:
    """One epoch of SB3's PPO over a rollout of 8,192 steps."""
    import numpy as np

    model, rng = _ppo(width, batch, 16, 512 if batch > 64 else 8, device), np.random.default_rng(0)
    buffer = model.rollout_buffer

    def update() -> int:
        buffer.reset()
        for name in ("observations", "actions", "advantages", "returns"):
            array = getattr(buffer, name)
            array[:] = rng.uniform(-1, 1, array.shape)
        buffer.full = True
        model.train()
        return int(buffer.buffer_size * buffer.n_envs)

    return update


def ppo_acting(n_envs: int, device: str) -> Work:
    """What PPO computes at each step of its environments."""
    import numpy as np
    import torch

    policy = _ppo(256, 64, n_envs, 64, device).policy
    obs = np.random.default_rng(0).standard_normal((n_envs, 17)).astype(np.float32)

    def act() -> int:
        with torch.no_grad():
            for _ in range(20):
                policy(torch.as_tensor(obs, device=device))[0].cpu().numpy()
        return 20 * n_envs

    return act


def ppo_loop(n_steps: int, device: str, n_envs: int) -> Work:
    """Steps of PPO on HalfCheetah, a learned reward's cost left out: physics, acting, updates."""
    import numpy as np

    from preflab import agents, envs

    settings = agents.PPOSettings(n_envs=n_envs, n_steps=max(64, 512 // (16 // n_envs)), batch_size=64 if n_envs < 16 else 512)
    agent = agents.build(
        settings, lambda n, seed: envs.make_vec("mujoco-halfcheetah", "fixed", n, seed), seed=0, device=device
    )

    def loop() -> int:
        report = agent.train(
            n_steps, lambda moves: np.zeros(len(moves), dtype=np.float32), seed=0, steps_done=0, steps_total=n_steps
        )
        return report.n_env_steps

    return loop


def devices() -> list[str]:
    """Returns the devices that torch computes on here."""
    import torch

    return ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def figures(seconds: float, is_quick: bool, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Returns every figure, the placements, and what they were measured on."""
    import torch

    rows = []
    for device in devices():
        synchronize = torch.cuda.synchronize if device == "cuda" else (lambda: None)
        for name, unit, set_up in works(device, is_quick):
            torch.set_num_threads(1)
            row = Row(name, unit, device, *measured(set_up(), seconds, synchronize), torch.get_num_threads())
            say(f"{device:5} {name:58} {row.per_second:12,.0f} {unit}/s  [{row.low:,.0f}, {row.high:,.0f}]")
            rows.append(row)
    return {"machine": machine(), "rows": [asdict(row) for row in rows], "placements": placements(rows)}


def machine() -> dict[str, Any]:
    """Returns what the figures belong to."""
    import torch

    has_gpu = torch.cuda.is_available()
    return {
        "python": platform.python_version(), "torch": torch.__version__, "n_cores": len(os.sched_getaffinity(0)),
        "processor": _processor(), "gpu": torch.cuda.get_device_name(0) if has_gpu else None,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def pack(folder: Path, python: str) -> None:
    """Downloads the wheels that a machine with Python `python` and torch needs besides, in the pinned versions."""
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line and line[0] != "#"
    )
    by_name = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    wanted = [f"{name}=={by_name[name]}" if name in by_name else name for name in WHEELS]
    platforms = [word for tag in ("2014", "_2_17", "_2_28") for word in ("--platform", f"manylinux{tag}_x86_64")]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--python-version", python, *platforms]
    subprocess.run([*command, "--dest", str(folder), *wanted], check=True)
    size = sum(path.stat().st_size for path in folder.glob("*.whl")) / 2**20
    print(f"{len(list(folder.glob('*.whl')))} wheels, {size:.0f} MiB, in {folder}")


def use_wheels(folder: Path) -> None:
    """Puts the wheels that cannot be imported here yet on the path; installs nothing and needs no network."""
    target = Path(tempfile.mkdtemp(prefix="preflab-wheels-"))
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        raise SystemExit(f"--wheels {folder} holds no .whl file; fetch them with --pack {folder} where there is a network")
    have_numpy = subprocess.run([sys.executable, "-c", "import numpy"], capture_output=True).returncode == 0
    chosen = [str(wheel) for wheel in wheels if not (have_numpy and wheel.name.startswith("numpy-"))]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(target), *chosen], check=True
    )
    sys.path.append(str(target))


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="file that the figures are written to, as json")
    parser.add_argument("--seconds", type=float, default=5.0, help="time for each figure")
    parser.add_argument("--quick", action="store_true", help="tiny work, to see that everything runs")
    parser.add_argument("--pack", type=Path, metavar="FOLDER", help="only fetch wheels into FOLDER")
    parser.add_argument("--python", default="3.12", help="version of Python that --pack fetches for")
    parser.add_argument("--wheels", type=Path, metavar="FOLDER", help="use these wheels beside what is installed")
    given = parser.parse_args(words)
    if given.pack:
        pack(given.pack, given.python)
        return 0
    if given.wheels:
        use_wheels(given.wheels)
    sys.path.insert(0, str(ROOT / "src"))
    found = figures(given.seconds, given.quick)
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found["placements"], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())

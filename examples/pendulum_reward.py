"""Reward code for the pendulum in Text2Reward's form, for oracle=reward_code: upright, slow, and with little torque."""

import numpy as np


def compute(obs, act, next_obs, info):
    """Returns (B,) rewards for B transitions; an observation is (cos, sin, velocity), an action the torque."""
    upright = next_obs[:, 0]
    spin = np.abs(next_obs[:, 2])
    return upright - 0.1 * spin - 0.01 * act[:, 0] ** 2

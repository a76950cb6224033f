"""Reward code for HalfCheetah in Text2Reward's form: run forward, nose level, with little torque."""

import numpy as np


def compute(obs, act, next_obs, info):
    """Returns (B,) rewards for B transitions; number 8 of an observation is forward velocity, number 1 the pitch."""
    speed = np.clip(next_obs[:, 8], -5.0, 5.0)
    level = np.cos(next_obs[:, 1])
    return speed + 0.5 * level - 0.05 * (act**2).sum(axis=1)

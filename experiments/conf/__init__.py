"""Hydra presets: one folder a group, one yaml a name."""

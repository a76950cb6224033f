"""Makes experts: PPO on gold, a critic fitted afresh to the frozen policy's own returns, and a card that measures both.

`gather` and `critic` are the two stages of a critic, `training` makes policies (`convert` reads SB3's), `cards`
measures, `making` puts them together; `python -m preflab.experiments.experts env=…` runs it.
"""

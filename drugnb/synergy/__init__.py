"""Which drug pairs work together, how sure a model is of it, and which pairs to measure next.

`data` (wells in common layouts, real sets, simulation), `surfaces` and `score` (excess over Bliss, HSA, Loewe and
ZIP), `pairs`, `judge` and `baselines`, `layers`, `networks` and `gp` (models that say how sure they are), `held_out`,
`active` and `replay`, `plate`, `results` and `propose` (the next plate, out and back).
"""

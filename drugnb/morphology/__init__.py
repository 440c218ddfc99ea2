"""Features from multi-channel images of cells that survive held-out plates and weeks, brightness and well position.

`images` (files to arrays, checked), `data`, `build` and `simulate` (tables of images, real sets, simulated cells),
`features` and `normalise` (baselines, controls, sphering), `augment` and `simclr` (contrastive features), `judge` and
`activity` (splits, shams, confounding, p-values), `explain` and `gallery`, `phenotype` and `embed`.
"""

"""The main study: which L1000 signatures should count for how much.

`load` (a checked study), `simulate`, `pickles`, `tables`, `embed` (t-SNE maps), `cluster`, `domain`
(density ratios), `weight`, `ridge`, `blocks`, `learn`, `grid`, `model` (predictions with intervals),
`choose`, `compare`, `figures`, `use` (what the command asks for).
"""

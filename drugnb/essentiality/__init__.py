"""What a cell line will respond to, from its expression alone: drugs and gene losses, all at once.

`data` and `build` (a screen, met by name; the sets gdsc and crispr), `judge` (folds by patient, baselines, intervals),
`kernel` (the fast model), `represent`, `solve` and `leap` (layered ensembles), `adapt` (few lines of a tissue),
`held_out`, `pathways`, `biomarkers`, `reports`, `predict`.
"""

"""Drugs and pairs of drugs: which reverse a signature, and what a pair does to expression.

`data` (singles and pairs), `connect` (connectivity scores), `pairs` (all pairs), `combine` and `network`
(models of pairs), `held_out` (which model holds up), `use` (what the command asks for).
"""

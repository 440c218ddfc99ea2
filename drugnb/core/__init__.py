"""What must have one notion in the whole house.

`settings` (errors, settings, paths), `files` (what may be opened, and one sentence where it is damaged),
`schema` (what a file may hold), `artefacts` (files that are whole and say what they were made from),
`identity` (genes, compounds, cell lines, doses, missing marks), `gct` and `read` (readers), `style` (one
look), `worlds` (pieces of simulated worlds), `evaluate` (splits, scores, baselines, intervals), `pages`
(tables as Markdown).
"""

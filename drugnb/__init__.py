"""Five drug-response studies as notebooks that can be read, rerun and extended.

What is public, by folder (a name without an underscore in these modules is meant to be used):

- `drugnb.weighting`: which L1000 signatures should count for how much; begin with `load.open_study`.
- `drugnb.combos`: connectivity scores, and what a pair of drugs does; begin with `data.open_combos`.
- `drugnb.core`: settings, artefacts, readers, identity of genes and compounds, evaluation, style, worlds.
- `drugnb.sources`: public files, fetched and turned into tables.
- `drugnb.studies`, `drugnb.run`, `drugnb.sweep`, `drugnb.command`: a card a study, and what runs the studies.

Importing `drugnb` imports none of them.
"""

__version__ = "0.1.0"

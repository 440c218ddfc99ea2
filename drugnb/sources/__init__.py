"""Public files, fetched and turned into tables.

`fetch` (a registry, checked to the byte), `plates` (plates to z-scores), `viability` (the viability that
goes with a signature), `miniatures` (tiny simulated copies of public data), `layouts` (LINCS, CTRP, GDSC,
MIX-seq as published), `build` (labelled signatures).
"""

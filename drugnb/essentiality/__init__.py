"""What a cell line will respond to, from its expression alone: drugs and gene losses, all at once.

`data` (a screen: expression and responses, met by name), `build` (the sets gdsc and crispr from public files).
"""

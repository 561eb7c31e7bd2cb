"""Gate families: `_base.py` and one file for each family."""

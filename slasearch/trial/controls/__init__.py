"""Controls: baselines trained beside the search on the same data; `_base.py` and one file for each sort."""

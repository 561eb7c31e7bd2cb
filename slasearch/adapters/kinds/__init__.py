"""Adapter kinds: `_base.py` and one file for each kind."""

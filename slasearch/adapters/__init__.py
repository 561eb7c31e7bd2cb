"""Adapter modules, gates, the pool that holds them, finalisation and export."""

"""Alembic migrations of the `sla_` tables, one file a release, run by `slasearch.storage.upgrade`."""

"""Alembic's entry: runs the migrations on the connection that `slasearch.storage.upgrade` hands over."""

from alembic import context

from slasearch.storage.models import Base
from slasearch.storage.upgrade import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
)
context.run_migrations()

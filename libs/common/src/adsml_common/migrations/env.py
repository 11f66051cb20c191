"""Alembic's entry: always with the connection that `upgrade` hands over."""

from alembic import context

from adsml_common.migrations import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,
    transactional_ddl=True,
    transaction_per_migration=False,
)
# The transaction is the caller's: Alembic would end it.
context.run_migrations()

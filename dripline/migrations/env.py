"""Run by Alembic; the connection comes from `dripline.migrate`."""

from alembic import context

from dripline.migrate import every_table

context.configure(connection=context.config.attributes["connection"], target_metadata=every_table(), render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()

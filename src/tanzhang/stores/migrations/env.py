"""What Alembic runs revisions by: the connection that it was given, inside its transaction."""

from __future__ import annotations

from alembic import context

from tanzhang.stores.book.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()

"""Which older versions of adsml can work with a schema that is ahead of them.

Revision 0005. A migration that only adds leaves `oldest_code` as it is; one that takes something away names the oldest
revision whose code does without it, one release after that code came (expand, then contract).
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0002"
oldest_code = "0005"


def upgrade() -> None:
    """Add the table; the note itself is written after every migration."""
    text = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")
    op.create_table(
        "schema_notes",
        sa.Column("name", text, nullable=False),
        sa.Column("value", text, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_schema_notes")),
    )

"""The schema of the first release, which an empty database gets as the code's tables have it (`migrations.upgrade`).

Revision 0005. A migration that only adds has no `oldest_code`; one that takes something away names the oldest revision
whose code does without it, one release after that code came (expand, then contract).
"""

revision = "0005"
down_revision = None
oldest_code = "0005"


def upgrade() -> None:
    """Nothing: there is no schema before it."""

"""Since when no job has a file that was stored for itself."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# files that are there already begin to age now: nobody was told before that they would go
_BEGIN = """
UPDATE files SET last_used_at = CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000
WHERE kept AND NOT EXISTS (SELECT 1 FROM job_files WHERE job_files.file_id = files.id)
"""


def upgrade() -> None:
    op.add_column("files", sa.Column("last_used_at", sa.BigInteger(), nullable=True))
    condition = sa.text("last_used_at IS NOT NULL")
    op.create_index("files_unused", "files", ["last_used_at"], sqlite_where=condition)
    op.create_index("files_unused_by_id", "files", ["id"], sqlite_where=condition)
    op.execute(_BEGIN)


def downgrade() -> None:
    op.drop_index("files_unused_by_id", "files")
    op.drop_index("files_unused", "files")
    op.drop_column("files", "last_used_at")

"""How often in a row each job lost its worker."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("losses", sa.Integer(), nullable=False, server_default="0"))
    # partial: it holds the few jobs that the server died under
    op.create_index("jobs_lost", "jobs", ["state", "losses"], sqlite_where=sa.text("losses > 0"))


def downgrade() -> None:
    op.drop_index("jobs_lost", "jobs")
    op.drop_column("jobs", "losses")

"""Functions that move goods on shelves together with the commit; movements keep differences and the levels before them
instead of the level after each."""

from alembic import op

from inventory.settling import FUNCTIONS

revision = "0002"
down_revision = "0001"

# Each bucket was [difference, level after it]: the level before a row is that of its first change of the bucket.
_MOVEMENTS = """
UPDATE movement AS m SET doc = (m.doc::jsonb || jsonb_build_object(
  'changes', (
    SELECT jsonb_agg(c.change || jsonb_build_object('buckets', (
      SELECT jsonb_object_agg(b.key, b.value -> 0) FROM jsonb_each(c.change -> 'buckets') AS b)) ORDER BY c.n)
    FROM jsonb_array_elements(m.doc::jsonb -> 'changes') WITH ORDINALITY AS c(change, n)),
  'before', (
    SELECT coalesce(jsonb_object_agg(f.key, f.level) FILTER (WHERE f.level <> 0), '{}')
    FROM (
      SELECT DISTINCT ON (b.key) b.key, (b.value ->> 1)::bigint - (b.value ->> 0)::bigint AS level
      FROM jsonb_array_elements(m.doc::jsonb -> 'changes') WITH ORDINALITY AS c(change, n),
        jsonb_each(c.change -> 'buckets') AS b
      ORDER BY b.key, c.n) AS f)))::json
WHERE jsonb_path_exists(m.doc::jsonb, 'strict $.changes[*].buckets.* ? (@.type() == "array")')
"""


def upgrade() -> None:
    for function in FUNCTIONS:
        op.execute(function)
    op.execute(_MOVEMENTS)


def downgrade() -> None:
    raise NotImplementedError("levels after each change are not kept any more: restore a backup instead")

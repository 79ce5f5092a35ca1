"""Indexes for the list of tracks: its orders, its filters, and the words of a search.

Of a million tracks, about half a minute on PostgreSQL, in which tracks can be read but not written, and
ten seconds on SQLite.
"""

import catalog.models
from django.db import migrations, models

from catalog.migrating import LongMigration

# The words of a text: without accents, in lower case, cut at whatever is neither letter nor digit.
# Only built-in functions, and in one body: a restored dump has no search path when it builds the index.
# In PL/pgSQL, since the planner would look through SQL and forget what the function costs.
# Longer words than an index can hold are cut.
FOLD = r"""
CREATE FUNCTION catalog_track_fold(told text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 1000 AS $$
BEGIN
    RETURN array_remove(string_to_array(regexp_replace(regexp_replace(lower(regexp_replace(
        normalize(told, NFKD),
        '[\u0300-\u036f]+', '', 'g')),
        '[\u0001-\u002f\u003a-\u0060\u007b-\u00bf\u00d7\u00f7\u2000-\u2bff\u2e00-\u2e7f'
        '\u3000-\u3004\u3008-\u3020\ufe30-\ufe6f]+', ' ', 'g'),
        '([^ ]{200})[^ ]+', '\1', 'g'), ' '), '');
END $$
"""
# Each word of a search is the beginning of one; a single letter is a word. None: NULL, which matches nothing.
QUERY = r"""
CREATE FUNCTION catalog_track_query(term text) RETURNS tsquery
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN (
        SELECT string_agg(quote_literal(word) || CASE WHEN word ~ '^[a-z0-9]$' THEN '' ELSE ':*' END, ' & ')
        FROM unnest(catalog_track_fold(term)) word
    )::tsquery;
END $$
"""
ON_POSTGRESQL = (
    FOLD,
    QUERY,
    "CREATE INDEX track_words ON catalog_track USING gin "
    "(array_to_tsvector(catalog_track_fold(name || ' ' || credit_name || ' ' || isrc)))",
    # The planner knows an expression by its statistics.
    "ANALYZE catalog_track",
)
# An index of its own beside the table, which the table's triggers keep. A later migration that makes the
# table anew (on SQLite most alterations do) must create the triggers again: test_search would fail.
NEW_WORDS = "VALUES (new.id, new.name, new.credit_name, new.isrc)"
OLD_WORDS = "VALUES ('delete', old.id, old.name, old.credit_name, old.isrc)"
INSERT = "INSERT INTO catalog_track_words (rowid, name, credit_name, isrc)"
DELETE = "INSERT INTO catalog_track_words (catalog_track_words, rowid, name, credit_name, isrc)"
TRIGGERS = (
    f"CREATE TRIGGER catalog_track_words_insert AFTER INSERT ON catalog_track BEGIN {INSERT} {NEW_WORDS}; END",
    f"CREATE TRIGGER catalog_track_words_delete AFTER DELETE ON catalog_track BEGIN {DELETE} {OLD_WORDS}; END",
    "CREATE TRIGGER catalog_track_words_update AFTER UPDATE OF name, credit_name, isrc ON catalog_track "
    "WHEN old.name <> new.name OR old.credit_name <> new.credit_name OR old.isrc <> new.isrc "
    f"BEGIN {DELETE} {OLD_WORDS}; {INSERT} {NEW_WORDS}; END",
)
ON_SQLITE = (
    "CREATE VIRTUAL TABLE catalog_track_words USING fts5 (name, credit_name, isrc, content='catalog_track', "
    "content_rowid='id', columnsize=0, prefix='2 3', tokenize='unicode61 remove_diacritics 2')",
    *TRIGGERS,
    "INSERT INTO catalog_track_words (catalog_track_words) VALUES ('rebuild')",
)
DOWN = {
    "postgresql": (
        "DROP INDEX track_words",
        "DROP FUNCTION catalog_track_query(text)",
        "DROP FUNCTION catalog_track_fold(text)",
    ),
    "sqlite": (
        *(f"DROP TRIGGER catalog_track_words_{event}" for event in ("insert", "delete", "update")),
        "DROP TABLE catalog_track_words",
    ),
}


def index_words(apps, schema_editor):
    up = {"postgresql": ON_POSTGRESQL, "sqlite": ON_SQLITE}
    for statement in up[schema_editor.connection.vendor]:
        schema_editor.execute(statement, params=None)


def forget_words(apps, schema_editor):
    for statement in DOWN[schema_editor.connection.vendor]:
        schema_editor.execute(statement, params=None)


class Migration(LongMigration):

    dependencies = [
        ('catalog', '0001_initial'),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name='track',
            name='track_name',
        ),
        migrations.RemoveIndex(
            model_name='track',
            name='track_credit_name',
        ),
        migrations.RemoveIndex(
            model_name='track',
            name='track_isrc',
        ),
        migrations.RemoveIndex(
            model_name='track',
            name='track_label',
        ),
        migrations.RemoveIndex(
            model_name='track',
            name='track_genre',
        ),
        migrations.RemoveIndex(
            model_name='track',
            name='track_release_date',
        ),
        migrations.AddIndex(
            model_name='track',
            index=models.Index(fields=['name', 'id'], name='track_by_name'),
        ),
        migrations.AddIndex(
            model_name='track',
            index=models.Index(fields=['isrc', 'id'], name='track_by_isrc'),
        ),
        migrations.AddIndex(
            model_name='track',
            index=models.Index(catalog.models.SortKey('label'), models.F('id'), name='track_by_label'),
        ),
        migrations.AddIndex(
            model_name='track',
            index=models.Index(fields=['genre', 'id'], name='track_by_genre'),
        ),
        migrations.AddIndex(
            model_name='track',
            index=models.Index(fields=['release_date', 'id'], name='track_by_release_date'),
        ),
        migrations.AddIndex(
            model_name='track',
            index=models.Index(fields=['audience_fetched_at', 'id'], name='track_by_audience'),
        ),
        migrations.AddIndex(
            model_name='track',
            index=models.Index(fields=['metadata_error', 'id'], name='track_by_error'),
        ),
        migrations.AddIndex(
            model_name='track',
            index=models.Index(condition=models.Q(('metadata_retry_at__isnull', False)), fields=['metadata_retry_at', 'metadata_fetched_at'], name='track_not_awaited'),
        ),
        migrations.RunPython(index_words, forget_words),
    ]

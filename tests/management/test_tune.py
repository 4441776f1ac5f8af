import pytest
from django.core.management import CommandError
from django.db import connection

from django_jobs.storage.tables import RUN_TABLE

pytestmark = pytest.mark.django_db


def test_tables_are_tuned_and_back(jobs):
    if connection.vendor != "postgresql":
        pytest.skip("the others have nothing to tune")

    def options():
        with connection.cursor() as cursor:
            cursor.execute("SELECT reloptions FROM pg_class WHERE oid = %s::regclass", [RUN_TABLE])
            return cursor.fetchone()[0]

    printed = jobs("tune").lines
    assert options() is None
    assert any(line.startswith(f'ALTER TABLE "{RUN_TABLE}" SET (fillfactor = 90') for line in printed)
    jobs("tune", "--apply")
    assert "fillfactor=90" in options()
    jobs("tune", "--apply", "--reset")
    assert options() is None


def test_other_databases_have_nothing_to_tune(jobs):
    if connection.vendor == "postgresql":
        pytest.skip("PostgreSQL has")

    with pytest.raises(CommandError, match="Nothing to tune"):
        jobs("tune")

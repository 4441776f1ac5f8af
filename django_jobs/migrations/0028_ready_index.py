"""What claims walk has no runs any more that wait for something other than their time, where indexes can be partial."""

from typing import Any

from django.db import migrations

from django_jobs.models import StatusIndex

NAME = "django_jobs_run_ready"
FIELDS = ["status", "-priority", "run_after", "id"]
BEFORE = StatusIndex(FIELDS, statuses=["READY"], name=NAME)
NOW = StatusIndex(FIELDS, statuses=["READY"], present="run_after", name=NAME)


def replace(apps: Any, schema_editor: Any, old: StatusIndex, new: StatusIndex) -> None:
    """Make the index again; it holds unfinished runs only. On MariaDB it holds all, before and after."""
    if schema_editor.connection.features.supports_partial_indexes:
        run = apps.get_model("django_jobs", "Run")
        schema_editor.remove_index(run, old)
        schema_editor.add_index(run, new)


def forwards(apps: Any, schema_editor: Any) -> None:
    """Leave out what waits."""
    replace(apps, schema_editor, BEFORE, NOW)


def backwards(apps: Any, schema_editor: Any) -> None:
    """Have it again."""
    replace(apps, schema_editor, NOW, BEFORE)


class Migration(migrations.Migration):
    """One transaction: either it is as before, or as it should be."""

    dependencies = [("django_jobs", "0027_started_attempts")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(forwards, backwards)],
            state_operations=[migrations.RemoveIndex("run", NAME), migrations.AddIndex("run", NOW)],
        )
    ]

"""On PostgreSQL the indexes of one status begin with what is looked for; they had the status first."""

from typing import Any

from django.db import migrations

from django_jobs.models import StatusIndex


def create_again(apps: Any, schema_editor: Any) -> None:
    """Replace them; they hold unfinished runs only."""
    if schema_editor.connection.vendor != "postgresql":
        return
    run = apps.get_model("django_jobs", "Run")
    for index in run._meta.indexes:
        if isinstance(index, StatusIndex) and len(index.statuses) == 1:
            schema_editor.remove_index(run, index)
            schema_editor.add_index(run, index)


class Migration(migrations.Migration):
    """One transaction: either all of them are as before, or none."""

    dependencies = [("django_jobs", "0025_error_key_index")]

    operations = [migrations.RunPython(create_again, migrations.RunPython.noop)]

from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import AddField


def test_processes_that_do_not_know_a_column_that_was_added_can_leave_it_out():
    migrations = MigrationLoader(None).disk_migrations
    added = {
        f"{operation.model_name}.{operation.name}": operation.field
        for (app, _), migration in migrations.items()
        if app == "django_jobs"
        for operation in migration.operations
        if isinstance(operation, AddField)
    }

    assert added
    assert [name for name, field in added.items() if not field.null and not field.has_db_default()] == []

from django.db import migrations


class Migration(migrations.Migration):
    """Other names in the code; each table is kept, for processes of the version before know it."""

    dependencies = [
        ("django_jobs", "0004_held_run_after"),
    ]

    # The name of the table first: renaming the model leaves it alone then.
    operations = [
        migrations.AlterModelTable(name="tally", table="django_jobs_tally"),
        migrations.RenameModel(old_name="Tally", new_name="Rollup"),
        migrations.AlterModelTable(name="chore", table="django_jobs_chore"),
        migrations.RenameModel(old_name="Chore", new_name="MaintenanceTask"),
        migrations.AlterModelTable(name="release", table="django_jobs_release"),
        migrations.RenameModel(old_name="Release", new_name="ScheduleRevision"),
        migrations.AlterModelOptions(
            name="schedulerevision",
            options={"verbose_name": "schedule revision", "verbose_name_plural": "schedule revisions"},
        ),
        migrations.AlterModelTable(name="declarer", table="django_jobs_declarer"),
        migrations.RenameModel(old_name="Declarer", new_name="SchedulerProcess"),
        migrations.AlterModelOptions(
            name="schedulerprocess",
            options={"verbose_name": "scheduler process", "verbose_name_plural": "scheduler processes"},
        ),
    ]

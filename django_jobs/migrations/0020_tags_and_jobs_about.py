from typing import Any

from django.db import migrations, models

import django_jobs.models


def fill(apps: Any, schema_editor: Any) -> None:
    """Say in the new column what the jobs that are there are about."""
    jobs = apps.get_model("django_jobs", "Job")._base_manager.using(schema_editor.connection.alias)
    for pk, options in jobs.filter(options__about__isnull=False).values_list("pk", "options"):
        jobs.filter(pk=pk).update(about=options["about"])


class Migration(migrations.Migration):
    dependencies = [
        ("django_jobs", "0019_run_error_key"),
    ]

    operations = [
        migrations.CreateModel(
            name="RunTag",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "run_id", "tag", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("run_id", models.BigIntegerField()),
                ("tag", models.CharField(max_length=32)),
            ],
            options={"db_table": "django_jobs_tag", "default_permissions": ()},
        ),
        migrations.AddField(
            model_name="job",
            name="about",
            field=models.CharField(editable=False, max_length=255, null=True, verbose_name="about"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=django_jobs.models.PresentIndex(fields=["about"], name="django_jobs_job_about"),
        ),
        migrations.AddIndex(
            model_name="runtag",
            index=models.Index(fields=["tag", "run_id"], name="django_jobs_tag_runs"),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop, elidable=True),
    ]

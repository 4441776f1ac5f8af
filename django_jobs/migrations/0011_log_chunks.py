from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_jobs", "0010_batches"),
    ]

    operations = [
        migrations.CreateModel(
            name="LogChunk",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("run_id", models.BigIntegerField()),
                ("attempt", models.PositiveIntegerField(verbose_name="attempt")),
                ("fence", models.BigIntegerField()),
                ("written_at", models.DateTimeField()),
                (
                    "level",
                    models.SmallIntegerField(
                        help_text="The highest of its lines, as of logging.", verbose_name="level"
                    ),
                ),
                ("text", models.TextField(verbose_name="log")),
            ],
            options={
                "verbose_name": "part of a log",
                "verbose_name_plural": "parts of logs",
                "db_table": "django_jobs_log",
                "default_permissions": (),
                "indexes": [models.Index(fields=["run_id", "id"], name="django_jobs_log_run")],
            },
        ),
    ]

from django.db import migrations, models

import django_jobs.models


class Migration(migrations.Migration):
    dependencies = [
        ("django_jobs", "0009_worker_unknown"),
    ]

    operations = [
        migrations.CreateModel(
            name="Batch",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "key",
                    models.CharField(
                        help_text="What the API calls it.", max_length=64, unique=True, verbose_name="id"
                    ),
                ),
                ("name", models.CharField(max_length=255, verbose_name="name")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("READY", "Ready"),
                            ("RUNNING", "Running"),
                            ("SUCCESSFUL", "Successful"),
                            ("FAILED", "Failed"),
                            ("CANCELLED", "Cancelled"),
                            ("SKIPPED", "Skipped"),
                        ],
                        default="RUNNING",
                        max_length=10,
                        verbose_name="status",
                    ),
                ),
                ("failures", models.JSONField(default=list, editable=False)),
                ("created_at", models.DateTimeField(verbose_name="created at")),
                ("closed_at", models.DateTimeField(null=True, verbose_name="closed at")),
                ("cancelled_at", models.DateTimeField(null=True, verbose_name="cancelled at")),
                ("ended_at", models.DateTimeField(null=True, verbose_name="ended at")),
                ("changed_at", models.DateTimeField(verbose_name="changed at")),
                ("total", models.BigIntegerField(default=0, verbose_name="runs")),
                ("successful", models.BigIntegerField(default=0, verbose_name="successful")),
                ("failed", models.BigIntegerField(default=0, verbose_name="failed")),
                ("cancelled", models.BigIntegerField(default=0, verbose_name="cancelled")),
                ("skipped", models.BigIntegerField(default=0, verbose_name="skipped")),
                ("has_dependencies", models.BooleanField(default=False, editable=False)),
                ("callbacks", models.JSONField(editable=False, null=True)),
                ("callback_jobs", models.JSONField(editable=False, null=True)),
            ],
            options={
                "verbose_name": "batch",
                "verbose_name_plural": "batches",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Dependency",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("run_id", models.BigIntegerField()),
                ("position", models.PositiveIntegerField()),
                ("after_id", models.BigIntegerField(db_index=True)),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Dependent",
            fields=[
                ("run_id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("batch_id", models.BigIntegerField(db_index=True)),
                ("waits", models.IntegerField()),
                ("after_failure", models.CharField(max_length=6)),
                ("ended_by", models.BigIntegerField(null=True)),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.AddField(
            model_name="run",
            name="batch_id",
            field=models.BigIntegerField(editable=False, null=True),
        ),
        migrations.AddIndex(
            model_name="run",
            index=django_jobs.models.PresentIndex(fields=["batch_id", "id"], name="django_jobs_run_batch"),
        ),
        migrations.AddIndex(
            model_name="batch",
            index=models.Index(fields=["ended_at", "id"], name="django_jobs_batch_ended"),
        ),
        migrations.AddConstraint(
            model_name="dependency",
            constraint=models.UniqueConstraint(
                fields=("run_id", "position"), name="django_jobs_dependency_position"
            ),
        ),
    ]

from django.db import migrations, models

import django_jobs.models


class Migration(migrations.Migration):
    dependencies = [
        ("django_jobs", "0020_tags_and_jobs_about"),
    ]

    operations = [
        migrations.AlterField(
            model_name="run",
            name="waits_for",
            field=models.CharField(
                choices=[
                    ("limit", "limit"),
                    ("order", "order"),
                    ("turn", "turn"),
                    ("fair", "fair turn"),
                    ("dependency", "dependency"),
                    ("event", "event"),
                ],
                editable=False,
                max_length=16,
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="run",
            name="fair_key",
            field=models.CharField(editable=False, max_length=32, null=True),
        ),
        migrations.AddField(
            model_name="run",
            name="turn_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddIndex(
            model_name="run",
            index=django_jobs.models.StatusIndex(
                fields=["fair_key", "waits_for", "status", "run_after", "id"],
                name="django_jobs_run_fair",
                present="fair_key",
                statuses=["READY"],
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=django_jobs.models.PresentIndex(fields=["fair_key", "id"], name="django_jobs_run_served"),
        ),
    ]

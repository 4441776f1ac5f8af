from django.db import migrations, models

import django_jobs.models


class Migration(migrations.Migration):
    dependencies = [
        ("django_jobs", "0013_worker_details"),
    ]

    operations = [
        migrations.AddField(
            model_name="run",
            name="limit_key",
            field=models.CharField(editable=False, max_length=32, null=True),
        ),
        migrations.AddIndex(
            model_name="run",
            index=django_jobs.models.StatusIndex(
                fields=["status", "limit_key", "run_after", "-priority", "id"],
                name="django_jobs_run_limit",
                present="limit_key",
                statuses=["READY", "RUNNING"],
            ),
        ),
    ]

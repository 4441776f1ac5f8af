from django.db import migrations, models

import django_jobs.models


class Migration(migrations.Migration):
    dependencies = [
        ("django_jobs", "0021_run_fair_key"),
    ]

    operations = [
        migrations.AddField(
            model_name="run",
            name="keep_until",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddIndex(
            model_name="run",
            index=django_jobs.models.PresentIndex(fields=["keep_until"], name="django_jobs_run_keep"),
        ),
    ]

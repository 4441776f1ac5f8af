"""Keep how many runs waited, to show it over time. The table is new, and small."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_jobs", "0022_run_keep_until"),
    ]

    operations = [
        migrations.CreateModel(
            name="DepthSample",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("sampled_at", models.DateTimeField()),
                ("queue_name", models.CharField(max_length=100)),
                ("every_seconds", models.PositiveIntegerField()),
                ("due", models.PositiveIntegerField()),
            ],
            options={
                "default_permissions": (),
                "indexes": [
                    models.Index(fields=["every_seconds", "sampled_at"], name="django_jobs_depthsample_age")
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("sampled_at", "queue_name"), name="django_jobs_depthsample_one"
                    )
                ],
            },
        ),
    ]

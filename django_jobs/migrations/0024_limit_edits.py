from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_jobs", "0023_depth_samples"),
    ]

    operations = [
        migrations.CreateModel(
            name="LimitEdit",
            fields=[
                ("key", models.CharField(max_length=32, primary_key=True, serialize=False)),
                ("name", models.TextField(verbose_name="limit")),
                (
                    "concurrency",
                    models.PositiveIntegerField(blank=True, null=True, verbose_name="at the same time"),
                ),
                ("rate", models.CharField(blank=True, max_length=30, null=True, verbose_name="rate")),
                ("edited_at", models.DateTimeField(verbose_name="edited at")),
                ("edited_by", models.CharField(blank=True, max_length=255, verbose_name="edited by")),
                ("reason", models.CharField(blank=True, max_length=500, verbose_name="reason")),
            ],
            options={"verbose_name": "limit", "verbose_name_plural": "limits"},
        ),
    ]

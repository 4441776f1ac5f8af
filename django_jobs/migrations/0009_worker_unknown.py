from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_jobs", "0008_run_waits_for"),
    ]

    operations = [
        migrations.AddField(
            model_name="worker",
            name="unknown",
            field=models.JSONField(editable=False, null=True),
        ),
    ]

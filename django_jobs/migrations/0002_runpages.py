from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("django_jobs", "0001_initial")]

    operations = [
        migrations.AlterModelOptions(
            name="run",
            options={
                "permissions": [("view_payload", "Can see arguments, results, errors' details and logs")],
                "verbose_name": "run",
                "verbose_name_plural": "runs",
            },
        ),
    ]

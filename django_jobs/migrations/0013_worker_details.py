from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("django_jobs", "0012_alerts")]

    operations = [
        migrations.AddField("worker", "details", models.JSONField(default=None, null=True)),
    ]

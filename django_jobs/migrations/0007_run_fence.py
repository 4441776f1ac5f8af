from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_jobs", "0006_occurrences_since"),
    ]

    operations = [
        migrations.AddField(
            model_name="run",
            name="fence",
            field=models.BigIntegerField(editable=False, null=True),
        ),
    ]

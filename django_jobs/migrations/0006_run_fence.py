from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_jobs", "0005_rename_models"),
    ]

    operations = [
        migrations.AddField(
            model_name="run",
            name="fence",
            field=models.BigIntegerField(editable=False, null=True),
        ),
    ]

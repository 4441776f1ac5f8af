"""Count the attempts that begin, beside those that end; it is added to a small table."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_jobs", "0026_indexes_of_one_status"),
    ]

    operations = [
        migrations.AddField(
            model_name="rollup",
            name="started",
            field=models.IntegerField(default=0, db_default=0),
        ),
    ]

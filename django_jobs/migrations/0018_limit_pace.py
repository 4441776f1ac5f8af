from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_jobs", "0017_queue_pauses"),
    ]

    operations = [
        migrations.CreateModel(
            name="Pace",
            fields=[
                ("key", models.CharField(max_length=32, primary_key=True, serialize=False)),
                ("next_at", models.DateTimeField(db_index=True)),
                ("run_id", models.BigIntegerField()),
                ("attempt", models.PositiveIntegerField()),
                ("before", models.DateTimeField()),
            ],
            options={"default_permissions": ()},
        ),
    ]

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_jobs", "0007_run_fence"),
    ]

    operations = [
        migrations.AddField(
            model_name="run",
            name="waits_for",
            field=models.CharField(
                choices=[
                    ("limit", "limit"),
                    ("order", "order"),
                    ("turn", "turn"),
                    ("dependency", "dependency"),
                    ("event", "event"),
                ],
                editable=False,
                max_length=16,
                null=True,
            ),
        ),
    ]

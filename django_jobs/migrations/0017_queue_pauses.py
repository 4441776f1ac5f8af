from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_jobs", "0016_run_about"),
    ]

    operations = [
        migrations.AddField(
            model_name="queue",
            name="paused_until",
            field=models.DateTimeField(blank=True, null=True, verbose_name="paused until"),
        ),
        migrations.AddField(
            model_name="queue",
            name="paused_by",
            field=models.CharField(blank=True, max_length=255, null=True, verbose_name="paused by"),
        ),
        migrations.AddField(
            model_name="queue",
            name="paused_reason",
            field=models.CharField(blank=True, max_length=500, null=True, verbose_name="reason"),
        ),
    ]

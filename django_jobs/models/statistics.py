"""Counts of runs, rolled up by minute, hour and day, and how many waited."""

from __future__ import annotations

from django.db import models

# Upper ends of the bins that durations are counted in, in seconds; one more bin has what took longer.
BIN_ENDS = tuple(float(f"{digit}e{power}") for power in range(-3, 5) for digit in (1, 2, 5))[:-1]
RAN_BINS = tuple(f"ran_{index}" for index in range(len(BIN_ENDS) + 1))
WAITED_BINS = tuple(f"waited_{index}" for index in range(len(BIN_ENDS) + 1))


class Rollup(models.Model):
    """How many runs of one function and queue came to one outcome in a minute, an hour or a day.

    Besides the columns below it has those of `RAN_BINS` and `WAITED_BINS`: how many ran, and had waited,
    for how long. One column for each bin, because the database adds them up, and several processes to
    the same row.
    """

    id = models.BigAutoField(primary_key=True)
    # Of the time that is counted: 60, 3600 or 86400; and when that begins.
    size_seconds = models.PositiveIntegerField()
    begins_at = models.DateTimeField()
    func = models.CharField(max_length=500)
    queue_name = models.CharField(max_length=100)
    # As `Run.status`. READY: an attempt that will be tried again.
    outcome = models.CharField(max_length=10)
    runs = models.BigIntegerField(default=0)
    ran_seconds = models.FloatField(default=0)
    waited_seconds = models.FloatField(default=0)
    # Attempts that began in this time and came to this, whenever they ended. Versions without it insert rows.
    started = models.IntegerField(default=0, db_default=0)

    class Meta:
        # The name it was made under, which processes of the version before know.
        db_table = "django_jobs_tally"
        constraints = [
            models.UniqueConstraint(
                fields=["size_seconds", "begins_at", "func", "queue_name", "outcome"],
                name="django_jobs_tally_one",
            )
        ]

    def __str__(self) -> str:
        return f"{self.func}: {self.runs} {self.outcome}"


for _name in (*RAN_BINS, *WAITED_BINS):
    Rollup.add_to_class(_name, models.IntegerField(default=0))


class DepthSample(models.Model):
    """How many runs of one queue could have begun at some minute; no row where none could, or no worker lived."""

    id = models.BigAutoField(primary_key=True)
    sampled_at = models.DateTimeField()
    queue_name = models.CharField(max_length=100)
    # The longest of the lengths that samples are kept by which this minute begins one of.
    every_seconds = models.PositiveIntegerField()
    due = models.PositiveIntegerField()

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["sampled_at", "queue_name"], name="django_jobs_depthsample_one")
        ]
        # Those that are too old.
        indexes = [models.Index(fields=["every_seconds", "sampled_at"], name="django_jobs_depthsample_age")]

    def __str__(self) -> str:
        return f"{self.queue_name}: {self.due}"

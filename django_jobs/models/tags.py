"""Which runs have a tag."""

from __future__ import annotations

from django.db import models


class RunTag(models.Model):
    """One tag of a run, so that its runs are found through an index; the run's options have the tag itself."""

    pk = models.CompositePrimaryKey("run_id", "tag")
    # Not a foreign key: runs are deleted without being read. Its rows go with it.
    run_id = models.BigIntegerField()
    # A digest: some collations take different tags for the same.
    tag = models.CharField(max_length=32)

    class Meta:
        db_table = "django_jobs_tag"
        # No page shows it.
        default_permissions = ()
        indexes = [models.Index(fields=["tag", "run_id"], name="django_jobs_tag_runs")]

    def __str__(self) -> str:
        return f"{self.run_id} ({self.tag})"

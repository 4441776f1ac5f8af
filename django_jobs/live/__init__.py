"""Pages that show what happens while it happens: tokens, the follower of the database, addresses and sockets."""

from __future__ import annotations

from django_jobs.live.tokens import job_token

__all__ = ["job_token"]

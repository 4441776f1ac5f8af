"""Turn schedules into runs."""

"""Django's own Tasks framework, and its backport."""

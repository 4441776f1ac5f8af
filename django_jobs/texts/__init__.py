"""Values and exceptions that are not ours, as text that logs and terminals can show."""

"""The import of jobs from django-apscheduler."""

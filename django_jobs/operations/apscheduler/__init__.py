"""Jobs of django-apscheduler, taken over."""

"""People who use the admin."""

from django.contrib.auth.models import Permission, User


def add_staff(*permissions, is_superuser=False):
    """Add somebody of the staff with some permissions of ours, such as `view_run`."""
    user = User.objects.create(
        username=f"staff-{User.objects.count()}", is_staff=True, is_superuser=is_superuser
    )
    found = Permission.objects.filter(content_type__app_label="django_jobs", codename__in=permissions)
    assert len(found) == len(permissions)
    user.user_permissions.set(found)
    return user

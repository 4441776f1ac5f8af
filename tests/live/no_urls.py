"""Addresses of a project that has none of ours."""

urlpatterns = []

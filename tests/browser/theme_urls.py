"""The example project's addresses, and those of a theme that has any."""

from django.conf import settings
from django.urls import include, path

from testproject.urls import urlpatterns as of_project

urlpatterns = list(of_project)
if settings.THEME == "grappelli":
    urlpatterns.insert(0, path("grappelli/", include("grappelli.urls")))

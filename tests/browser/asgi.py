"""The example project with its sockets and static files: `uvicorn tests.browser.asgi:application`."""

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

http = ASGIStaticFilesHandler(get_asgi_application())

from django_jobs.live import routing  # noqa: E402 - needs the apps

application = routing.application(http)

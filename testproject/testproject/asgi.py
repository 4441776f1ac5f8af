"""ASGI entry point: `uvicorn testproject.asgi:application`, from the folder of manage.py."""

import os
from importlib.util import find_spec

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.settings")

application = get_asgi_application()

# The extra `websocket`; without it, live pages poll.
if find_spec("channels"):
    from django_jobs.live import routing

    application = routing.application(application)

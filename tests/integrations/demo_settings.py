"""The example project with what a project adds to be watched: an address of metrics, and tracing."""

from testproject.settings import *  # noqa: F403
from testproject.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.integrations.traced_app.TracedConfig"]
ROOT_URLCONF = "tests.integrations.demo_urls"

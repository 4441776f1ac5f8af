"""The example project's settings, and an app of functions that tests have called as jobs."""

from testproject.settings import *  # noqa: F403
from testproject.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.probes"]

"""The tests' settings with another theme of the admin, which DJANGO_JOBS_TEST_THEME names."""

import os

from tests.settings import *  # noqa: F403 - these and a theme
from tests.settings import INSTALLED_APPS, MIDDLEWARE

THEME = os.environ["DJANGO_JOBS_TEST_THEME"]
INSTALLED_APPS = [THEME, *INSTALLED_APPS]
# None of the themes does with our strict policy.
MIDDLEWARE = [name for name in MIDDLEWARE if name != "tests.browser.policy.strict_policy"]
ROOT_URLCONF = "tests.browser.theme_urls"

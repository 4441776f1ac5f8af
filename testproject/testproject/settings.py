"""Settings of the example project, with what differs between machines taken from the environment.

TESTPROJECT_VAR: folder for everything the project writes. Defaults to `var` beside manage.py.
TESTPROJECT_DATABASE: "sqlite", "postgresql" or "mariadb". Defaults to "sqlite".
TESTPROJECT_DATABASE_NAME: database name; with SQLite a path. Defaults to "testproject", or `var/db.sqlite3`.
TESTPROJECT_TEST_DATABASE_NAME: name of the test database. Defaults to Django's, or `var/test_db.sqlite3`.
PGHOST, PGPORT, PGUSER, PGPASSWORD: as PostgreSQL's own tools read them.
MARIADB_HOST, MARIADB_PORT, MARIADB_USER, MARIADB_PASSWORD: the same for MariaDB.
TESTPROJECT_DEBUG: "0" turns debug mode off. Defaults to on: this is an example.
SECRET_KEY: required when debug mode is off.
TESTPROJECT_ALLOWED_HOSTS: comma-separated names, besides localhost.
TESTPROJECT_HTTPS: "0" serves plain HTTP with debug mode off. Defaults to HTTPS only, then.
TESTPROJECT_EMAIL_HOST: an SMTP server. Defaults to none: messages become files in `var/mail`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import django
from django.core.exceptions import ImproperlyConfigured


def is_on(name: str, *, default: bool) -> bool:
    """Read a yes-or-no environment variable; empty counts as not set."""
    value = os.environ.get(name, "").strip().lower()
    return value in {"1", "true", "yes", "on"} if value else default


BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(os.environ.get("TESTPROJECT_VAR") or BASE_DIR / "var").resolve()
VAR_DIR.mkdir(parents=True, exist_ok=True)

DEBUG = is_on("TESTPROJECT_DEBUG", default=True)
SECRET_KEY = os.environ.get("SECRET_KEY", "")
if not SECRET_KEY:
    if not DEBUG:
        raise ImproperlyConfigured("SECRET_KEY is not set; with TESTPROJECT_DEBUG=0 it has no default.")
    SECRET_KEY = "django-insecure-for-development-only-everyone-can-read-this-key"  # noqa: S105 - says so

ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
ALLOWED_HOSTS += [
    host.strip() for host in os.environ.get("TESTPROJECT_ALLOWED_HOSTS", "").split(",") if host.strip()
]
if DEBUG:
    ALLOWED_HOSTS.append("*")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_apscheduler",
    "django_jobs",
    "documents",
    "mailings",
    "reports",
]

# Every key is optional; `manage.py check` names the ones it does not know.
DJANGO_JOBS: dict[str, Any] = {}

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "testproject.urls"
WSGI_APPLICATION = "testproject.wsgi.application"
ASGI_APPLICATION = "testproject.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]


def database() -> dict[str, Any]:
    """Describe the database that TESTPROJECT_DATABASE names."""
    kind = os.environ.get("TESTPROJECT_DATABASE") or "sqlite"
    name = os.environ.get("TESTPROJECT_DATABASE_NAME")
    test_name = os.environ.get("TESTPROJECT_TEST_DATABASE_NAME") or None
    match kind:
        case "sqlite":
            return {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": name or VAR_DIR / "db.sqlite3",
                "OPTIONS": {
                    "timeout": 20,  # seconds to wait for another writer
                    # A transaction that reads first and writes later would fail at once, without that wait.
                    "transaction_mode": "IMMEDIATE",
                    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
                },
                # A file, not memory: in memory, a second thread finds the tables locked.
                "TEST": {"NAME": test_name or str(VAR_DIR / "test_db.sqlite3")},
            }
        case "postgresql":
            return {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": name or "testproject",
                "HOST": os.environ.get("PGHOST") or "127.0.0.1",
                "PORT": os.environ.get("PGPORT") or "5432",
                "USER": os.environ.get("PGUSER") or "postgres",
                "PASSWORD": os.environ.get("PGPASSWORD", ""),
                "TEST": {"NAME": test_name},
            }
        case "mariadb":
            return {
                "ENGINE": "django.db.backends.mysql",
                "NAME": name or "testproject",
                "HOST": os.environ.get("MARIADB_HOST") or "127.0.0.1",
                "PORT": os.environ.get("MARIADB_PORT") or "3306",
                "USER": os.environ.get("MARIADB_USER") or "root",
                "PASSWORD": os.environ.get("MARIADB_PASSWORD", ""),
                "OPTIONS": {"charset": "utf8mb4"},
                "TEST": {"NAME": test_name, "CHARSET": "utf8mb4"},
            }
        case _:
            raise ImproperlyConfigured(
                f"TESTPROJECT_DATABASE is {kind!r}; it must be sqlite, postgresql or mariadb."
            )


DATABASES = {"default": database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"

DEFAULT_FROM_EMAIL = "library@example.com"
EMAIL_SERVER = os.environ.get("TESTPROJECT_EMAIL_HOST", "")
if EMAIL_SERVER:
    mailer: dict[str, Any] = {
        "BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "OPTIONS": {"host": EMAIL_SERVER},
    }
else:
    mailer = {
        "BACKEND": "django.core.mail.backends.filebased.EmailBackend",
        "OPTIONS": {"file_path": VAR_DIR / "mail"},
    }
# Django 6.1 deprecates the EMAIL_* settings, and earlier versions do not know MAILERS.
if django.VERSION >= (6, 1):
    MAILERS = {"default": mailer}
elif EMAIL_SERVER:
    EMAIL_BACKEND = mailer["BACKEND"]
    EMAIL_HOST = EMAIL_SERVER
else:
    EMAIL_BACKEND = mailer["BACKEND"]
    EMAIL_FILE_PATH = mailer["OPTIONS"]["file_path"]

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        # Django gives these two handlers of their own; without them each record is one line, once.
        "django": {"handlers": [], "level": "INFO"},
        "django.server": {"handlers": [], "level": "INFO", "propagate": True},
        "django_jobs": {"level": "INFO"},
        "apscheduler": {"level": "WARNING"},
    },
}

SILENCED_SYSTEM_CHECKS = [
    "security.W021",  # asking browsers to preload HSTS is up to the owner of the domain
]
if not EMAIL_SERVER:
    SILENCED_SYSTEM_CHECKS.append("mail.E001")  # messages become files on purpose, see above

if not DEBUG and is_on("TESTPROJECT_HTTPS", default=True):
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

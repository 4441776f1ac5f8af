"""The mailings app: a newsletter and its recipients."""

from django.apps import AppConfig


class MailingsConfig(AppConfig):
    """Recipients, and the job that writes to them."""

    name = "mailings"

"""An app that sets Sentry up, with a transport that writes to a file."""

import json
import os
from pathlib import Path

from django.apps import AppConfig


class WatchedConfig(AppConfig):
    name = "tests.integrations"
    label = "watched"

    def ready(self):
        import sentry_sdk
        from sentry_sdk.transport import Transport

        from django_jobs.integrations.sentry import DjangoJobsIntegration

        class ToFile(Transport):
            def __init__(self, options=None):
                super().__init__(options)
                self.lines = []

            def capture_envelope(self, envelope):
                self.lines += [json.dumps(item.payload.json) for item in envelope.items]

            def flush(self, timeout, callback=None):
                with Path(os.environ["TESTS_SENTRY_FILE"]).open("a") as file:
                    file.writelines(f"{line}\n" for line in self.lines)
                self.lines = []

        sentry_sdk.init(
            dsn="https://key@sentry.invalid/1",
            transport=ToFile(),
            traces_sample_rate=1.0,
            integrations=[DjangoJobsIntegration()],
        )

"""What may not happen in a page: errors, refusals by its content security policy, failed requests."""

import re


class Watch:
    """Collects what goes wrong in pages."""

    def __init__(self):
        self._problems = []
        self._allowed = []

    def allow(self, pattern):
        """Expect problems whose text a regular expression finds."""
        self._allowed.append(pattern)

    def over(self, page):
        """Listen to a page. Violations of its policy are among what browsers write to the console."""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self._note(f"error: {error}"))
        page.on("requestfailed", self._failed)
        page.on("response", self._answered)

    @property
    def problems(self):
        """What went wrong and was not expected."""
        return [text for text in self._problems if not any(re.search(each, text) for each in self._allowed)]

    def _note(self, text):
        # Asked for by the browser of its own accord, and by no page.
        if "/favicon.ico" not in text:
            self._problems.append(text)

    def _console(self, message):
        if message.type in {"error", "warning"}:
            self._note(f"console: {message.text} ({message.location.get('url')})")

    def _failed(self, request):
        # A page that is left, or that itself gives a request up, aborts what is under way.
        if request.failure != "net::ERR_ABORTED":
            self._note(f"request: {request.method} {request.url}: {request.failure}")

    def _answered(self, response):
        if response.status >= 400:
            self._note(f"response: {response.request.method} {response.url}: {response.status}")

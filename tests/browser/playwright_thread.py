"""Playwright in a thread of its own, used from a test as if it were here.

Its synchronous interface leaves an event loop running in the thread that it is used in: Django then
refuses every query there, and our manager takes the test for async code. So it lives elsewhere, and
what a test holds are stand-ins that pass each call on.
"""

from concurrent.futures import ThreadPoolExecutor

from playwright.sync_api import expect as expect_here
from playwright.sync_api import sync_playwright


class Proxy:
    """Stands in for one of Playwright's objects, which may be used in its own thread only."""

    def __init__(self, thread, it):
        self.__dict__.update(_thread=thread, _it=it)

    def __getattr__(self, name):
        return self._thread.get(self._it, name)

    def __repr__(self):
        return f"<proxy {self._it!r}>"

    def __enter__(self):
        return self._thread.call(self._it.__enter__)

    def __exit__(self, *error):
        return self._thread.call(self._it.__exit__, *error)


class PlaywrightThread:
    """The thread, and the driver that it has started."""

    def __init__(self):
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="playwright")
        self._driver = self._pool.submit(lambda: sync_playwright().start()).result(60)

    def launch(self, path, args):
        """Start a browser."""
        return self.call(self._driver.chromium.launch, executable_path=path, args=args, timeout=60_000)

    def get(self, it, name):
        """Return an attribute; a method as one that is called over there."""
        value = self._pool.submit(getattr, it, name).result()
        if callable(value) and not _is_playwrights(value):
            return lambda *args, **kwargs: self.call(value, *args, **kwargs)
        return self._wrapped(value)

    def call(self, function, *args, **kwargs):
        """Call a function over there."""
        args = [_unwrapped(value) for value in args]
        kwargs = {name: _unwrapped(value) for name, value in kwargs.items()}
        return self._wrapped(self._pool.submit(function, *args, **kwargs).result())

    def stop(self):
        """End the driver, and the thread."""
        self._pool.submit(self._driver.stop).result(60)
        self._pool.shutdown()

    def _wrapped(self, value):
        if isinstance(value, list):
            return [self._wrapped(each) for each in value]
        return Proxy(self, value) if _is_playwrights(value) else value


def expect(actual, message=None):
    """Playwright's `expect`, for what a test holds; use this one instead of that."""
    return actual._thread.call(expect_here, actual, message)


def _is_playwrights(value):
    return type(value).__module__.startswith("playwright.") and not isinstance(value, (str, BaseException))


def _unwrapped(value):
    return value._it if isinstance(value, Proxy) else value

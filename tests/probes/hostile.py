"""Functions that leave, raise or return what nobody expects."""

import asyncio


class ApiError(Exception):
    """As API clients have it: attributes are those of the answer."""

    def __getattr__(self, name):
        raise KeyError(name)


class Speechless(Exception):
    def __str__(self):
        raise SystemExit("no words")


class Untouchable(Exception):
    def __getattribute__(self, name):
        raise KeyError(name)


KINDS = {kind.__name__: kind for kind in (ApiError, Speechless, Untouchable)}


def raise_indescribable(kind):
    raise KINDS[kind]("no paper")


async def async_raise_indescribable(kind):
    await asyncio.sleep(0)
    raise_indescribable(kind)


def raise_because_of(kind):
    try:
        raise_indescribable(kind)
    except Exception as error:
        raise ValueError("no letter") from error


class Hidden:
    def __getattribute__(self, name):
        raise SystemExit(name)


def return_hidden():
    return Hidden()

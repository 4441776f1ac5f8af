from types import SimpleNamespace

import pytest
from django.db import connection

from django_jobs.storage.backends.base import Backend
from django_jobs.storage.backends.choose import backend_of


def test_the_database_of_these_tests_has_a_backend():
    backend = backend_of(connection)

    assert isinstance(backend, Backend)
    assert backend.connection is connection


def test_another_database_is_refused_by_name():
    with pytest.raises(NotImplementedError, match="not on oracle"):
        backend_of(SimpleNamespace(vendor="oracle"))

import pytest
from django.db import connection

from django_jobs.storage.notifications.postgresql import PostgreSQLListener
from django_jobs.storage.notifications.thread import listener_class

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_listening_connection_notices_a_silent_cut_unless_settings_say_otherwise(monkeypatch):
    if listener_class("default") is not PostgreSQLListener:
        pytest.skip("only PostgreSQL's listener (with psycopg 3) has a connection to another process")
    options = {**connection.settings_dict["OPTIONS"], "keepalives_count": 7}
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)

    listener = PostgreSQLListener("default")
    given = listener._connection.connection.info.get_parameters()
    listener.close()

    assert (given["keepalives_idle"], given["keepalives_count"]) == ("60", "7")

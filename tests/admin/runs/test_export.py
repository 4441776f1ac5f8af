import csv
import io
import json

import pytest
from django.test import AsyncClient

from django_jobs import codec
from django_jobs.admin.runs import export
from django_jobs.models import Status

HOSTILE = "=cmd|' /C calc'!A0"


def url(kind, **query):
    return f"/admin/django_jobs/run/export/{kind}/", query


def body(response):
    assert response.status_code == 200
    return b"".join(response.streaming_content).decode()


def rows(client, kind, **query):
    text = body(client.get(*url(kind, **query)))
    return (
        json.loads(text) if kind == "json" else list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))
    )


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_the_runs_that_match_are_exported_newest_first(root, make_run, kind):
    make_run(status=Status.FAILED)
    wanted = [make_run(status=Status.FAILED, queue_name="mail").pk for _ in range(3)]

    exported = rows(root, kind, status="FAILED", queue="mail", before="1")

    assert [int(row["id"]) for row in exported] == wanted[::-1]
    assert rows(root, kind, queue="nowhere") == []


def test_what_a_run_is_about_and_its_tags_choose_and_are_exported(client_of, manager, probes, make_run):
    make_run()
    manager.using(about="shop.order:7", tags=["b", "a"]).add_immediate_job(probes.nothing)
    client = client_of("view_run")

    for query in ({"about": "shop.order:7"}, {"tag": "a"}, {"q": "tag:a about:shop.order:7"}):
        (row,) = rows(client, "json", **query)
        assert (row["about"], row["tags"]) == ("shop.order:7", ["a", "b"])
        (row,) = rows(client, "csv", **query)
        assert (row["about"], row["tags"]) == ("shop.order:7", '["a", "b"]')


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_batches_are_put_together(root, client_of, make_run, monkeypatch, kind):
    monkeypatch.setattr(export, "SMALL_BATCH", 2)
    monkeypatch.setattr(export, "BATCH", 3)
    runs = [make_run().pk for _ in range(7)]

    for client in (root, client_of("view_run")):
        assert [int(row["id"]) for row in rows(client, kind)] == runs[::-1]


def test_it_comes_as_a_file_that_no_browser_shows(root, make_run):
    make_run()

    for kind, content_type in (("csv", "text/csv; charset=utf-8"), ("json", "application/json")):
        response = root.get(*url(kind))

        assert response.streaming
        assert response["Content-Type"] == content_type
        assert response["Content-Disposition"].startswith('attachment; filename="runs-')
        assert response["Content-Disposition"].endswith(f'.{kind}"')
        assert response["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_payload_is_exported_to_those_only_who_may_see_it_and_secrets_to_nobody(client_of, make_run, kind):
    make_run(
        status=Status.FAILED,
        payload=codec.dump_arguments(("an argument",), {"api_key": "hunter2"}),
        result=codec.dumps("a result"),
        error="ValueError: one line",
        errors=[{"attempt": 1, "traceback": "a traceback"}],
        log="a line of the log",
    )

    withheld = body(client_of("view_run").get(*url(kind)))
    shown = body(client_of("view_run", "view_payload").get(*url(kind)))

    for text in ("an argument", "a result", "a traceback", "a line of the log"):
        assert text not in withheld
        assert text in shown
    assert "ValueError: one line" in withheld
    assert "hunter2" not in shown


def test_who_may_not_see_runs_exports_nothing(client_of, make_run):
    make_run()

    assert client_of().get(*url("csv")).status_code == 403
    assert client_of("view_job", "view_payload").get(*url("json")).status_code == 403


def test_other_formats_and_methods_are_refused(root, db):
    assert root.get(*url("xlsx")).status_code == 404
    assert root.post(url("csv")[0]).status_code == 405


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", "  =", "＝"])  # noqa: RUF001 - wide on purpose
def test_no_cell_is_a_formula(root, make_run, start):
    text = f"{start}{HOSTILE}"
    make_run(
        job_id=text, name=text, queue_name=text, worker_id=text, error=text, log=text, priority=-7,
        result=codec.dumps(text), payload=codec.dump_arguments((text,), {}), status=Status.FAILED,
    )  # fmt: skip

    (row,) = rows(root, "csv")

    for name in ("job_id", "name", "queue_name", "worker_id", "error", "log", "result"):
        assert row[name].startswith("'"), name
    assert row["priority"] == "-7"
    for value in row.values():
        assert not value.lstrip(" ").startswith(("=", "+", "@", "\t", "\r"))


def test_text_that_would_break_a_line_stays_in_its_cell(root, make_run):
    make_run(error='a "quoted", text\nof two lines', status=Status.FAILED)

    (row,) = rows(root, "csv")

    assert row["error"] == 'a "quoted", text\nof two lines'


@pytest.mark.parametrize(
    "fields", [{"payload": "{"}, {"options": ["odd"]}, {"errors": "odd"}, {"result": "{"}]
)
@pytest.mark.parametrize("kind", ["csv", "json"])
def test_damaged_rows_are_exported(root, make_run, fields, kind):
    make_run(status=Status.FAILED, **fields)

    assert len(rows(root, kind)) == 1


def test_few_runs_are_in_memory_at_once(root, make_runs, django_assert_max_num_queries):
    make_runs(200)
    response = root.get(*url("json"))
    parts = iter(response.streaming_content)

    with django_assert_max_num_queries(8):
        first = [next(parts), next(parts)]

    assert b"".join(first).count(b'"id":') <= export.SMALL_BATCH


@pytest.mark.django_db(transaction=True)
def test_an_asgi_server_gets_it_part_by_part(make_user, make_run, run_async):
    run = make_run()
    user = make_user(is_superuser=True)

    async def fetch():
        client = AsyncClient()
        await client.aforce_login(user)
        response = await client.get(*url("json"))
        assert response.is_async
        return b"".join([part async for part in response.streaming_content])

    (row,) = json.loads(run_async(fetch()))

    assert row["id"] == run.pk

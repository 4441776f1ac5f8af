import json
import sys

import pytest
from django.core.management import CommandError, call_command
from prometheus_client.parser import text_string_to_metric_families as parse

from django_jobs import integrations

pytestmark = pytest.mark.django_db


def values(text):
    return {sample.name: sample.value for family in parse(text) for sample in family.samples}


def test_it_writes_what_prometheus_would_scrape(capsys, make_worker):
    make_worker(threads=3)

    call_command("jobs", "metrics")

    assert values(capsys.readouterr().out)["django_jobs_worker_threads"] == 3


def test_a_file_is_replaced_as_a_whole_and_can_be_read_by_others(tmp_path, capsys):
    file = tmp_path / "jobs.prom"
    file.write_text("old")

    call_command("jobs", "metrics", "--output", str(file))

    assert values(file.read_text())["django_jobs_up"] == 1
    assert file.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [file]
    assert capsys.readouterr().out == ""


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(CommandError, match="cannot write"):
        call_command("jobs", "metrics", "--output", str(tmp_path / "missing" / "jobs.prom"))


def test_json_has_every_sample(capsys):
    call_command("jobs", "metrics", "--json")

    found = json.loads(capsys.readouterr().out)
    assert {"name": "django_jobs_up", "labels": {}, "value": 1.0} in found


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "django_jobs.integrations.metrics", raising=False)
    monkeypatch.delattr(integrations, "metrics", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)

    with pytest.raises(CommandError, match=r"pip install 'django-durable-jobs\[prometheus\]'") as raised:
        call_command("jobs", "metrics")

    assert raised.value.returncode == 2

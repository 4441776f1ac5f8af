from __future__ import annotations

import csv
import runpy
from pathlib import Path

import pytest
from django.utils import timezone

import reports.jobs
from django_jobs import triggers
from django_jobs.registry import schedules
from documents.jobs import ingest_folder
from documents.models import Chunk, Document
from documents.views import SAMPLES_DIR
from mailings.demo import load_demo_recipients
from reports.jobs import write_report, write_whole

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("var_dir")]


def test_html_report_shows_the_figures(var_dir):
    ingest_folder(SAMPLES_DIR)
    load_demo_recipients()

    result = write_report()

    path = Path(result["path"])
    assert path.parent == var_dir / "reports"
    assert result["rows"] == 4
    text = path.read_text(encoding="utf-8")
    assert (
        f"<td>markdown</td><td>2</td><td>{Chunk.objects.filter(document__kind='markdown').count()}</td>"
        in text
    )
    assert "23 subscribers among 25 recipients" in text


def test_csv_report_adds_up(var_dir):
    ingest_folder(SAMPLES_DIR)
    load_demo_recipients()

    result = write_report("csv")

    with Path(result["path"]).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    values = {(row["figure"], row["of"]): row["value"] for row in rows}
    assert result["rows"] == len(rows)
    assert values["documents", "pdf"] == "2"
    assert values["documents", "all"] == "7"
    assert values["chunks", "all"] == str(Chunk.objects.count())
    assert values["size_bytes", "all"] == str(sum(Document.objects.values_list("size_bytes", flat=True)))
    assert values["recipients", "subscribed"] == "23"


def test_html_is_escaped():
    Document.objects.create(
        title="t",
        source_path="/t",
        kind="<script>",
        sha256="0",
        size_bytes=1,
        text_length=1,
        ingested_at=timezone.now(),
    )

    text = Path(write_report()["path"]).read_text(encoding="utf-8")

    assert "<script>" not in text
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize("kind", ["html", "csv"])
def test_an_empty_database_has_a_report(kind):
    assert Path(write_report(kind)["path"]).stat().st_size > 0


def test_reports_do_not_replace_each_other(var_dir):
    paths = {write_report()["path"] for _ in range(3)}

    assert {str(path) for path in (var_dir / "reports").iterdir()} == paths


def test_the_newest_reports_are_kept(var_dir, monkeypatch):
    monkeypatch.setattr(reports.jobs, "MOST_REPORTS", 2)
    paths = [write_report(kind)["path"] for kind in ("html", "csv", "html")]

    assert sorted(str(path) for path in (var_dir / "reports").iterdir()) == sorted(paths[1:])


def test_an_unknown_kind_is_refused(var_dir):
    with pytest.raises(ValueError, match="kind is 'xml'"):
        write_report("xml")

    assert list(var_dir.rglob("*")) == []


def test_a_report_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    with pytest.raises(UnicodeEncodeError):
        write_whole(tmp_path / "report.html", "half \ud800")

    assert list(tmp_path.iterdir()) == []


def test_queries_do_not_grow_with_documents(django_assert_num_queries):
    ingest_folder(SAMPLES_DIR)

    with django_assert_num_queries(4):
        write_report()


def test_both_reports_are_declared():
    runpy.run_path(reports.jobs.__file__, run_name="reports.jobs")

    assert {
        declared.job_id: (declared.args, triggers.describe(declared.trigger))
        for declared in schedules.declarations()
    } == {
        "demo-report": (("html",), "every 30 seconds"),
        "demo-report-csv": (("csv",), "every minute"),
    }

from __future__ import annotations

import io
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.urls import reverse
from pypdf import PdfWriter

from documents.jobs import MAX_REASONS, ingest_file, ingest_folder, measure_document
from documents.models import Chunk, Document
from documents.reading import CHUNK_CHARACTERS, Unreadable, read_content, split_text
from documents.views import SAMPLES_DIR


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "inbox"
    path.mkdir()
    return path


def texts(document):
    return list(document.chunks.order_by("position").values_list("text", flat=True))


@pytest.mark.django_db
def test_the_samples_are_ingested():
    summary = ingest_folder(str(SAMPLES_DIR))

    assert summary == {
        "documents": 7,
        "chunks": Chunk.objects.count(),
        "skipped": 0,
        "unreadable": 0,
        "reasons": [],
    }
    assert sorted(Document.objects.values_list("kind", flat=True)) == [
        *["csv", "markdown", "markdown", "pdf", "pdf", "text", "text"]
    ]
    assert Document.objects.filter(title="Annual report of the Town Library", kind="pdf").exists()
    assert Document.objects.filter(title="Lending rules", kind="markdown").exists()
    assert Chunk.objects.filter(text__contains="title: Four Bridges\nmedium: board game").exists()
    assert Chunk.objects.filter(document__kind="pdf", text__contains="214,600 visits").exists()


@pytest.mark.django_db
def test_chunks_of_the_samples_are_numbered_and_small():
    ingest_folder(SAMPLES_DIR)

    for document in Document.objects.all():
        positions = document.chunks.order_by("position").values_list("position", flat=True)
        assert list(positions) == list(range(len(positions)))
        assert all(0 < len(text) <= CHUNK_CHARACTERS for text in texts(document))


@pytest.mark.django_db
def test_a_second_ingest_skips_what_has_not_changed(folder):
    (folder / "one.txt").write_text("first")
    (folder / "two.txt").write_text("second")
    ingest_folder(folder)
    written = list(Chunk.objects.order_by("pk").values())

    summary = ingest_folder(folder)

    assert summary == {"documents": 0, "chunks": 0, "skipped": 2, "unreadable": 0, "reasons": []}
    assert list(Chunk.objects.order_by("pk").values()) == written


@pytest.mark.django_db
def test_a_changed_file_has_its_chunks_replaced(folder):
    path = folder / "one.txt"
    path.write_text("\n\n".join("long " * 120 for _ in range(3)))
    first = ingest_file(path)
    path.write_text("short")

    second = ingest_file(path)

    assert first["chunks"] == 3
    assert second == {"document": first["document"], "chunks": 1, "skipped": False}
    document = Document.objects.get()
    assert texts(document) == ["short"]
    assert (document.size_bytes, document.text_length) == (5, 5)


@pytest.mark.django_db
def test_an_unreadable_file_is_named_and_does_not_stop_the_others(folder, caplog):
    (folder / "a.pdf").write_bytes(b"%PDF-1.7 broken")
    (folder / "b.txt").write_bytes(b"binary \0 data")
    (folder / "c.md").write_text("   \n")
    (folder / "d.jpg").write_bytes(b"picture")
    (folder / "below").mkdir()
    (folder / "below" / "e.txt").write_text("fine")

    summary = ingest_folder(str(folder))

    assert (summary["documents"], summary["skipped"], summary["unreadable"]) == (1, 0, 4)
    reasons = {entry["file"]: entry["reason"] for entry in summary["reasons"]}
    assert set(reasons) == {"a.pdf", "b.txt", "c.md", "d.jpg"}
    assert "not a PDF" in reasons["a.pdf"]
    assert "binary" in reasons["b.txt"]
    assert "no text" in reasons["c.md"]
    assert "*.jpg" in reasons["d.jpg"]
    assert "d.jpg not ingested" in caplog.text


@pytest.mark.django_db
def test_hidden_files_are_left_alone_and_links_are_not_followed(folder, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("outside")
    (folder / "link.txt").symlink_to(secret)
    (folder / ".hidden.txt").write_text("hidden")
    (folder / ".git").mkdir()
    (folder / ".git" / "notes.txt").write_text("hidden")

    summary = ingest_folder(folder)

    assert [entry["file"] for entry in summary["reasons"]] == ["link.txt"]
    assert not Document.objects.exists()


@pytest.mark.django_db
def test_progress_counts_files(folder, monkeypatch):
    progress = []
    run = SimpleNamespace(is_cancelled=False, set_progress=lambda *values: progress.append(values))
    monkeypatch.setattr("documents.jobs.current_run", lambda: run)
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text(name)

    ingest_folder(folder)

    assert progress == [(0, 2, "a.txt"), (1, 2, "b.txt"), (2, 2, "done")]


@pytest.mark.django_db
def test_a_cancelled_ingest_stops_and_keeps_what_is_done(folder, monkeypatch):
    run = SimpleNamespace(is_cancelled=False)
    run.set_progress = lambda *_: setattr(run, "is_cancelled", True)
    monkeypatch.setattr("documents.jobs.current_run", lambda: run)
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text(name)

    with pytest.raises(RuntimeError, match="stopped after 1 of 2 files"):
        ingest_folder(folder)

    assert [document.title for document in Document.objects.all()] == ["a"]


@pytest.mark.django_db
def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(NotADirectoryError, match="nowhere"):
        ingest_folder(str(tmp_path / "nowhere"))


@pytest.mark.django_db
def test_one_file_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(Unreadable, match="No such file"):
        ingest_file(tmp_path / "gone.txt")


@pytest.mark.django_db
def test_a_path_too_long_for_the_database_is_refused(folder):
    path = folder / ("x" * 250 + ".txt")
    path.write_text("text")

    assert "255" in ingest_folder(folder)["reasons"][0]["reason"]


@pytest.mark.django_db
def test_a_name_that_is_not_utf_8_is_reported(folder):
    try:
        Path(os.fsdecode(bytes(folder) + b"/caf\xe9.txt")).write_text("text")
    except OSError:
        pytest.skip("this file system takes no such names")

    summary = ingest_folder(folder)

    assert summary["reasons"] == [{"file": "caf?.txt", "reason": "its path is not UTF-8"}]


@pytest.mark.django_db
def test_a_result_names_no_more_files_than_can_be_read(folder):
    for number in range(MAX_REASONS + 1):
        (folder / f"{number}.jpg").touch()

    summary = ingest_folder(folder)

    assert (summary["unreadable"], len(summary["reasons"])) == (MAX_REASONS + 1, MAX_REASONS)


@pytest.mark.django_db(transaction=True)
def test_ingesting_the_same_folder_in_several_threads_writes_each_chunk_once(folder):
    names = [f"{number}.txt" for number in range(5)]
    for name in names:
        (folder / name).write_text("\n\n".join(f"{name} paragraph {n} " * 30 for n in range(6)))
    threads = 4
    barrier = threading.Barrier(threads)

    def ingest(_):
        try:
            barrier.wait(timeout=10)
            return ingest_folder(folder)
        finally:
            connection.close()

    with ThreadPoolExecutor(threads) as pool:
        summaries = list(pool.map(ingest, range(threads)))

    assert sum(summary["documents"] for summary in summaries) == len(names)
    assert sum(summary["skipped"] for summary in summaries) == len(names) * (threads - 1)
    assert Document.objects.count() == len(names)
    for document in Document.objects.all():
        assert texts(document) == split_text((folder / f"{document.title}.txt").read_text())


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("Grüße".encode(), "Grüße"),
        ("Grüße".encode("utf-8-sig"), "Grüße"),
        ("Grüße".encode("latin-1"), "Grüße"),
        (b"one\r\ntwo\rthree", "one\ntwo\nthree"),
    ],
)
def test_text_is_decoded(data, expected):
    assert read_content(data, Document.Kind.TEXT).text == expected


def test_csv_rows_become_named_values():
    data = b'number;title;price\n1;"Bread; and butter";\n\n2;Atlas;48.00;extra\n'

    text = read_content(data, Document.Kind.CSV).text

    assert (
        text
        == "number: 1\ntitle: Bread; and butter\n\nnumber: 2\ntitle: Atlas\nprice: 48.00\ncolumn 4: extra"
    )


def test_csv_with_an_endless_field_is_unreadable():
    with pytest.raises(Unreadable, match="line 2 is not CSV"):
        read_content(b"a,b\n" + b"x" * 200_000, Document.Kind.CSV)


def test_a_pdf_without_text_is_unreadable():
    writer = PdfWriter()
    writer.add_blank_page(width=200, height=200)
    file = io.BytesIO()
    writer.write(file)

    with pytest.raises(Unreadable, match="scan"):
        read_content(file.getvalue(), Document.Kind.PDF)


def test_an_encrypted_pdf_is_unreadable():
    writer = PdfWriter(clone_from=SAMPLES_DIR / "annual-report.pdf")
    writer.encrypt("secret", algorithm="RC4-128")
    file = io.BytesIO()
    writer.write(file)

    with pytest.raises(Unreadable, match="not a PDF that can be read"):
        read_content(file.getvalue(), Document.Kind.PDF)


@pytest.mark.parametrize(
    "text",
    [
        "short",
        "one\n\ntwo\n \nthree",
        "A sentence of some length. " * 200,
        "word " * 1000,
        "x" * 3000,
        "x" * 800 + " y",
        " ".join(["x" * 900] * 3),
        ("paragraph " * 30 + "\n\n") * 10,
    ],
)
def test_chunks_keep_every_character_but_white_space(text):
    chunks = split_text(text)

    assert all(0 < len(chunk) <= CHUNK_CHARACTERS for chunk in chunks)
    assert re.sub(r"\s", "", "".join(chunks)) == re.sub(r"\s", "", text)


def test_short_paragraphs_share_a_chunk_and_long_ones_end_with_a_sentence():
    chunks = split_text("first\n\nsecond\n\n" + "This sentence goes on. " * 60)

    assert chunks[0].startswith("first\n\nsecond")
    assert len(chunks) == 2
    assert all(chunk.endswith("goes on.") for chunk in chunks)


def test_no_text_makes_no_chunks():
    assert split_text("") == []


@pytest.mark.django_db
@pytest.mark.parametrize("model", ["document", "chunk"])
def test_admin_lists_cost_the_same_with_more_rows(model, admin_client, folder, django_assert_num_queries):
    url = reverse(f"admin:documents_{model}_changelist")
    for number in range(3):
        (folder / f"{number}.txt").write_text(f"text {number}")
    ingest_folder(folder)
    with django_assert_num_queries(10, exact=False) as few:
        assert admin_client.get(url).status_code == 200
    for number in range(3, 30):
        (folder / f"{number}.txt").write_text(f"text {number}")
    ingest_folder(folder)

    with django_assert_num_queries(len(few.captured_queries)):
        response = admin_client.get(url, {"q": "text"} if model == "chunk" else {})

    assert response.status_code == 200
    assert get_user_model().objects.count() == 1


@pytest.mark.django_db
def test_a_document_is_measured_once_after_many_of_its_chunks_were_changed(folder, jobs):
    (folder / "a.txt").write_text("first paragraph\n\nsecond paragraph")
    ingest_folder(folder)
    jobs.assert_not_added(measure_document)
    document = Document.objects.get()
    chunk = document.chunks.first()

    for text in ("shorter", "short"):
        chunk.text = text
        chunk.save()

    jobs.assert_added(measure_document, times=1, args=[document])
    assert [run.result for run in jobs.drain(deferred=True)] == [len("short")]
    document.refresh_from_db()
    assert document.text_length == len("short")


@pytest.mark.django_db
def test_a_document_that_is_deleted_is_not_measured(folder, jobs):
    (folder / "a.txt").write_text("first paragraph")
    ingest_folder(folder)

    Document.objects.get().delete()

    jobs.assert_not_added(measure_document)

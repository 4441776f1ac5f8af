"""A page to choose or upload documents, and to watch them being ingested."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.shortcuts import redirect, render
from django.utils.text import get_valid_filename
from django.views.decorators.http import require_http_methods

from django_jobs import get_job_manager
from documents.forms import DocumentsForm
from documents.jobs import add_ingestion
from documents.views import SAMPLES_DIR

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

MOST_SHOWN = 10


@require_http_methods(["GET", "HEAD", "POST"])
def documents(request: HttpRequest) -> HttpResponse:
    """Show a form, and below it what was asked for in this browser."""
    form = DocumentsForm(request.POST, request.FILES) if request.method == "POST" else DocumentsForm()
    if form.is_valid():
        folder, names = _put_together(form.cleaned_data)
        ingests = [{**_ingest(folder, names), "names": names}, *request.session.get("ingests", [])]
        request.session["ingests"] = ingests[:MOST_SHOWN]
        return redirect("documents")
    ingests = [
        {**ingest, "outcome": _outcome(ingest["index_id"])} for ingest in request.session.get("ingests", [])
    ]
    return render(request, "documents/documents.html", {"form": form, "ingests": ingests})


def _ingest(folder: Path, names: list[str]) -> dict[str, str]:
    batch, index = add_ingestion(folder, names)
    return {"batch_id": batch.id, "index_id": str(index)}


def _outcome(job_id: str) -> str:
    """Say what an index came to that had ended before the page was loaded; others say it themselves."""
    job = get_job_manager().get_job(job_id)
    if job is None or job["status"] != "successful":
        return ""
    return "{documents} new, {skipped} known already, {unreadable} unreadable.".format_map(job["result"])


def _put_together(chosen: dict[str, Any]) -> tuple[Path, list[str]]:
    """Put chosen samples and uploaded files into a folder of their own; return it, and their names.

    The same files again are in the same folder, and known by their paths.
    """
    uploads = settings.VAR_DIR / "uploads"
    uploads.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".", dir=uploads))
    names = []
    for name in chosen["samples"]:
        shutil.copyfile(SAMPLES_DIR / name, made / name)
        names.append(name)
    for number, file in enumerate(chosen["files"], 1):
        name = get_valid_filename(file.name)
        # Two uploads may have one name, or that of a sample.
        target = made / name if not (made / name).exists() else made / f"{number}-{name}"
        with target.open("wb") as opened:
            for part in file.chunks():
                opened.write(part)
        names.append(target.name)
    folder = uploads / _digest(made)
    try:
        made.rename(folder)
    except OSError:
        # It is there, with the same files in it.
        shutil.rmtree(made)
        if not folder.is_dir():
            raise
    return folder, names


def _digest(folder: Path) -> str:
    """Return what names and contents of a folder's files come to."""
    files = [
        f"{path.name}:{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in sorted(folder.iterdir())
    ]
    return hashlib.sha256("\n".join(files).encode()).hexdigest()[:32]

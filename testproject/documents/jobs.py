"""Jobs that turn files into documents. They are plain functions: call them, or add them as jobs."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import DatabaseError, IntegrityError, transaction
from django.db.models import Sum
from django.db.models.functions import Length
from django.utils import timezone

from django_jobs import Debounce, Retry, current_run, job
from documents.models import Chunk, Document
from documents.reading import KINDS, Unreadable, read_content, split_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django_jobs import Batch

logger = logging.getLogger(__name__)

MAX_FILE_BYTES = 50 * 1024 * 1024  # a file is read into memory whole
MAX_REASONS = 100  # a result is meant to be read; the log has them all


class Ingested(NamedTuple):
    """What became of one file.

    Attributes:
        document_id: Primary key of its document.
        chunk_count: Chunks written; 0 if it was skipped.
        is_skipped: True if the file has not changed since it was last ingested.
    """

    document_id: int
    chunk_count: int
    is_skipped: bool


# A database that is locked or away for a moment is no reason to give up: what is done is skipped.
@job(retry=Retry(max_attempts=3, delay=5, on=[DatabaseError]))
def ingest_folder(folder: str | Path) -> dict[str, Any]:
    """Ingest every file in a folder and the folders below it.

    Safe to run again, and to run twice at once: a file whose content is known is skipped, a changed one
    has its chunks replaced in one transaction. Hidden files are left alone; so are documents whose file is
    gone. A file that cannot be read is reported and does not stop the others.

    Args:
        folder: Path of the folder.

    Returns:
        `documents` and `chunks`: how many were written. `skipped`: how many files have not changed.
        `unreadable`: how many could not be read. `reasons`: list of `{"file": path below the folder,
        "reason": why}` for the first 100 of those.

    Raises:
        NotADirectoryError: There is no such folder.
        RuntimeError: The job was cancelled; what is done so far stays.
    """
    root = Path(folder)
    if not root.is_dir():
        raise NotADirectoryError(f"{str(folder)!r} is not a folder")
    files = list_files(root)
    run = current_run()
    written: list[Ingested] = []
    skipped = unreadable = 0
    reasons: list[dict[str, str]] = []

    for done, path in enumerate(files):
        # A file name may be any bytes; what cannot be shown becomes "?".
        name = str(path.relative_to(root)).encode("utf-8", "replace").decode("utf-8")
        if run:
            # Raised, not returned: an early return would count as a success.
            if run.is_cancelled:
                raise RuntimeError(f"stopped after {done} of {len(files)} files")
            run.set_progress(done, len(files), name)
        try:
            outcome = _ingest(path)
        except Unreadable as reason:
            logger.warning("file=%s not ingested: %s", name, reason)
            unreadable += 1
            if unreadable <= MAX_REASONS:
                reasons.append({"file": name, "reason": str(reason)})
        else:
            if outcome.is_skipped:
                skipped += 1
            else:
                written.append(outcome)
    if run:
        run.set_progress(len(files), len(files), "done")

    return {
        "documents": len(written),
        "chunks": sum(outcome.chunk_count for outcome in written),
        "skipped": skipped,
        "unreadable": unreadable,
        "reasons": reasons,
    }


@job
def ingest_file(path: str | Path) -> dict[str, Any]:
    """Ingest one file, unless its content is known already.

    Args:
        path: Path of a .txt, .md, .csv or .pdf file.

    Returns:
        `document`: its primary key. `chunks`: how many were written. `skipped`: whether it has not changed.

    Raises:
        Unreadable: The file cannot be ingested; the message says why.
    """
    outcome = _ingest(Path(path))
    return {
        "document": outcome.document_id,
        "chunks": outcome.chunk_count,
        "skipped": outcome.is_skipped,
    }


@job
def read_again(document: Document) -> dict[str, Any]:
    """Ingest the file of a document again, such as after it was changed.

    Returns:
        As `ingest_file`.
    """
    return ingest_file(document.source_path)


@job(retry=Retry(max_attempts=3, delay=5, on=[DatabaseError]))
def ingest_part(path: str | Path) -> dict[str, Any]:
    """Ingest one file of several, as a run of a batch.

    Returns:
        As `ingest_file`; `file` and `reason` for one that cannot be read, which does not stop the others.
    """
    try:
        return ingest_file(path)
    except Unreadable as reason:
        return {"file": Path(path).name, "reason": str(reason)}


@job
def index_documents(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum up what became of several files, with an index of their documents.

    Args:
        parts: What `ingest_part` returned for each.

    Returns:
        As `ingest_folder`; and `titles`: those of the documents, in order.
    """
    found = [part for part in parts if "document" in part]
    titles = Document.objects.filter(pk__in=[part["document"] for part in found]).values_list(
        "title", flat=True
    )
    reasons = [part for part in parts if "reason" in part]
    return {
        "documents": sum(not part["skipped"] for part in found),
        "chunks": sum(part["chunks"] for part in found),
        "skipped": sum(part["skipped"] for part in found),
        "unreadable": len(reasons),
        "reasons": reasons[:MAX_REASONS],
        "titles": sorted(titles),
    }


@job(retry=Retry(max_attempts=5, delay=30))
def mail_index(summary: dict[str, Any]) -> None:
    """Mail the library what was ingested.

    Args:
        summary: What `index_documents` returned.
    """
    subject = f"{summary['documents']} new documents, {summary['unreadable']} unreadable"
    EmailMessage(subject, "\n".join(summary["titles"]) + "\n", to=[settings.DEFAULT_FROM_EMAIL]).send()


def add_ingestion(folder: Path, names: Iterable[str]) -> tuple[Batch, str]:
    """Have files of a folder ingested side by side, then indexed, and then mailed about.

    Returns:
        The batch, and the id of the index, whose result sums it up.
    """
    names = list(names)
    # Not above: each `manage.py` command imports this module, and most need no manager.
    from django_jobs import get_job_manager

    with get_job_manager().batch(f"ingest {', '.join(names)}"[:255]) as batch:
        parts = [
            batch.using(name=f"ingest {name}"[:255]).add(ingest_part, str(folder / name)) for name in names
        ]
        index = batch.add(index_documents, parts)
        index.then(mail_index)
    return batch, str(index)


# Somebody who corrects a document saves many chunks one after the other.
@job(debounce=Debounce("document:{document.pk}", wait=5, max_wait=60))
def measure_document(document: Document) -> int:
    """Count the characters of a document again, once after many of its chunks were changed.

    Returns:
        How many it has.
    """
    length: int = document.chunks.aggregate(length=Sum(Length("text")))["length"] or 0
    Document.objects.filter(pk=document.pk).update(text_length=length)
    return length


def list_files(root: Path) -> list[Path]:
    """List the files below a folder by path, without hidden ones and what hidden folders hold."""
    return sorted(
        path
        for path in root.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )


def _ingest(path: Path) -> Ingested:
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise Unreadable(f"files named *{path.suffix} are not supported, only {', '.join(KINDS)}")
    data = _read_bytes(path)
    sha256 = hashlib.sha256(data).hexdigest()
    source_path = str(path.resolve())
    try:
        source_path.encode()
    except UnicodeEncodeError as error:
        raise Unreadable("its path is not UTF-8") from error
    if len(source_path) > 255:
        raise Unreadable(f"its path has {len(source_path)} characters, more than 255")
    known = (
        Document.objects.filter(source_path=source_path, sha256=sha256).values_list("pk", flat=True).first()
    )
    if known:
        return Ingested(known, 0, is_skipped=True)

    # Before the transaction: reading a large PDF takes seconds, and on SQLite a transaction stops all writers.
    content = read_content(data, kind)
    chunks = split_text(content.text)
    fields = {
        "title": (content.title or path.stem)[:255],
        "kind": kind,
        "sha256": sha256,
        "size_bytes": len(data),
        "text_length": len(content.text),
        "ingested_at": timezone.now(),
    }
    try:
        document_id, is_written = _write(source_path, fields, chunks)
    except IntegrityError:
        # Another run has just inserted the same document. Found in a new transaction: in this one, MariaDB
        # would keep a lock from the failed insert, and two runs holding one each would deadlock.
        document_id, is_written = _write(source_path, fields, chunks)
    return Ingested(document_id, len(chunks) if is_written else 0, is_skipped=not is_written)


@transaction.atomic
def _write(source_path: str, fields: dict[str, Any], chunks: list[str]) -> tuple[int, bool]:
    """Write a document and its chunks, unless this content is there already; say which."""
    document = Document.objects.select_for_update().filter(source_path=source_path).first()
    if document is None:
        document = Document.objects.create(source_path=source_path, **fields)
    elif document.sha256 == fields["sha256"]:
        # Another run has written it since `_ingest` looked.
        return document.pk, False
    else:
        for name, value in fields.items():
            setattr(document, name, value)
        document.save(update_fields=fields)
        document.chunks.all().delete()
    Chunk.objects.bulk_create(
        [Chunk(document=document, position=position, text=text) for position, text in enumerate(chunks)],
        batch_size=500,
    )
    return document.pk, True


def _read_bytes(path: Path) -> bytes:
    # A link could lead out of the folder that a caller was allowed to name.
    if path.is_symlink():
        raise Unreadable("it is a symbolic link, which is not followed")
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise Unreadable(f"it has more than {MAX_FILE_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error

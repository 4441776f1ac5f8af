"""From a file's bytes to its text, and from text to chunks; no database here."""

from __future__ import annotations

import csv
import io
import re
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

from documents.models import Document

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK_CHARACTERS = 800

KINDS = {
    ".txt": Document.Kind.TEXT,
    ".md": Document.Kind.MARKDOWN,
    ".csv": Document.Kind.CSV,
    ".pdf": Document.Kind.PDF,
}


class Unreadable(Exception):
    """A file that cannot be ingested; the message is the reason, without the file's name."""


class Content(NamedTuple):
    """What a file says.

    Attributes:
        title: The title the file gives itself, or an empty string.
        text: Paragraphs, separated by empty lines.
    """

    title: str
    text: str


def read_content(data: bytes, kind: Document.Kind) -> Content:
    """Read the text of a file.

    Args:
        data: The file's bytes. Text is UTF-8 with or without a byte order mark, else Latin-1.
        kind: What the file is.

    Returns:
        Its title and its text, free of what a database cannot store.

    Raises:
        Unreadable: It is damaged, encrypted, not text, or holds no text.
    """
    match kind:
        case Document.Kind.PDF:
            title, text = _read_pdf(data)
        case Document.Kind.CSV:
            title, text = "", _read_csv(_decode(data))
        case Document.Kind.MARKDOWN:
            text = _decode(data)
            heading = re.search(r"^# +(.+?)[ #]*$", text, re.MULTILINE)
            title = heading[1] if heading else ""
        case _:
            title, text = "", _decode(data)

    text = _clean(text)
    if not text:
        raise Unreadable("it holds no text")
    return Content(" ".join(_clean(title).split()), text)


def split_text(text: str, limit: int = CHUNK_CHARACTERS) -> list[str]:
    """Cut text into chunks of whole paragraphs, as many to a chunk as fit.

    A paragraph longer than a chunk is cut after a sentence, else at white space, else anywhere.

    Args:
        text: Paragraphs, separated by empty lines.
        limit: The most characters that a chunk may have.

    Returns:
        Chunks in order, none empty. Only white space between them is lost.
    """
    chunks: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        for piece in _cut(paragraph.strip(), limit):
            if chunks and len(chunks[-1]) + 2 + len(piece) <= limit:
                chunks[-1] += "\n\n" + piece
            else:
                chunks.append(piece)
    return chunks


def _cut(paragraph: str, limit: int) -> Iterator[str]:
    start = 0
    while len(paragraph) - start > limit:
        # The separator may stand just behind the limit: it is white space, and falls away.
        window = paragraph[start : start + limit + 1]
        ends = [match.start() for match in re.finditer(r"(?<=[.!?])\s", window)]
        # A sentence that ends early would leave a chunk nearly empty.
        if ends and ends[-1] > limit // 2:
            length = ends[-1]
        else:
            blanks = [match.start() for match in re.finditer(r"\s", window)]
            length = blanks[-1] if blanks and blanks[-1] else limit
        if piece := paragraph[start : start + length].strip():
            yield piece
        start += length
    if piece := paragraph[start:].strip():
        yield piece


def _decode(data: bytes) -> str:
    if b"\0" in data:
        raise Unreadable("it is binary data, not text")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _clean(text: str) -> str:
    # PDFs yield NUL characters, which PostgreSQL refuses, and lone surrogates, which no encoder takes.
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8").strip()


def _read_csv(text: str) -> str:
    """Write each row as a paragraph of `column: value` lines, with empty values left out."""
    first_line = text.partition("\n")[0]
    delimiter = max(",;\t", key=first_line.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        header = [name.strip() for name in next(rows, [])]
        paragraphs = [_describe_row(header, row) for row in rows]
    except csv.Error as error:
        raise Unreadable(f"line {rows.line_num} is not CSV: {error}") from error
    return "\n\n".join(filter(None, paragraphs))


def _describe_row(header: list[str], row: list[str]) -> str:
    columns = enumerate(zip_longest(header, row, fillvalue=""), start=1)
    return "\n".join(
        f"{name or f'column {number}'}: {value.strip()}" for number, (name, value) in columns if value.strip()
    )


def _read_pdf(data: bytes) -> tuple[str, str]:
    # Here and not above: every command imports the modules called jobs, and what they import.
    try:
        import pypdf
    except ImportError as error:  # the optional dependency of the `demo` extra
        raise Unreadable("reading PDF files needs pypdf: pip install pypdf") from error
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        title = (reader.metadata and reader.metadata.title) or ""
        text = "\n\n".join(page.extract_text() for page in reader.pages)
    except Exception as error:  # pypdf's documentation: "broken PDF files might cause other exceptions"
        raise Unreadable(f"it is not a PDF that can be read: {error}") from error
    if not text.strip():
        raise Unreadable("it holds no text; it may be a scan")
    return title, text

"""Texts of rows, as logs and terminals may have them."""

from __future__ import annotations


def printable(value: object, *, keep_lines: bool = False) -> str:
    """Return a value as text on one line, with control characters and escape sequences spelled out.

    A job's id, name or queue may hold any character: a line feed would forge a line of the log, and an escape
    sequence would be carried out by the terminal that shows it.

    Args:
        value: Usually a text of a row.
        keep_lines: Whether line feeds stay.
    """
    text = str(value)
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable() or (keep_lines and character == "\n")
        else character.encode("unicode_escape").decode()
        for character in text
    )

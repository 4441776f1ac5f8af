import io
import os
import re

import pytest
from django.core.management.base import OutputWrapper
from django.core.management.color import color_style, no_style

from django_jobs.management.actions import terminal
from django_jobs.management.actions.terminal import Terminal


class Screen(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def screen(monkeypatch):
    """A terminal of 30 columns, and what is written to its two sides."""
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((30, 10)))
    out, err = Screen(), Screen()
    return Terminal(OutputWrapper(out), OutputWrapper(err), no_style()), out, err


def test_a_terminal_cuts_lines_and_a_pipe_does_not(screen):
    shown, out, _ = screen
    piped = io.StringIO()
    rows = [["a", "b" * 40], ["c", ""]]

    shown.table(["ONE", "TWO"], rows)
    Terminal(OutputWrapper(piped), OutputWrapper(io.StringIO()), no_style()).table(["ONE", "TWO"], rows)

    assert out.getvalue().splitlines() == ["ONE  TWO", f"a    {'b' * 24}…", "c    -"]
    assert piped.getvalue().splitlines() == ["ONE  TWO", f"a    {'b' * 40}", "c    -"]


def test_wide_characters_take_two_columns_and_combining_ones_none():
    out = io.StringIO()

    Terminal(OutputWrapper(out), OutputWrapper(io.StringIO()), no_style()).table(
        ["A", "B"], [["日本", "x"], ["e\u0301", "y"]]
    )

    assert out.getvalue().splitlines() == ["A     B", "日本  x", "e\u0301     y"]


def test_first_cells_have_the_colour_of_their_row_where_colours_are_wanted(monkeypatch):
    monkeypatch.setenv("DJANGO_COLORS", "dark")
    style = color_style(force_color=True)
    for wanted in (True, False):
        out = io.StringIO()

        Terminal(OutputWrapper(out), OutputWrapper(out), style, is_coloured=wanted).table(
            ["STATUS"], [["failed"]], ["ERROR"]
        )

        assert (style.ERROR("failed") in out.getvalue()) is wanted
        assert re.sub(r"\x1b\[[\d;]*m", "", out.getvalue()).split() == ["STATUS", "failed"]


def test_progress_is_shown_to_people_only(screen):
    shown, out, err = screen
    quiet_err = io.StringIO()
    quiet = Terminal(OutputWrapper(io.StringIO()), OutputWrapper(quiet_err), no_style())

    assert list(shown.progress(["a", "b"])) == ["a", "b"]
    assert list(quiet.progress(["a", "b"])) == ["a", "b"]

    bars = err.getvalue().strip("\r\n").split("\r")
    assert bars[0] == f"[{'.' * 30}] 0/2"
    assert bars[1] == f"[{'#' * 15}{'.' * 15}] 1/2"
    assert bars[2] == f"[{'#' * 30}] 2/2"
    assert out.getvalue() == quiet_err.getvalue() == ""


def test_one_thing_needs_no_progress(screen):
    shown, _, err = screen

    assert list(shown.progress(["a"])) == ["a"]
    assert err.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.0012, "0.001 s"),
        (12.34, "12.3 s"),
        (60, "1 min"),
        (3725, "1 h 2 min"),
        (90061, "1 d 1 h"),
    ],
)
def test_durations_have_as_much_precision_as_they_deserve(seconds, text):
    assert terminal.duration(seconds) == text


def test_columns_yield_to_others_by_their_importance_in_a_terminal_alone(screen):
    shown, out, _ = screen
    rows = [["failed", "0" * 32, "shop.suppliers:fetch", "KeyError"], ["ready", "a", "b:c", ""]]
    heads = ["STATUS", "JOB", "FUNCTION", "MORE"]

    shown.table(heads, rows, yielding=["FUNCTION", "JOB"])

    # Both are as narrow as they may be, and still there is no room for the first one.
    assert out.getvalue().splitlines() == [
        "STATUS  JOB           MORE",
        "failed  00000000000…  KeyError",
        "ready   a             -",
    ]
    out.truncate(0)
    out.seek(0)
    shown.table(["STATUS", "FUNCTION"], [["failed", "shop.suppliers.imports:fetch"]], yielding=["FUNCTION"])
    # Of a path the end says more than the beginning.
    assert out.getvalue().splitlines()[1] == "failed  …ppliers.imports:fetch"


def test_watching_draws_again_in_the_same_place_until_it_is_interrupted(screen, monkeypatch):
    shown, out, _ = screen
    naps = []

    def sleep(seconds):
        naps.append(seconds)
        if len(naps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", sleep)
    shown.watch(lambda: shown.say("drawn"), 1.5)

    assert naps == [1.5, 1.5, 1.5]
    assert out.getvalue().count("\x1b[2J\x1b[3Jdrawn\n") == 3
    shown.watch(lambda: shown.say("once"), None)
    assert out.getvalue().endswith("drawn\nonce\n")

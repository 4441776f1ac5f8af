import gettext
import io
import re
from pathlib import Path

import pytest
from babel.messages.extract import extract
from babel.messages.pofile import read_po
from django.utils import translation
from django.utils.translation import to_locale
from django.utils.translation.template import templatize

import django_jobs
from django_jobs import triggers

PACKAGE = Path(django_jobs.__file__).parent
LANGUAGES = ["de", "es", "fr", "zh-hans"]
KEYWORDS = {
    **dict.fromkeys(["_", "gettext", "gettext_lazy", "gettext_noop"]),
    **dict.fromkeys(["ngettext", "ngettext_lazy"], (1, 2)),
    **dict.fromkeys(["pgettext", "pgettext_lazy"], ((1, "c"), 2)),
    **dict.fromkeys(["npgettext", "npgettext_lazy"], ((1, "c"), 2, 3)),
}
RENEW = "renew the catalogues, as docs/admin.md says under Languages"


@pytest.fixture(params=LANGUAGES)
def language(request):
    return request.param


@pytest.fixture
def catalogue(language):
    with path_of(language, "po").open("rb") as file:
        return read_po(file, locale=to_locale(language), abort_invalid=True)


@pytest.fixture
def compiled(language):
    with path_of(language, "mo").open("rb") as file:
        return gettext.GNUTranslations(file)


def path_of(language, ending):
    return PACKAGE / "locale" / to_locale(language) / "LC_MESSAGES" / f"django.{ending}"


def texts_of_the_code():
    """Return what pages say, each as a context, a text and its plural; None where there is none."""
    found = set()
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.html")]):
        code = path.read_text("utf-8")
        if path.suffix == ".html":
            # Calls in a line of letters that mean nothing; only their indentation would mean something.
            code = "\n".join(line.strip() for line in templatize(code, origin=str(path)).splitlines())
        for _line, texts, _comments, context in extract("python", io.BytesIO(code.encode()), KEYWORDS):
            one, many = texts if isinstance(texts, tuple) else (texts, None)
            found.add((context, one, many))
    return found


def texts_of(messages):
    return {
        (message.context, *(message.id if message.pluralizable else (message.id, None)))
        for message in messages
        if message.id
    }


def pairs(catalogue):
    """Yield each text with each of its translations, and what that is a translation of."""
    for message in catalogue:
        if message.id and message.pluralizable:
            for index, words in enumerate(message.string):
                yield message.id[min(index, 1)], words, message
        elif message.id:
            yield message.id, message.string, message


def placeholders(text):
    return sorted(re.findall(r"%(?:\(\w+\))?[a-z%]", text))


def test_the_code_has_texts_with_plurals_and_contexts_in_python_and_in_templates():
    found = texts_of_the_code()

    assert {
        (None, "Needs attention", None),
        (None, "Resumed.", None),
        (None, "%(counter)s run matches.", "%(counter)s runs match."),
        (None, "%d job was paused.", "%d jobs were paused."),
        ("state of a job", "Scheduled", None),
        ("one execution of a job", "Run", None),
    } <= found
    assert len(found) > 500


def test_each_catalogue_has_every_text_of_the_code_and_no_other(catalogue):
    code, known = texts_of_the_code(), texts_of(catalogue)

    assert [*code - known] == [], RENEW
    assert [*known - code] == [], RENEW


def test_every_folder_of_translations_is_one_that_is_tested():
    folders = {path.parent.parent.name for path in PACKAGE.glob("locale/*/LC_MESSAGES/*")}

    assert folders == {to_locale(language) for language in LANGUAGES}


def test_nothing_is_left_to_translate(catalogue):
    empty = [text for text, words, _ in pairs(catalogue) if not words]
    unsure = [message.id for message in catalogue if message.fuzzy and message.id]

    assert not empty
    assert not unsure
    assert not catalogue.fuzzy
    assert not catalogue.obsolete


def test_translations_keep_what_is_filled_in(catalogue):
    wrong = []
    for text, words, message in pairs(catalogue):
        wanted = placeholders(text)
        # "every year" or "the error": the one without a number may say it, and the other way around.
        allowed = [wanted, *([placeholders(form) for form in message.id] if message.pluralizable else [])]
        if placeholders(words) not in allowed:
            wrong.append((text, words))

    assert not wrong


def test_translations_keep_spaces_around_the_text_and_lines(catalogue):
    def around(text):
        return text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :], text.count("\n")

    assert not [(text, words) for text, words, _ in pairs(catalogue) if around(text) != around(words)]


def test_what_is_compiled_is_what_is_written(catalogue, compiled):
    for message in catalogue:
        if not message.id:
            continue
        key = message.id[0] if message.pluralizable else message.id
        key = f"{message.context}\x04{key}" if message.context else key
        if message.pluralizable:
            found = tuple(compiled._catalog[key, index] for index in range(catalogue.num_plurals))
        else:
            found = compiled._catalog[key]
        assert found == message.string, RENEW

    written = sum(len(m.string) if m.pluralizable else 1 for m in catalogue if m.id)
    assert len(compiled._catalog) - 1 == written, RENEW


@pytest.mark.parametrize(
    ("language", "one", "several"),
    [
        ("de", "vor 1 Minute", "vor 5 Minuten"),
        ("es", "hace 1 minuto", "hace 5 minutos"),
        ("fr", "il y a 1 minute", "il y a 5 minutes"),
        ("zh-hans", "1 分钟前", "5 分钟前"),
    ],
)
def test_numbers_take_the_singular_and_the_plural_of_the_language(language, one, several):
    def ago(count):
        return translation.ngettext("%(count)d minute ago", "%(count)d minutes ago", count) % {"count": count}

    with translation.override(language):
        assert (ago(1), ago(5)) == (one, several)


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("de", "um 03:30 montags bis freitags"),
        ("es", "a las 03:30 de lunes a viernes"),
        ("fr", "à 03:30 du lundi au vendredi"),
        ("zh-hans", "工作日 03:30"),
    ],
)
def test_a_trigger_is_told_in_words_of_the_language(language, words):
    with translation.override(language):
        assert triggers.describe(triggers.crontab("30 3 * * mon-fri", "UTC")) == words

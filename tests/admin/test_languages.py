import re
from datetime import timedelta
from html import unescape

import pytest
from django.template import Context, Template
from django.utils import timezone, translation

from django_jobs import triggers
from django_jobs.models import Batch, Queue, Run, Wait
from django_jobs.testing import drain_jobs
from tests.probes import durable, parts, signatures

pytestmark = pytest.mark.django_db

OPEN, CLOSE = "⟦", "⟧"
# What rows say, the names of a function, of zones, of levels of logging and of the test project's models.
DATA = {
    "nightly", "hourly", "weekly", "held", "deferred", "staff", "worker", "ValueError", "KeyError", "default",
    "mail", "elsewhere", "tests", "probes", "jobs", "nothing", "signatures", "rest", "first", "second", "args",
    "kwargs", "type", "date", "value", "UTC", "Chunks", "Documents", "Mailings", "Recipients",
    "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "parts", "py", "give", "fail", "no", "did", "durable", "follow", "script", "batch",
    "on", "end", "done", "one", "took", "queue", "error",
}  # fmt: skip
# The admin's own, which it leaves as they are: what icons and columns without a name are called.
OF_DJANGO = {"True", "False", "Id", "Search"}


@pytest.fixture(autouse=True)
def language_as_before():
    # The middleware leaves the last reader's language active.
    with translation.override(translation.get_language()):
        yield


@pytest.fixture
def show(root, list_url, page_url, make_job, make_run, make_worker, manager):
    """Return a function that gives what the main pages show in a language, by their names."""
    now = timezone.now()
    worker = make_worker(id="worker-1", heartbeat_at=now - timedelta(hours=1), lease_expires_at=now)
    job = make_job(id="nightly", trigger=triggers.crontab("30 3 * * mon-fri", "UTC"))
    broken = make_job(id="hourly", broken_reason="4711", next_run_time=None)
    declared = {"priority": 5, "trigger": triggers.rule(triggers.interval(60)), "retry": {"max_attempts": 3}}
    paused = make_job(id="weekly", declared=declared, overrides=declared, paused_at=now, next_run_time=None)
    queue = Queue.objects.create(name="mail", paused_at=now)
    log = {"attempt": 1, "worker_id": worker.pk, "error": "KeyError: 4711", "started_at": now.isoformat()}
    failed = make_run(
        job_id="nightly", status="FAILED", error="ValueError: 4711", worker_id=worker.pk, attempt=3, errors=[log],
        scheduled_at=now, result="1", log="4711",
    )  # fmt: skip
    make_run(job_id="nightly", run_after=now - timedelta(hours=1), queue_name="mail")
    make_run(run_after=None, error="ValueError: 4711", job_id="held")
    running = make_run(
        job_id="nightly",
        status="RUNNING",
        worker_id="worker-2",
        progress={"done": 1, "total": 4, "message": ""},
    )
    deferred = make_run(run_after=now + timedelta(days=400), job_id="deferred")
    for what in Wait:
        make_run(run_after=None, waits_for=what)
    durable.script[:] = [lambda run: run.step(durable.do, "one"), lambda run: run.wait_for("event", 60)]
    keeps = Run.objects.get(job_id=manager.add_immediate_job(durable.follow_script))
    with manager.batch("nightly", on_end=parts.give) as batch:
        batch.add(parts.give, [batch.add(parts.fail)])
    drain_jobs(fire=False)
    func = f"{signatures.rest.__module__}:rest"
    addresses = {
        "dashboard": "/admin/django_jobs/dashboard/",
        "jobs": list_url("job"),
        "job": page_url(job),
        "broken job": page_url(broken),
        "declared job": page_url(paused),
        "schedule": page_url(job, "schedule"),
        "functions": f"{list_url('job')}add/?q=rest",
        "add job": f"{list_url('job')}add/?func={func}",
        "delete job": page_url(job, "delete"),
        "runs": list_url("run"),
        "run": page_url(failed),
        "running": page_url(running),
        "deferred": page_url(deferred),
        "batches": list_url("batch"),
        "batch": page_url(Batch.objects.get(key=batch.id)),
        "run that keeps": page_url(keeps),
        "runs that were searched for": list_url("run", status="FAILED", q="queue:default error:ValueError"),
        "no runs": list_url("run", q="took:9999h"),
        "retry with changes": page_url(failed, "retry_with_changes"),
        "all that match": f"{list_url('run')}matching/",
        "workers": list_url("worker"),
        "worker": page_url(worker),
        "queues": list_url("queue"),
        "queue": page_url(queue),
    }

    def pages(language):
        found = {}
        for name, url in addresses.items():
            response = root.get(url, headers={"accept-language": language})
            assert response.status_code == 200, name
            found[name] = unescape(response.content.decode())
        return found

    return pages


@pytest.fixture
def marked(monkeypatch):
    """Have each text that goes through gettext stand between brackets."""

    def mark(text, *more):
        return f"{OPEN}{text}{CLOSE}"

    for name, function in {
        "gettext": mark,
        "pgettext": lambda context, text: mark(text),
        "ngettext": lambda one, many, number: mark(one if number == 1 else many),
        "npgettext": lambda context, one, many, number: mark(one if number == 1 else many),
    }.items():
        monkeypatch.setattr(translation._trans, name, function, raising=False)


def outside_of_marks(page):
    """Return what people see or hear of a page and is between no brackets, but for ids and errors."""
    page = re.sub(r'\b[0-9a-f]{32}\b|\bDependencyFailed: [^<">]*', " ", page)
    page = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.DOTALL)
    said = re.findall(r'(?:aria-label|title|alt|placeholder|data-(?:text|word)-\w+)="([^"]*)"', page)
    said += re.findall(r'<input type="submit"[^>]*value="([^"]*)"', page)
    text = "\n".join([re.sub(r"<[^>]*>", " ", page), *said])
    while (shorter := re.sub(f"{OPEN}[^{OPEN}{CLOSE}]*{CLOSE}", "", text)) != text:
        text = shorter
    return text


def test_all_that_pages_say_goes_through_gettext_but_for_data(show, marked):
    for name, page in show("en").items():
        words = set(re.findall(r"[A-Za-z]{2,}", outside_of_marks(page)))
        assert words - DATA - OF_DJANGO == set(), name


@pytest.mark.parametrize(
    ("language", "dashboard", "jobs", "run"),
    [
        ("de", "Nächste Auslösungen", "Ausgewählte Jobs pausieren", "Mit Änderungen wiederholen"),
        ("es", "Próximos disparos", "Pausar las tareas seleccionadas", "Reintentar con cambios"),
        ("fr", "Prochains déclenchements", "Mettre en pause les tâches", "Réessayer avec des modifications"),
        ("zh-hans", "接下来的触发", "暂停所选作业", "更改后重试"),
    ],
)
def test_pages_are_in_the_language_of_the_reader(show, language, dashboard, jobs, run):
    pages = show(language)

    assert dashboard in pages["dashboard"]
    assert jobs in pages["jobs"]
    assert run in pages["run"]


def test_pages_in_german_say_what_is_in_german(show):
    pages = show("de")

    for name, words in {
        "dashboard": [
            "Letzte 24 Stunden",
            "Warteschlangen",
            "Fehlgeschlagen",
            "um 03:30 montags bis freitags",
        ],
        "jobs": ["Nächster Lauf", "um 03:30 montags bis freitags", "Geplant"],
        "job": [
            "Eindeutige ID dieses Jobs.",
            "Zeitplan bearbeiten",
            "Voriger Lauf",
            "Ergebnisse der letzten Läufe",
        ],
        "schedule": ["Nach Uhr und Kalender", "Gleichzeitige Läufe", "Vorschau"],
        "runs": ["Alle passenden…", "15 Läufe", "Eingereiht ab"],
        "run": ["Verlauf", "Versuch 1", "Nächster:"],
        "all that match": ["15 Läufe passen.", "Nein, bitte abbrechen"],
        "declared job": [
            "überschrieben",
            "(im Code steht: bis zu 3 Versuche",
            "(im Code steht: jede Minute)",
        ],
        "add job": ["Weitere Positionsargumente als JSON-Liste."],
        "worker": ["Letztes Lebenszeichen", "Läufe dieses Workers"],
    }.items():
        assert [word for word in words if word not in pages[name]] == [], name


def test_the_progress_tag_is_in_the_language_of_the_reader(make_run):
    job_id = make_run(status="RUNNING").job_id

    with translation.override("de"):
        html = Template("{% load django_jobs %}{% job_progress job_id %}").render(Context({"job_id": job_id}))

    assert ">Läuft</span>" in html
    assert 'data-word-left="noch etwa %s"' in html
    assert 'data-word-successful="Fertig"' in html


@pytest.mark.parametrize("language", ["ar", "he"])
def test_a_language_without_a_catalogue_has_english_texts_in_its_own_direction(show, language):
    pages = show(language)

    for name, page in pages.items():
        assert f'<html lang="{language}" dir="rtl">' in page, name
    assert "Next firings" in pages["dashboard"]
    assert "Pause selected jobs" in pages["jobs"]
    assert "Retry with changes" in pages["run"]


def test_a_confirmed_action_is_written_down_in_whole_sentences_of_the_language(
    root, list_url, make_run, said, logged
):
    make_run(status="FAILED", queue_name="mail")
    url = f"{list_url('run', queue='mail')}".replace("?", "matching/?")
    german = {"accept-language": "de"}
    confirmed = re.search(r'name="confirmed" value="([^"]+)"', root.get(url, headers=german).content.decode())

    response = root.post(url, {"confirmed": confirmed[1], "bulk_action": "retry"}, headers=german)

    run = Run.objects.get(func="django_jobs.bulk:act_on_matching")
    assert run.name == "alle passenden Läufe wiederholen"
    assert logged(run) == ["Wiederholung aller passenden Läufe angefordert: Warteschlange=mail"]
    assert said(response).startswith("Es geschieht im Hintergrund")

import json

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.template import Context, Template
from django.test import AsyncRequestFactory, RequestFactory, override_settings
from django.test.utils import override_script_prefix

from django_jobs import conf
from django_jobs.live import address
from django_jobs.live.tokens import read_token
from tests.live import no_urls

pytestmark = pytest.mark.django_db


def rendered(text, **context):
    return Template("{% load django_jobs %}" + text).render(Context(context))


def token_of(html):
    return html.partition('data-url="/django-jobs/jobs/')[2].partition("/")[0]


def test_progress_is_shown_as_it_is_with_one_query(make_run, django_assert_num_queries):
    run = make_run(status="RUNNING", progress={"done": 1, "total": 4, "message": "<b>page</b> 1"})

    with django_assert_num_queries(1):
        html = rendered("{% job_progress job_id %}", job_id=run.job_id)

    assert read_token(token_of(html)).job_id == run.job_id
    assert ">Running</span>" in html
    assert 'value="25.0"' in html
    assert "&lt;b&gt;page&lt;/b&gt; 1" in html
    assert "data-socket" not in html
    assert "data-finished" not in html


def test_what_has_ended_when_the_page_is_made_says_so(make_run):
    html = rendered("{% job_progress job_id %}", job_id=make_run(status="FAILED").job_id)

    assert ">Failed</span>" in html
    assert "data-finished data-over" in html


def test_a_job_that_is_gone_is_shown_as_such():
    assert "There is no such job" in rendered("{% job_progress 'gone' %}")


def test_a_bar_has_a_name_and_its_token_what_was_asked_for(make_run):
    text = "{% job_progress job_id result=True label=name %}"

    html = rendered(text, job_id=make_run().job_id, name="Your <file>")

    assert read_token(token_of(html)).result
    assert 'aria-label="Your &lt;file&gt;"' in html


def test_numbers_for_the_browser_are_not_in_the_readers_language(make_run, settings):
    settings.LANGUAGE_CODE = "de"
    run = make_run(status="RUNNING", progress={"done": 1, "total": 3})

    assert 'value="33.3"' in rendered("{% job_progress job_id %}", job_id=run.job_id)


def test_scripts_and_styles_carry_the_pages_nonce(make_run):
    html = rendered("{% job_progress job_id %}", job_id=make_run().job_id, csp_nonce="n0nce")

    assert html.count('nonce="n0nce"') == 2


@override_settings(ROOT_URLCONF=no_urls.__name__)
def test_a_project_without_the_address_is_told_what_to_add():
    with pytest.raises(ImproperlyConfigured, match=r"django_jobs\.live\.urls"):
        rendered("{% job_progress 'x' %}")
    assert rendered("{% live_updates %}").strip() == '<span class="jobs-zone">Times: UTC</span>'


def test_an_admin_page_watches_everything_or_one_run(make_run, make_job):
    run = make_run()

    assert 'data-live-watch="changes"' in rendered("{% live_updates %}")
    assert 'data-live-watch="changes"' in rendered("{% live_updates it %}", it=make_job())
    assert f'data-live-watch="run:{run.pk}"' in rendered("{% live_updates it %}", it=run)
    assert 'data-live-watch="job:a b"' in rendered("{% live_updates it %}", it="job:a b")


@pytest.fixture
def routed(monkeypatch):
    monkeypatch.setattr(address, "_is_routed", True)


def test_a_socket_is_offered_where_asgi_serves_the_page_and_has_the_routes(routed, monkeypatch):
    over_wsgi, over_asgi = RequestFactory().get("/"), AsyncRequestFactory().get("/")

    assert address.socket_url(over_asgi) == "/ws/django-jobs/"
    assert address.socket_url(over_wsgi) == ""
    assert address.socket_url(None) == ""
    with override_script_prefix("/app/"):
        assert address.socket_url(over_asgi) == "/app/ws/django-jobs/"
    monkeypatch.setattr(address, "_is_routed", False)
    assert address.socket_url(over_asgi) == ""


@pytest.mark.parametrize(
    ("chosen", "url"),
    [("", ""), ("/live", "/live/"), ("wss://live.example.com/x/", "wss://live.example.com/x/")],
)
def test_the_setting_has_the_last_word(routed, settings, chosen, url, make_run):
    settings.DJANGO_JOBS = {"SOCKET_URL": chosen}
    request = AsyncRequestFactory().get("/")

    html = rendered("{% job_progress job_id %}", job_id=make_run().job_id, request=request)

    assert address.socket_url(request) == address.socket_url(None) == url
    assert (f'data-socket="{url}jobs/' in html) is bool(url)


@pytest.mark.parametrize("value", ["http://live.example.com/", 7, True])
def test_a_wrong_address_of_sockets_is_found(value):
    (problem,) = conf.problems({"SOCKET_URL": value})

    assert "SOCKET_URL" in problem
    assert not list(conf.problems({"SOCKET_URL": None}))


def test_admin_pages_are_live(admin_client, make_run, make_job, make_worker):
    run, job, worker = make_run(), make_job(), make_worker()

    for row in (run, job, worker):
        model = row._meta.model_name
        for url in (f"/admin/django_jobs/{model}/", f"/admin/django_jobs/{model}/{row.pk}/change/"):
            html = admin_client.get(url).content.decode()
            assert 'data-live-url="/admin/django_jobs/run/changes/"' in html, url
            assert "data-live-part=" in html, url


def test_the_words_of_every_status_are_there(make_run):
    html = rendered("{% job_progress job_id %}", job_id=make_run().job_id)

    for word in ("queued", "running", "stopping", "successful", "failed", "cancelled", "skipped", "paused"):
        assert f"data-word-{word}=" in html
    assert json.dumps("undefined") not in html

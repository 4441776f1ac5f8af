import asyncio
import json
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.models import Session
from django.core.asgi import get_asgi_application
from django.test import Client

from django_jobs.live import consumers, job_token, layer, routing, sockets
from django_jobs.live import feed as feed_module
from django_jobs.live.feed import Feed
from django_jobs.models import Run

pytestmark = pytest.mark.django_db(transaction=True)

CHANGES = "/ws/django-jobs/changes/"
APPLICATION = routing.application(get_asgi_application())


@pytest.fixture(autouse=True)
def own_feed(transactional_db, monkeypatch):
    """Each test's own follower, of its own database."""
    made = Feed()
    monkeypatch.setattr(feed_module, "_feed", made)
    yield made
    made.stop()
    assert not sockets._open


@pytest.fixture
def login(transactional_db):
    """Return a function that logs somebody with some permissions in, and gives the session's key."""

    def make(*permissions, **fields):
        user = User.objects.create(username=f"user-{User.objects.count()}", **{"is_staff": True, **fields})
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client = Client()
        client.force_login(user)
        return client.cookies["sessionid"].value

    return make


class Socket(ApplicationCommunicator):
    """A browser's end of a socket."""

    def __init__(
        self, path, *, session="", origin="http://testserver", host="testserver", application=APPLICATION
    ):
        headers = [(b"host", host.encode())]
        headers += [(b"origin", origin.encode())] if origin else []
        headers += [(b"cookie", f"sessionid={session}".encode())] if session else []
        scope = {
            "type": "websocket",
            "path": path,
            "query_string": b"",
            "headers": headers,
            "subprotocols": [],
        }
        super().__init__(application, scope)

    async def connect(self):
        await self.send_input({"type": "websocket.connect"})
        return await self.receive_output(timeout=60)

    async def say(self, content):
        text = content if isinstance(content, str) else json.dumps(content)
        await self.send_input({"type": "websocket.receive", "text": text})

    async def hear(self):
        message = await self.receive_output(timeout=60)
        assert message["type"] == "websocket.send", message
        return json.loads(message["text"])

    async def hear_close(self):
        message = await self.receive_output(timeout=60)
        assert message["type"] == "websocket.close", message
        return message.get("code")

    async def leave(self):
        await self.send_input({"type": "websocket.disconnect", "code": 1000})
        await self.wait(10)


@asynccontextmanager
async def opened(*args, **options):
    socket = Socket(*args, **options)
    message = await socket.connect()
    assert message["type"] == "websocket.accept", message
    try:
        yield socket
    finally:
        await socket.leave()


async def is_refused(*args, **options):
    socket = Socket(*args, **options)
    message = await socket.connect()
    await socket.leave()
    return message["type"] == "websocket.close"


def test_the_staff_is_notified_that_something_changed_and_what(run_async, login, make_run):
    session, run = login("view_run"), make_run(status="RUNNING")

    async def main():
        async with opened(CHANGES, session=session) as socket:
            await socket.say({"watch": ["changes", f"run:{run.pk}"]})
            first = (await socket.hear())["states"]
            assert set(first) == {"changes", f"run:{run.pk}"}
            await sync_to_async(Run.objects.filter(pk=run.pk).update)(status="SUCCESSFUL")
            second = (await socket.hear())["states"]
            assert set(second) == {"changes", f"run:{run.pk}"}
            assert second != first

    run_async(main())


@pytest.mark.parametrize(
    ("fields", "permissions", "is_let_in"),
    [
        ({}, ["view_run"], True),
        ({}, ["view_queue"], True),
        ({}, [], False),
        ({"is_staff": False}, ["view_run"], False),
        ({"is_active": False}, ["view_run"], False),
    ],
)
def test_only_staff_who_may_see_our_pages_are_let_in(run_async, login, fields, permissions, is_let_in):
    session = login(*permissions, **fields)

    assert run_async(is_refused(CHANGES, session=session)) is not is_let_in


def test_nobody_without_a_login_is_let_in(run_async):
    assert run_async(is_refused(CHANGES))
    assert run_async(is_refused(CHANGES, session="made-up"))


@pytest.mark.parametrize("hosts", [["*"], ["testserver"]])
@pytest.mark.parametrize("origin", ["http://evil.example", "", "null", "http://testserver.evil.example"])
def test_pages_of_other_sites_are_refused(run_async, login, settings, hosts, origin):
    settings.ALLOWED_HOSTS = hosts
    application = routing.application(get_asgi_application())

    assert run_async(is_refused(CHANGES, session=login("view_run"), origin=origin, application=application))


def test_an_address_that_there_is_not_is_refused(run_async, login):
    session = login("view_run")

    assert run_async(is_refused("/ws/other/", session=session))
    assert run_async(is_refused("/ws/django-jobs/jobs/made-up/", session=session))


def test_who_loses_the_permission_or_the_session_is_sent_away(run_async, login, monkeypatch):
    session = login("view_run")
    monkeypatch.setattr(sockets, "CHECK_SECONDS", 0.05)

    async def main(change):
        async with opened(CHANGES, session=session) as socket:
            await sync_to_async(change)()
            return await socket.hear_close()

    def log_out():
        Session.objects.all().delete()

    def dismiss():
        User.objects.update(is_staff=False)

    assert run_async(main(dismiss)) == sockets.FORBIDDEN
    User.objects.update(is_staff=True)
    assert run_async(main(log_out)) == sockets.FORBIDDEN


def test_who_may_stay_stays(run_async, login, monkeypatch):
    session = login("view_run")
    monkeypatch.setattr(sockets, "CHECK_SECONDS", 0.05)
    checked, may_stay = [], consumers.ChangesConsumer.may_stay

    async def counted(self):
        checked.append(await may_stay(self))
        return checked[-1]

    monkeypatch.setattr(consumers.ChangesConsumer, "may_stay", counted)

    async def main():
        async with opened(CHANGES, session=session) as socket:
            while len(checked) < 3:
                await asyncio.sleep(0.01)
            await socket.say({"ping": True})
            assert await socket.hear() == {"pong": True}

    run_async(main())
    assert all(checked)


@pytest.mark.parametrize(
    "message",
    [
        "no json", "[]", "1", '{"watch": "changes"}', '{"watch": []}', '{"watch": ["nothing"]}', '{"watch": [1]}',
        '{"watch": ["run:1"' + ', "run:1"' * 50 + "]}", '{"watch": ["' + "x" * 9000 + '"]}', "[" * 8000, "{}",
    ],
    ids=lambda message: message[:24],
)  # fmt: skip
def test_a_message_that_says_nothing_ends_the_socket(run_async, login, message):
    session = login("view_run")

    async def main():
        async with opened(CHANGES, session=session) as socket:
            await socket.say(message)
            return await socket.hear_close()

    assert run_async(main()) == sockets.BAD_MESSAGE


def test_bytes_end_the_socket(run_async, login):
    session = login("view_run")

    async def main():
        async with opened(CHANGES, session=session) as socket:
            await socket.send_input({"type": "websocket.receive", "bytes": b"\0"})
            return await socket.hear_close()

    assert run_async(main()) == sockets.BAD_MESSAGE


def test_who_talks_without_end_is_cut_off(run_async, login):
    session = login("view_run")

    async def main():
        async with opened(CHANGES, session=session) as socket:
            for _ in range(sockets.MOST_MESSAGES):
                await socket.say({"ping": True})
                assert await socket.hear() == {"pong": True}
            await socket.say({"ping": True})
            return await socket.hear_close()

    assert run_async(main()) == sockets.TOO_MUCH


def test_one_user_or_token_has_so_many_sockets_and_others_theirs(run_async, login, make_run, monkeypatch):
    monkeypatch.setattr(sockets, "MOST_OF_ONE", 1)
    mine, others, job_id = login("view_run"), login("view_run"), make_run().job_id
    path = f"/ws/django-jobs/jobs/{job_token(job_id)}/"

    async def main():
        async with opened(CHANGES, session=mine), opened(path):
            assert await is_refused(CHANGES, session=mine)
            assert await is_refused(path)
            async with opened(CHANGES, session=others):
                pass
        async with opened(CHANGES, session=mine):
            pass

    run_async(main())


def test_one_process_has_so_many_sockets(run_async, login, monkeypatch):
    monkeypatch.setattr(sockets, "MOST_SOCKETS", 1)
    session = login("view_run")

    async def main():
        async with opened(CHANGES, session=session):
            assert await is_refused(CHANGES, session=session)

    run_async(main())


def test_a_socket_that_nobody_is_at_any_more_is_closed(run_async, login, monkeypatch):
    monkeypatch.setattr(sockets, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(sockets, "IDLE_SECONDS", 0.2)
    session = login("view_run")

    async def main():
        async with opened(CHANGES, session=session) as socket:
            return await socket.hear_close()

    assert run_async(main()) == sockets.IDLE


def test_news_gathers_while_a_browser_takes_the_last(run_async, make_run, own_feed, until):
    run = make_run(status="RUNNING")

    async def main():
        async with opened(f"/ws/django-jobs/jobs/{job_token(run.job_id)}/") as socket:
            await socket.hear()
            for done in range(200):
                progress = {"done": done, "total": 200}
                await sync_to_async(Run.objects.filter(pk=run.pk).update)(progress=progress)
                own_feed.wake()
            heard = [(await socket.hear())["done"]]
            while heard[-1] != 199:
                heard.append((await socket.hear())["done"])
            return heard

    heard = run_async(main())
    assert heard == sorted(heard)
    assert len(heard) < 50


def test_whoever_has_a_token_sees_the_job_to_its_end_and_the_socket_closes(run_async, make_run):
    run = make_run(status="RUNNING", progress={"done": 1, "total": 4})

    async def main(**options):
        async with opened(f"/ws/django-jobs/jobs/{job_token(run.job_id, **options)}/") as socket:
            first = await socket.hear()
            await sync_to_async(Run.objects.filter(pk=run.pk).update)(status="SUCCESSFUL", result="[7]")
            return first, await socket.hear(), await socket.hear_close()

    first, last, code = run_async(main(result=True))
    assert (first["status"], first["percent"], first["result"]) == ("running", 25.0, None)
    assert (last["status"], last["over"], last["result"], code) == ("successful", True, [7], sockets.GOING)
    Run.objects.update(status="RUNNING")
    assert "result" not in run_async(main())[1]


def test_a_tokens_time_ends_its_socket_too(run_async, make_run, monkeypatch):
    monkeypatch.setattr(sockets, "CHECK_SECONDS", 0.05)
    run = make_run()
    token = job_token(run.job_id, max_age=timedelta(milliseconds=200))

    async def main():
        async with opened(f"/ws/django-jobs/jobs/{token}/") as socket:
            await socket.hear()
            return await socket.hear_close()

    assert run_async(main()) == sockets.FORBIDDEN


def test_requests_are_left_to_the_project(run_async):
    seen = []

    async def http(scope, receive, send):
        seen.append(scope["type"])

    run_async(routing.application(http)({"type": "http"}, None, None))

    assert seen == ["http"]


@pytest.fixture
def channel_layer(settings):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    layer.connect_where_used()
    yield
    for signal in layer._SIGNALS:
        signal.disconnect(dispatch_uid="django_jobs.live.layer")


def test_word_through_a_channel_layer_has_the_process_look_at_once(
    run_async, login, make_run, channel_layer, monkeypatch
):
    monkeypatch.setattr(feed_module, "LOOK_SECONDS", 120)
    session = login("view_run")

    async def main():
        async with opened(CHANGES, session=session) as socket:
            await socket.say({"watch": ["changes"]})
            await socket.hear()
            there = layer.layer()
            while layer.GROUP not in there.groups:
                await asyncio.sleep(0.01)
            await sync_to_async(make_run)()
            await there.group_send(layer.GROUP, {"type": "jobs.changed"})
            assert await socket.hear()

    run_async(main())


def test_a_worker_says_through_the_layer_what_it_did_and_gathers_it(
    channel_layer, monkeypatch, until, run_async
):
    sent = []

    class Layer:
        async def group_send(self, group, message):
            sent.append((group, message["type"]))

    monkeypatch.setattr(layer, "layer", Layer)
    monkeypatch.setattr(layer, "GATHER_SECONDS", 60)
    herald = layer.ChannelLayerPublisher()

    for _ in range(1000):
        herald.note()

    until(lambda: sent)
    assert sent == [(layer.GROUP, "jobs.changed")]


def test_a_layer_that_is_away_is_no_more_than_a_line_in_the_log(monkeypatch, until, caplog):
    asked = []

    class Away:
        async def group_send(self, group, message):
            asked.append(group)
            raise ConnectionRefusedError("no redis")

    monkeypatch.setattr(layer, "layer", Away)
    monkeypatch.setattr(layer, "RETRY_SECONDS", 0.01)
    herald = layer.ChannelLayerPublisher()

    for count in range(1, 4):
        herald.note()
        until(lambda count=count: len(asked) == count)

    assert [record.message for record in caplog.records].count(
        "could not publish to the channel layer: no redis"
    ) == 1


def test_a_project_without_a_layer_has_nothing_connected():
    assert layer.layer() is None
    assert not any(
        "Herald" in repr(receiver) for signal in layer._SIGNALS for receiver in signal._live_receivers(None)
    )

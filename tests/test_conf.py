import pytest

from django_jobs import conf


def test_an_empty_dict_is_all_defaults(settings):
    settings.DJANGO_JOBS = {}

    assert conf.jobs_settings() == conf.JobsSettings()


def test_settings_are_read_anew_when_they_change(settings):
    settings.DJANGO_JOBS = {"THREADS": 3}
    assert conf.jobs_settings().THREADS == 3

    settings.DJANGO_JOBS = {"THREADS": 4, "QUEUES": ["a"]}
    assert conf.jobs_settings().THREADS == 4
    assert conf.jobs_settings().QUEUES == ("a",)


@pytest.mark.parametrize(
    ("key", "value", "in_force"),
    [
        ("THREADS", "ten", 10),
        ("THREADS", None, 10),
        ("KEEP_DAYS", "90", 90),
        ("ENGINES", "processes", {}),
        ("ENGINES", {"a": None}, {}),
        ("MOVED", ["a"], {}),
        ("QUEUE_THREADS", {"mail": 0}, {}),
        ("QUEUES", 5, ()),
        ("QUEUES", "mail", ()),
        ("DATABASE", ["default"], None),
        ("CELERY_APP", 5, None),
        ("ALLOWED_MODULES", "shop", ()),
    ],
)
def test_a_value_of_the_wrong_type_is_logged_and_the_default_is_in_force(
    settings, caplog, key, value, in_force
):
    settings.DJANGO_JOBS = {key: value, "PROCESSES": 3}

    assert getattr(conf.jobs_settings(), key) == in_force
    assert conf.jobs_settings().PROCESSES == 3
    (line,) = caplog.messages
    assert line.startswith(f"DJANGO_JOBS[{key!r}] is {value!r}: ")
    assert line.endswith(f"In force is {in_force!r}.")


def test_settings_that_are_no_dict_are_logged_and_the_defaults_are_in_force(settings, caplog):
    settings.DJANGO_JOBS = ["THREADS"]

    assert conf.jobs_settings() == conf.JobsSettings()
    assert caplog.messages == ["DJANGO_JOBS must be a dict, not list. The defaults are in force."]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"THREAD": 3}, "unknown key THREAD, did you mean THREADS?"),
        ({"COLOUR": 3}, "unknown key COLOUR; the keys are"),
        ({"THREADS": 0}, "expected at least 1"),
        ({"THREADS": 1.5}, "expected a whole number"),
        ({"THREADS": True}, "expected a whole number"),
        ({"THREADS": "3"}, "expected a whole number"),
        ({"POLL_SECONDS": "5"}, "expected a number of seconds"),
        ({"POLL_SECONDS": 0}, "expected at least 0.01"),
        ({"KEEP_DAYS": "90"}, "expected a number of days or None"),
        ({"KEEP_DAYS": -1}, "expected at least 0"),
        ({"KEEP_RUNS_PER_JOB": 2.5}, "expected a whole number or None"),
        ({"KEEP_RUNS_PER_JOB": 0}, "expected at least 1"),
        ({"THREADS": None}, "expected a whole number."),
        ({"QUEUES": "default"}, "expected a list of names"),
        ({"QUEUES": [1]}, "expected a list of names"),
        ({"ALLOWED_MODULES": "shop"}, "expected a list of names"),
        ({"MOVED": ["a"]}, "expected a dict of old to new names"),
        ({"MOVED": {"a.b": "a:b"}}, "'a.b' is not of the form module:qualname"),
        ({"DATABASE": "nowhere"}, "no such alias in DATABASES (default)"),
        ({"CLOCK": "yes"}, "expected True or False"),
        ({"LEASE_SECONDS": 6}, "at least twice HEARTBEAT_SECONDS (6)"),
        (
            {"ENGINES": {"a": "thread"}},
            "no such engine as 'thread'; they are threads, processes, inline, celery",
        ),
        ({"ENGINES": {"a": "my-pools.make"}}, "no such engine as 'my-pools.make'"),
        ({"ENGINES": {"a": None}}, "no such engine as None"),
        ({"MAX_RUNS_PER_CHILD": 0}, "expected at least 1"),
        ({"EXECUTOR_RUNS": 0}, "expected at least 1"),
        ({"CRON_TIME_ZONE": "Europe/Nowhere"}, "expected the name of a time zone"),
        ({"ENVIRONMENT": None}, "expected a name"),
        ({"ALERTS": ["ops@example.com"]}, "expected a dict"),
        ({"ALERTS": {"MAILS": ["ops@example.com"]}}, "did you mean MAIL"),
        ({"ALERTS": {"MAIL": "ops@example.com"}}, "MAIL: expected a list of addresses"),
        ({"ALERTS": {"SLACK": "hooks.slack.com"}}, "SLACK: expected an http"),
        ({"ALERTS": {"WEBHOOK": "https://hooks.example.com"}}, "WEBHOOK needs WEBHOOK_SECRET"),
        ({"ALERTS": {"AFTER": -1}}, "AFTER: expected a whole number"),
        ({"CRON_TIME_ZONE": None}, "expected the name of a time zone"),
        ({"CELERY_APP": "app"}, "expected the path of a Celery app"),
        ({"REDISPATCH_SECONDS": 0}, "expected at least 1"),
        ([], "must be a dict, not list"),
    ],
)
def test_a_wrong_setting_is_named_with_the_way_out(raw, words):
    (problem,) = conf.problems(raw)

    assert words in problem


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"AUTOSTART": None, "DATABASE": None, "ALLOWED_MODULES": None},
        {"AUTOSTART": True, "DATABASE": "default", "ALLOWED_MODULES": ["shop"], "QUEUES": ("a",)},
        {"KEEP_DAYS": None, "KEEP_RUNS_PER_JOB": None},
        {"KEEP_DAYS": 0.5, "KEEP_RUNS_PER_JOB": 1},
        {"POLL_SECONDS": 0.5, "SHUTDOWN_SECONDS": 0, "MAX_RESCUES": 0, "MOVED": {"a:b": "c:d"}},
    ],
)
def test_right_settings_have_no_problems(raw):
    assert list(conf.problems(raw)) == []


@pytest.mark.parametrize(
    ("variable", "setting", "expected"),
    [
        ("", None, None),
        ("", True, True),
        ("1", False, True),
        ("0", True, False),
        (" No ", True, False),
        ("maybe", True, True),
    ],
)
def test_the_environment_overrides_the_setting(monkeypatch, settings, variable, setting, expected):
    monkeypatch.setenv("DJANGO_JOBS_AUTOSTART", variable)
    settings.DJANGO_JOBS = {"AUTOSTART": setting}

    assert conf.autostart() is expected

from datetime import timedelta

import pytest
import time_machine
from django.core import signing

from django_jobs.live import job_token
from django_jobs.live.tokens import SALT, InvalidToken, Ticket, read_token


def test_a_token_says_which_job_and_whether_its_result_is_shown():
    assert read_token(job_token("nightly report/7")) == Ticket("nightly report/7")
    assert read_token(job_token("7", result=True)) == Ticket("7", result=True)


def test_a_token_ends_when_it_was_said_to():
    with time_machine.travel("2026-11-25T10:00:00Z", tick=False) as clock:
        token = job_token("7", max_age=timedelta(hours=1))

        clock.shift(3599)
        assert read_token(token).job_id == "7"
        clock.shift(2)
        with pytest.raises(InvalidToken, match="too old"):
            read_token(token)


@pytest.mark.parametrize("age", [timedelta(0), timedelta(seconds=-1)])
def test_a_token_for_no_time_is_refused(age):
    with pytest.raises(ValueError, match="must be positive"):
        job_token("7", max_age=age)


def test_what_was_not_made_here_is_no_token(settings):
    token = job_token("7")
    payload, rest = token.split(":", 1)

    for other in ("", "7", token[:-1], f"{payload}x:{rest}", signing.dumps({"job": "7"}), f"{token}{token}"):
        with pytest.raises(InvalidToken, match="not made here"):
            read_token(other)
    settings.SECRET_KEY = "another"
    with pytest.raises(InvalidToken):
        read_token(token)


def test_a_token_of_a_former_key_is_good_while_that_is_a_fallback(settings):
    token = job_token("7")

    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "new"

    assert read_token(token) == Ticket("7")


def test_tokens_are_signed_for_this_purpose_alone():
    assert signing.loads(job_token("7"), salt=SALT) == {"job": "7"}
    with pytest.raises(signing.BadSignature):
        signing.loads(job_token("7"))

import pickle

import pytest

from django_jobs.exceptions import GiveUp, JobCancelled, JobFailed, RetryLater


@pytest.mark.parametrize(
    "error",
    [
        JobFailed("a", "ValueError: b", "trace"),
        JobCancelled("a"),
        RetryLater(5, "soon"),
        RetryLater(),
        GiveUp("no"),
    ],
    ids=["failed", "cancelled", "later with reason", "later", "give up"],
)
def test_errors_survive_being_pickled(error):
    error.add_note("seen in a child process")

    again = pickle.loads(pickle.dumps(error))

    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)

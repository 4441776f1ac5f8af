import pytest
from django.utils import timezone

from django_jobs.storage.records import MOST_ERRORS, immediate_key, occurrence_key, with_error


def test_a_run_that_is_tried_for_ever_keeps_its_row_within_bounds(settings):
    settings.DJANGO_JOBS = {"MAX_ERROR_BYTES": 1000}
    errors = []

    for attempt in range(1, 501):
        entry = {"attempt": attempt, "error": "E", "traceback": "x" * 1000}
        errors = with_error(errors, entry)

    assert [errors[0]["attempt"], errors[-1]["attempt"]] == [1, 500]
    assert len(errors) == MOST_ERRORS
    assert errors[0]["traceback"]
    assert [len(entry["traceback"]) for entry in errors[-20:]] == [1000] * 20
    assert not any(entry["traceback"] for entry in errors[1:-20])


@pytest.mark.django_db
def test_keys_of_long_ids_fit_their_column_and_differ(make_run):
    at = timezone.now()
    ids = ["x" * 255, "x" * 254 + "y", "x" * 200, "é" * 255]

    keys = {
        key
        for job_id in ids
        for key in (immediate_key(job_id), occurrence_key(job_id, at), occurrence_key(job_id, at, at))
    }

    assert len(keys) == 12
    assert max(map(len, keys)) <= 255
    for key in keys:
        make_run(unique_key=key)

from django_jobs.storage.backoff import Backoff


def test_waits_double_up_to_the_longest_and_begin_again_after_a_success():
    backoff = Backoff(1.0, 5.0, jitter=0.0)

    assert [backoff.failed() for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert backoff.is_failing
    backoff.worked()
    assert not backoff.is_failing
    assert backoff.failed() == 1.0


def test_waits_are_spread():
    waits = {Backoff(1.0, 5.0).failed() for _ in range(50)}

    assert len(waits) > 1
    assert all(0.5 <= wait <= 1.5 for wait in waits)

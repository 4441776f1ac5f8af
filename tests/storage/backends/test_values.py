from datetime import UTC, datetime, timedelta

from django_jobs.storage.backends.values import utc_text


def test_a_time_is_the_text_that_str_makes_of_it_in_whatever_order_they_come():
    moment = datetime(2026, 3, 1, 23, 59, 59, 999_999, UTC)
    last = datetime.max.replace(tzinfo=UTC)
    moments = [
        moment,
        moment + timedelta(microseconds=1),
        moment,
        moment.replace(microsecond=0),
        moment.replace(microsecond=7),
        moment - timedelta(days=365),
        moment.replace(year=999),
        last,
        last.replace(microsecond=0),
        datetime.min.replace(tzinfo=UTC),
    ]

    assert [utc_text(each) for each in moments] == [str(each.replace(tzinfo=None)) for each in moments]

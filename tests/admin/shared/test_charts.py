from datetime import UTC, datetime, timedelta

import pytest

from django_jobs.admin.shared import charts

AT = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("highest", "ticks"),
    [(0, [1, 0]), (1, [1, 0]), (2, [2, 1, 0]), (3, [4, 2, 0]), (7, [8, 4, 0]), (9, [10, 5, 0]), (10, [10, 5, 0]), (14, [16, 8, 0]), (1234, [1600, 800, 0]), (0.3, [0.3, 0.15, 0]), (4.5, [5, 2.5, 0])],
)  # fmt: skip
def test_an_axis_has_round_numbers_and_room_for_the_highest(highest, ticks):
    assert charts.scale(highest) == pytest.approx(ticks)


def test_bars_stand_side_by_side_on_the_ground_and_boxes_on_each_other():
    drawn = charts.bars([[("failed", 5), ("fine", 5)], [], [("failed", 0), ("fine", 1)]])

    below, above = drawn.bars[0]
    assert (below.name, below.y + below.height) == ("failed", charts.HEIGHT)
    assert above.y + above.height == below.y
    assert above.y == 0
    assert drawn.bars[1] == []
    assert [box.name for box in drawn.bars[2]] == ["fine"]
    assert all(box.x + box.width <= charts.WIDTH for stack in drawn.bars for box in stack)
    assert [column.width for column in drawn.columns] == [pytest.approx(charts.WIDTH / 3, abs=0.01)] * 3
    assert drawn.lines == [0, 100, 200]


def test_one_failure_among_many_successes_is_seen():
    (stack,) = charts.bars([[("failed", 1), ("fine", 999_999)]]).bars

    assert stack[0].height == charts.LEAST
    assert sum(box.height for box in stack) <= charts.HEIGHT


def test_nothing_draws_nothing():
    assert charts.bars([]).bars == []


@pytest.mark.parametrize(
    ("part", "whole", "width"), [(0, 5, 0), (5, 0, 0), (1, 2, 50), (9, 3, 100), (1, 9999, 2)]
)
def test_a_share_is_within_its_whole_and_seen_when_there_is_any(part, whole, width):
    assert charts.share(part, whole) == width


def test_marks_lie_where_their_time_is_and_late_ones_at_the_beginning():
    moments = [AT - timedelta(hours=2), AT + timedelta(minutes=30), AT + timedelta(hours=2)]

    assert charts.marks(moments, AT, AT + timedelta(hours=1)) == [0, 500]


def test_a_span_leaves_out_the_empty_ends():
    assert charts.span([0, 0, 3, 0, 1, 0]) == range(2, 5)
    assert charts.span([0, 0]) == range(0)

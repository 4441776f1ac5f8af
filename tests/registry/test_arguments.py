from django_jobs.registry import arguments
from tests.probes import jobs as probes


def test_parameters_that_hold_secrets_are_found_by_position():
    assert arguments.hidden_positions(probes.log_in, frozenset()) == (1,)
    assert arguments.hidden_positions(probes.log_in, frozenset({"user"})) == (0, 1)
    assert arguments.hidden_positions(probes.add, frozenset()) == ()

import pytest

from django_jobs.models import Run, Worker


@pytest.mark.parametrize("broker", ["rabbitmq", "redis"])
def test_smoke(fleet_on, serve, manager, broker):
    fleet = fleet_on(broker)
    serve()
    fleet_manager = manager.using(queue_name=fleet.queue_name)
    job_id = fleet_manager.add_immediate_job("tests.probes.conformance:add", 1, b=5, c=7)
    try:
        assert manager.wait(job_id, 20) == 13
    finally:
        print(fleet.log.read_text()[-6000:])
        print(Run.objects.values(), Worker.objects.values())

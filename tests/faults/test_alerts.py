"""People are told of what goes wrong by processes that are left."""

import json

from tests.faults.processes import SHORT_LEASE


def test_a_web_process_tells_that_all_workers_were_killed_and_that_one_is_back(worker, web, receiver, until):
    address, posted = receiver

    def told(*, recovered):
        messages = [json.loads(body) for _path, body, _signature in posted]
        return [one for one in messages if one["kind"] == "no_worker" and one["recovered"] is recovered]

    jobs = {**SHORT_LEASE, "ALERTS": {"WEBHOOK": address, "WEBHOOK_SECRET": "of these tests alone"}}
    quick = {"jobs": jobs, "FAULTS_ALERT_SECONDS": "1"}
    killed = worker(**quick)
    web(workers=1, **{**quick, "jobs": {**jobs, "WORKER": False, "CLOCK": False}})

    killed.kill()
    until(lambda: told(recovered=False), timeout=60)
    worker(**quick)

    until(lambda: told(recovered=True), timeout=60)
    assert len(told(recovered=False)) == 1

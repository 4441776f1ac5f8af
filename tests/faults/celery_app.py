"""A Celery app with a broker of files, whose one task says what its process is like."""

import json
import os
from pathlib import Path

from celery import Celery

FOLDER = Path(os.environ["FAULTS_GATE"] + ".broker")
FOLDER.mkdir(exist_ok=True)

app = Celery("faults", broker="filesystem://")
app.conf.broker_transport_options = {
    name: str(FOLDER) for name in ("data_folder_in", "data_folder_out", "control_folder")
}
app.conf.worker_hijack_root_logger = False


@app.task(name="report", ignore_result=True)
def report():
    """Write what a child of Celery's sees of its parent's manager, and add a job."""
    from django_jobs import get_job_manager

    manager = get_job_manager()
    seen = {"pid": os.getpid(), "parent": os.getppid(), "is_running": manager.is_running}
    seen["added"] = manager.add_immediate_job("tests.probes.ledger:note", job_id="of the child")
    Path(os.environ["FAULTS_GATE"] + ".child").write_text(json.dumps(seen))

"""A Celery app with a broker of files, whose one task says what its process is like."""

import json
import os
from pathlib import Path

from celery import Celery

FOLDER = Path(os.environ["FAULTS_GATE"] + ".broker")
# Messages are moved from where they are written to where they are read when they are whole: the transport reads
# a file as soon as it is there, and loses one that is still empty.
WRITTEN, READ = FOLDER / "written", FOLDER / "read"
for folder in (WRITTEN, READ):
    folder.mkdir(parents=True, exist_ok=True)

app = Celery("faults", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": str(READ), "data_folder_out": str(WRITTEN), "control_folder": str(FOLDER),
}  # fmt: skip
app.conf.worker_hijack_root_logger = False


@app.task(name="report", ignore_result=True)
def report():
    """Write what a child of Celery's sees of its parent's manager, and add a job."""
    from django_jobs import get_job_manager

    manager = get_job_manager()
    seen = {"pid": os.getpid(), "parent": os.getppid(), "is_running": manager.is_running}
    seen["added"] = manager.add_immediate_job("tests.probes.ledger:note", job_id="of the child")
    Path(os.environ["FAULTS_GATE"] + ".child").write_text(json.dumps(seen))

"""Random graphs, cancelled and retried, whose workers are killed around the commit of outcomes, against a small model.

    python -m tests.faults graphs COUNT SEED

As in `kills`, children are forked that execute runs. What came of it is written as JSON to FAULTS_GATE.report.
"""

import json
import os
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from django.db import OperationalError, connection, connections

from django_jobs import Retry, get_job_manager
from django_jobs.execution import recording
from django_jobs.execution.attempt import Attempt
from django_jobs.models import Batch, Dependency, Dependent, Run, Worker
from django_jobs.storage import claims
from django_jobs.storage.batches.sweep import sweep
from django_jobs.storage.transactions import database_now
from django_jobs.worker.rescue import rescue_at_start
from tests.faults import instants
from tests.faults.kills import ENOUGH_RESCUES, at_call, fork, register, to_end
from tests.probes import parts
from tests.probes.models import Mark

ENDS = "django_jobs.storage.batches.ends"
# Before the outcomes are written; when they are, and no batch knows; when runs are released, when the batch has ended,
# and when all is written, before the commit; and after it.
INSTANTS = [
    "django_jobs.storage.outcomes:finish before",
    f"{ENDS}:note_ended before",
    "django_jobs.storage.waits:end_waits after",
    f"{ENDS}:LockedBatch._end after",
    f"{ENDS}:note_ended after",
    "django_jobs.storage.outcomes:finish after",
]
# How a run ends that is executed, or would be.
STATUS = {"good": "SUCCESSFUL", "bad": "FAILED", "cancelled": "CANCELLED"}
FAILED = {"FAILED", "SKIPPED", "CANCELLED"}
MOST_NODES = 60
# MariaDB's number of it.
DEADLOCK = 1213


@dataclass
class Node:
    """A run of a graph, and how it ends if it is executed."""

    number: int
    after: list[int]
    policy: str
    outcome: str
    takes_results: bool
    # Its first attempt fails, and another follows.
    is_tried_again: bool
    run_id: int = 0


@dataclass
class Graph:
    """Runs, and what the model says of them."""

    nodes: list[Node]
    statuses: list[str] = field(default_factory=list)
    results: dict[int, list] = field(default_factory=dict)
    callbacks: set[str] = field(default_factory=set)

    @classmethod
    def at_random(cls, chance):
        nodes = []
        for number in range(round(chance.triangular(1, MOST_NODES, 1))):
            count = min(number, chance.choice((0, 0, 1, 1, 2, 5)))
            nodes.append(
                Node(
                    number=number,
                    after=chance.sample(range(number), count),
                    policy=chance.choice(("cancel", "cancel", "run", "skip")),
                    outcome=chance.choice(("good",) * 12 + ("bad", "bad", "cancelled")),
                    takes_results=chance.random() < 0.5,
                    is_tried_again=chance.random() < 0.1,
                )
            )
        return cls(nodes)

    def end(self):
        """Say how all ends, given how each run would."""
        statuses = []
        for node in self.nodes:
            before = [statuses[number] for number in node.after]
            is_for_others = node.policy != "run" and FAILED.intersection(before)
            if node.outcome != "cancelled" and is_for_others:
                statuses.append("SKIPPED" if node.policy == "skip" else "CANCELLED")
            else:
                statuses.append(STATUS[node.outcome])
            is_new = not self.statuses or self.statuses[node.number] != "SUCCESSFUL"
            if statuses[-1] == "SUCCESSFUL" and is_new:
                given = [_given(number, statuses[number]) for number in node.after]
                self.results[node.number] = [node.number, given if node.takes_results else []]
        self.statuses = statuses
        self.callbacks |= {"end", "failure" if FAILED.intersection(statuses) else "success"}

    def own_failures(self):
        """Return the runs that did not end for others."""
        return [
            node
            for node in self.nodes
            if self.statuses[node.number] in FAILED
            and (
                node.outcome == "cancelled"
                or node.policy == "run"
                or not FAILED.intersection(self.statuses[number] for number in node.after)
            )
        ]


def _given(number, status):
    if status == "SUCCESSFUL":
        return number
    return "JobCancelled" if status == "CANCELLED" else "JobFailed"


def main(count, seed):
    """Check some graphs; report how many there were, and how many processes were killed."""
    # What one graph imports, no child needs to.
    _add(Graph.at_random(random.Random(seed)))
    _work(random.Random(seed))
    connections.close_all()
    runs = kills = 0
    for index in range(int(count)):
        chance = random.Random(f"{seed} {index}")
        graph = Graph.at_random(chance)
        try:
            kills += _check(graph, chance)
        except BaseException as error:
            error.add_note(f"graph {index} of --seed {seed}: {graph}")
            raise
        runs += len(graph.nodes)
        report = {"graphs": index + 1, "runs": runs, "kills": kills}
        Path(os.environ["FAULTS_GATE"] + ".report").write_text(json.dumps(report))


def _check(graph, chance):
    told = json.loads(to_end(lambda tell: _write(tell, _add(graph))))
    for node, (node.run_id, is_cancelled) in zip(graph.nodes, told["nodes"], strict=True):
        if node.outcome == "cancelled" and not is_cancelled:
            node.outcome = "good"
    graph.end()
    kills = _work_off(chance)
    _compare(graph, told["batch"])
    failed = graph.own_failures()
    if failed:
        # All of them, or one; and some fail again.
        retried = failed if chance.random() < 0.5 else [chance.choice(failed)]
        for node in retried:
            node.outcome = "bad" if node.outcome == "bad" and chance.random() < 0.3 else "good"
        to_end(lambda _: _retry(retried, told["batch"] if retried is failed else ""))
        graph.end()
        kills += _work_off(chance)
        _compare(graph, told["batch"])
    return kills


def _compare(graph, batch_id):
    found = json.loads(to_end(lambda tell: _write(tell, _found(batch_id))))
    assert found["early"] == 0
    differing = {
        number: (has, expected)
        for number, (has, expected) in enumerate(zip(found["statuses"], graph.statuses, strict=True))
        if has != expected
    }
    assert not differing, differing
    assert {int(number): result for number, result in found["results"].items()} == graph.results
    assert sorted(found["callbacks"]) == sorted(graph.callbacks)
    assert found["jobs"] == len(graph.callbacks), "callbacks are added once"
    assert found["status"] == ("failed" if FAILED.intersection(graph.statuses) else "successful")
    assert found["waits"] == 0
    assert found["mended"] == 0, "nothing is left to the sweep"


def _work_off(chance):
    """Have runs executed by processes that are killed, and at last by one that is not; return how many were."""
    kills = 0
    for _ in range(chance.randint(1, 3)):
        pids = []
        for _ in range(chance.randint(1, 2)):
            instant, nth, seed = chance.choice(INSTANTS), chance.choice((1, 1, 2, 5)), chance.random()
            pid, told = fork(lambda _, hit=(instant, nth, seed): _work_until(*hit))
            os.close(told)
            pids.append(pid)
        for pid in pids:
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            assert code in {0, -signal.SIGKILL}, code
            kills += code != 0
    to_end(lambda _: _work(chance))
    return kills


# What children do


def _write(tell, value):
    text = json.dumps(value).encode()
    while text:
        text = text[os.write(tell, text) :]


def _add(graph):
    """Add the graph, and cancel what is to be cancelled before anything begins."""
    with connection.cursor() as cursor:
        for model in (Run, Batch, Dependent, Dependency, Mark, Worker):
            cursor.execute(f"DELETE FROM {model._meta.db_table}")
    handles = []
    callbacks = dict.fromkeys(("on_end", "on_success", "on_failure"), parts.give)
    with get_job_manager().batch("graph", **callbacks) as batch:
        for node in graph.nodes:
            after = [handles[number] for number in node.after]
            options = {"retry": Retry(max_attempts=1000, delay=0)} if node.is_tried_again else {}
            handles.append(
                batch.using(**options).add(
                    parts.node, node.number, after if node.takes_results else [],
                    after=after, after_failure=node.policy, is_tried_again=node.is_tried_again,
                    is_bad=node.outcome == "bad",
                )
            )  # fmt: skip
    told = []
    for node, handle in zip(graph.nodes, handles, strict=True):
        # False where it was cancelled for another one before.
        told.append(
            [handle.run_id, node.outcome == "cancelled" and get_job_manager().cancel_run(handle.run_id)]
        )
    return {"batch": batch.id, "nodes": told}


def _retry(nodes, batch_id):
    Mark.objects.bulk_create(Mark(text=f"mended {node.number}") for node in nodes if node.outcome == "good")
    if batch_id:
        assert get_job_manager().retry_batch(batch_id) == len(nodes)
    else:
        assert get_job_manager().retry_run(nodes[0].run_id)


def _found(batch_id):
    batch = Batch.objects.get(key=batch_id)
    runs = Run.objects.filter(batch_id=batch.pk).order_by("pk")
    good = [run for run in runs if run.status == "SUCCESSFUL"]
    counts = {status: getattr(batch, status.lower()) for status in {*FAILED, "SUCCESSFUL"}}
    assert counts == {status: sum(run.status == status for run in runs) for status in counts}
    return {
        "statuses": [run.status for run in runs],
        "results": {result[0]: result for result in (json.loads(run.result) for run in good)},
        "callbacks": list(batch.callback_jobs or {}),
        "jobs": Run.objects.filter(batch_id=None, status="SUCCESSFUL").count(),
        "early": Mark.objects.filter(text__startswith="early").count(),
        "status": batch.state,
        "waits": Run.objects.unfinished().count(),
        "mended": sweep(using="default"),
    }


def _work_until(instant, nth, seed):
    instants.set_at(*instant.split(), at_call(nth, signal.SIGKILL))
    _work(random.Random(seed))


def _work(chance):
    """Execute runs, several at a time, until none is left."""
    worker_id = register()
    while Run.objects.unfinished().exists():
        rescue_at_start(database_now("default"), using="default", max_rescues=ENOUGH_RESCUES)
        outcomes = []
        limit = chance.randint(1, 4)
        for run in _again(lambda limit=limit: claims.claim(worker_id, limit=limit, using="default")):
            attempt = Attempt(run)
            attempt.begin()
            outcomes.append((run, attempt.execute()))
        if outcomes:
            _again(lambda outcomes=outcomes: recording.record(outcomes, using="default"))
        else:
            time.sleep(0.02)


def _again(work):
    """Do something again that MariaDB undid, for two waited for each other, as a worker does."""
    while True:
        try:
            return work()
        except OperationalError as error:
            if connection.vendor != "mysql" or error.args[0] != DEADLOCK:
                raise

import threading

from django_jobs.worker import process_end


def test_a_process_whose_functions_go_on_ends_immediately(monkeypatch):
    codes = []

    monkeypatch.setattr(process_end.logging, "shutdown", lambda: None)

    process_end.end_process(has_finished=False, code=3, leave=codes.append)

    assert codes == [3]


def test_a_process_whose_threads_were_left_ends_after_a_while(monkeypatch, caplog):
    monkeypatch.setattr(process_end, "LEFT_SECONDS", 0.01)
    monkeypatch.setattr(process_end.logging, "shutdown", lambda: None)
    left, ended, go_on = [], threading.Event(), threading.Event()
    thread = threading.Thread(target=go_on.wait, args=[20], name="left behind")
    thread.start()

    process_end.end_process(has_finished=True, leave=lambda code: (left.append(code), ended.set()))

    assert ended.wait(10)
    go_on.set()
    thread.join(10)
    assert left == [0]
    assert "left behind" in caplog.text

from types import SimpleNamespace

from tests.order import spread


def test_files_that_wait_are_spread_among_the_others_and_the_longest_begin():
    items = [
        SimpleNamespace(nodeid=f"{file}::{test}", wait=wait)
        for file, wait in [
            ("a.py", 0), ("b.py", 1), ("tests/browser/x.py", 1), ("c.py", 0), ("d.py", 9), ("tests/browser/y.py", 0),
            ("a.py", 0), ("e.py", 0), ("f.py", 0),
        ]
        for test in "12"
    ]  # fmt: skip

    ordered = spread(items, lambda item: item.wait, lambda item: item.wait)

    assert sorted(map(id, ordered)) == sorted(map(id, items))
    files = list(dict.fromkeys(item.nodeid.partition("::")[0] for item in ordered))
    assert files == [
        "a.py", "d.py", "c.py", "b.py", "e.py", "tests/browser/x.py", "tests/browser/y.py", "f.py",
    ]  # fmt: skip

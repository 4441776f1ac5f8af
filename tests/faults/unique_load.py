"""Commit and roll back events, each with a call of the job that handles them: SEED COUNT KEYS FILE.

FILE gets a byte for each call that was made, whatever became of its transaction.
"""

import os
import random
import sys

import django
from django.db import OperationalError, transaction


def main(seed, count, keys, file):
    from tests.probes.models import Mark
    from tests.probes.unique import handle

    chance = random.Random(seed)
    for _ in range(count):
        key = f"k{chance.randrange(keys)}"
        is_plain, is_undone = chance.random() < 0.1, chance.random() < 0.2
        try:
            if is_plain:
                handle.enqueue(key)
            else:
                with transaction.atomic():
                    Mark.objects.create(text=key)
                    handle.enqueue(key)
                    transaction.set_rollback(is_undone)
        except OperationalError as error:
            # A transaction that the database ended never was: a deadlock on MariaDB, a busy file on SQLite.
            print(f"{type(error).__name__}: {error}", flush=True)  # noqa: T201 - the log of this process
        os.write(file, b".")


if __name__ == "__main__":
    django.setup()
    seed, count, keys = map(int, sys.argv[1:4])
    main(seed, count, keys, os.open(sys.argv[4], os.O_WRONLY | os.O_APPEND | os.O_CREAT))

"""`python -m tests.faults MODULE ARGUMENT...`: call `main` of one of these modules, with Django set up."""

import sys
from importlib import import_module

import django

if __name__ == "__main__":
    django.setup()
    import_module(f"tests.faults.{sys.argv[1]}").main(*sys.argv[2:])

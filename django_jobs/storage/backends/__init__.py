"""The operations of the queue that each database does in its own way.

`choose.backend_of` returns the backend of a connection. Its methods execute and return values; no
other module words these statements. What every database does alike is left to Django's ORM.

Statements have literal states instead of parameters: only then do SQLite and PostgreSQL use the
partial indexes.
"""

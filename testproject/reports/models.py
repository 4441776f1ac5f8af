"""No tables: reports are files."""

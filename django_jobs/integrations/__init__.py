"""What others' monitoring is told, one module for each kind; each needs its own library."""

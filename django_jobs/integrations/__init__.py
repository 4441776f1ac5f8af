"""What other software needs to know of us, a module or package for each; each needs its own library."""

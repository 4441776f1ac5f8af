"""Call one function, and say what it came to."""

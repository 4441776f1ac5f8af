"""One process at work: claim runs, have them executed, look after them."""

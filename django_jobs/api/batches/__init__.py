"""Batches as projects use them: made, added to, waited for, cancelled and retried."""

"""What projects call: the manager, and what stands behind its methods."""

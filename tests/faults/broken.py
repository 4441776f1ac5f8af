"""A module that cannot be imported, as after a deploy that forgot a dependency."""

raise ImportError("its dependency is not installed")

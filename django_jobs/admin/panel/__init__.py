"""The runs that are about an object, on the object's own page."""

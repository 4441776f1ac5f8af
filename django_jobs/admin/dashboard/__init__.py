"""The dashboard.

`page` answers requests. Everything that it shows is read by `overview`, by `health` and `statistics` or with
a query of its own, `failures` and `upcoming` among them. `parts` lists the parts; `problems`, `now` and
`past` make their contents, with `charts` for the pictures.
"""

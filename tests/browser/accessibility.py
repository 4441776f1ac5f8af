"""What axe-core finds in a page."""

from functools import cache
from importlib.resources import files

# By rule and selector: findings in what Django's own templates draw.
DJANGOS = {("label-title-only", "#searchbar"), ("link-in-text-block", '.small > a[href="?"]')}


@cache
def _axe():
    # The script alone: the package's own function uses a page in this thread.
    return (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


def assert_accessible(page, *, within="body"):
    """Fail where axe-core has a serious or critical finding.

    Args:
        page: What `open_page` returned.
        within: A selector of the part to look at.
    """
    page.evaluate(f"() => {{ {_axe()} }}")
    # It would read imported style sheets by writing styles into the page, which the policy refuses.
    found = page.evaluate("within => axe.run(within, {resultTypes: ['violations'], preload: false})", within)
    assert found["passes"], f"axe-core looked at nothing within {within}"
    lines = [
        f"{one['impact']}: {one['id']}: {one['help']}: {node['html'][:300]} {node['failureSummary']}"
        for one in found["violations"]
        if one["impact"] in {"serious", "critical"}
        for node in one["nodes"]
        if (one["id"], *node["target"]) not in DJANGOS
    ]
    assert not lines, "\n".join(lines)

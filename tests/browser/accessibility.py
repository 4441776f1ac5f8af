"""What axe-core finds in a page."""

from functools import cache
from importlib.resources import files

# By rule and selector: findings in what Django's own templates draw.
DJANGOS = {
    ("label-title-only", "#searchbar"),
    ("link-in-text-block", '.small > a[href="?"]'),
    ("link-in-text-block", 'a[href="?"]'),
}
# It would read imported style sheets by writing styles into the page, which the policy refuses.
OPTIONS = "{resultTypes: ['violations'], preload: false}"
# Children that are built like an earlier brother: rows of a table, bars of a chart. Most of the time goes into the
# contrast of each text, and theirs is the same. Every second one may have another background.
LIKE_OTHERS = """(within) => {
    const built = (node) => [
        node.tagName, node.getAttribute("class"), node.type, node.textContent.trim() === "",
        ...Array.from(node.attributes, (attribute) => attribute.name), "(", ...Array.from(node.children, built), ")",
    ].join(" ");
    const found = [];
    const look = (parent) => {
        const seen = new Set();
        Array.from(parent.children).forEach((node, place) => {
            const kind = `${place % 2} ${built(node)}`;
            if (seen.has(kind)) {
                found.push(node);
            } else {
                seen.add(kind);
                look(node);
            }
        });
    };
    document.querySelectorAll(within).forEach(look);
    return found;
}"""


@cache
def _axe():
    # The script alone: the package's own function uses a page in this thread.
    return (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


def assert_accessible(page, *, within="body"):
    """Fail where axe-core has a serious or critical finding; of rows that are built alike it looks at two.

    Args:
        page: What `open_page` returned.
        within: A selector of the part to look at.
    """
    page.evaluate(f"() => {{ {_axe()} }}")
    found = page.evaluate(
        f"within => axe.run({{include: [within], exclude: ({LIKE_OTHERS})(within)}}, {OPTIONS})", within
    )
    assert found["passes"], f"axe-core looked at nothing within {within}"
    lines = [
        f"{one['impact']}: {one['id']}: {one['help']}: {node['html'][:300]} {node['failureSummary']}"
        for one in found["violations"]
        if one["impact"] in {"serious", "critical"}
        for node in one["nodes"]
        if (one["id"], *node["target"]) not in DJANGOS
    ]
    assert not lines, "\n".join(lines)

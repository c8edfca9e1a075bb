"""The gate's page: Great Expectations' Data Docs of a night's results, one file without parts elsewhere."""

import re
from html import escape

from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult
from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
from great_expectations.render.view.view import DefaultJinjaPageView
from jinja2 import ChoiceLoader, DictLoader

from dualpath.jobs.gate_report import GateReport

# Their template takes styles, scripts and pictures from other machines; without them the page is as complete. Links
# lead to pages that are not written.
ASSETS = re.compile(r"<script\b.*?</script>|<link\b[^>]*>|<img\b[^>]*>|</?a\b[^>]*>", re.DOTALL | re.IGNORECASE)
FOREIGN = re.compile(r"@font-face\s*{.*?}|@import[^;]*;|url\([^)]*\)", re.DOTALL)
# Controls that need those scripts are left out, and what is folded up is unfolded by the browser alone.
TEMPLATES = dict.fromkeys(("top_navbar.j2", "sidebar.j2", "cloud-footer.j2", "js_script_imports.j2"), "") | {
    "collapse.j2": """<details>
<summary>{{ content_block.get("collapse_toggle_link", "Show more") | render_content_block }}</summary>
{% for block in content_block["collapse"] %}
{{ block | render_content_block(content_block_id=content_block_id ~ "-item-" ~ loop.index) }}
{% endfor %}
</details>"""
}
STYLE = """<style>
body { font: 14px/1.4 sans-serif; margin: 2em; color: #222; background: #fff; }
table { border-collapse: collapse; margin: 0.5em 0; } td, th { border: 1px solid #ccc; padding: 0.3em 0.6em; text-align: left; vertical-align: top; }
summary { cursor: pointer; }
.fa-check-circle::before { content: "✓"; color: #070; } .fa-times::before { content: "✗"; color: #b00; } .fa-exclamation-triangle::before { content: "!"; color: #b00; }
.refused { border-left: 4px solid #b00; padding-left: 2em; }
</style>"""  # noqa: E501


def page(results: ExpectationSuiteValidationResult | None, report: GateReport, title: str) -> str:
    """The page, HTML, of the results on the events, none if there are none; every failure stands above, in words."""
    found = "".join(
        f"<li><b>{escape(f.expectation)}</b> {escape(f.sentence)}; {escape(', '.join(f.examples))}</li>"
        for f in report.failures
    )
    verdict = f"<h1>{escape(title)}: {'passed' if report.passed else 'failed'}</h1><ul class=refused>{found}</ul>"
    if results is None:
        return f"<!DOCTYPE html><html><head><meta charset='UTF-8'>{STYLE}</head><body>{verdict}</body></html>"
    document = ValidationResultsPageRenderer().render(results)
    view = DefaultJinjaPageView()
    view.env.loader = ChoiceLoader([DictLoader(TEMPLATES), *filter(None, [view.env.loader])])
    html = FOREIGN.sub("", ASSETS.sub("", view.render(document, show_how_to_buttons=False)))
    return html.replace("</head>", f"{STYLE}</head>", 1).replace("<body>", f"<body>{verdict}", 1)

"""The gate's page: Great Expectations' Data Docs of a night's results, one file without parts elsewhere."""

import re
from html import escape

from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult
from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
from great_expectations.render.view.view import DefaultJinjaPageView

from dualpath.jobs.gate_report import GateReport

# Their template takes styles, scripts and pictures from other machines; without them the page is as complete.
ASSETS = re.compile(r"<script\b.*?</script>|<link\b[^>]*>|<img\b[^>]*>", re.DOTALL | re.IGNORECASE)
FOREIGN = re.compile(r"@font-face\s*{.*?}|@import[^;]*;|url\([^)]*\)", re.DOTALL)
STYLE = """<style>
body { font: 14px/1.4 sans-serif; margin: 2em; color: #222; background: #fff; }
table { border-collapse: collapse; margin: 0.5em 0; } td, th { border: 1px solid #ccc; padding: 0.3em 0.6em; text-align: left; vertical-align: top; }
nav, .modal, .ge-walkthrough-modal, .navbar, footer, #ge-cta-footer, button, .cta { display: none; }
.fa-check-circle::before { content: "✓"; color: #070; } .fa-times::before { content: "✗"; color: #b00; }
.refused { border-left: 4px solid #b00; padding-left: 1em; }
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
    html = FOREIGN.sub("", ASSETS.sub("", DefaultJinjaPageView().render(document, show_how_to_buttons=False)))
    return html.replace("</head>", f"{STYLE}</head>", 1).replace("<body>", f"<body>{verdict}", 1)

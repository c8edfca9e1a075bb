"""A board and its panels as Grafana has them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

WIDTH = 24
"""Columns of Grafana's grid."""
SIZES = {"stat": (6, 4), "timeseries": (12, 8)}
"""Columns and rows of a panel by its kind."""
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True)
class Panel:
    """A panel: `queries` are PromQL by legend, which may name labels as `{{label}}`; `red` is where it turns red."""

    title: str
    unit: str
    queries: Mapping[str, str]
    tells: str = ""
    kind: str = "timeseries"
    red: float | None = None

    def __post_init__(self) -> None:
        assert self.kind in SIZES, self.title

    def json(self, number: int, x: int, y: int) -> dict[str, Any]:
        """The panel as Grafana has it, at a place of the grid."""
        width, height = SIZES[self.kind]
        steps = [{"color": "green", "value": None}]
        custom: dict[str, Any] = {}
        if self.red is not None:
            steps.append({"color": "red", "value": self.red})
        if self.kind == "timeseries":
            custom = {"lineWidth": 2, "fillOpacity": 0, "showPoints": "never"}
            custom["thresholdsStyle"] = {"mode": "off" if self.red is None else "line"}
        return {
            "id": number,
            "title": self.title,
            "description": self.tells,
            "type": self.kind,
            "datasource": SOURCE,
            "gridPos": {"x": x, "y": y, "w": width, "h": height},
            "fieldConfig": {
                "defaults": {"unit": self.unit, "custom": custom, "thresholds": {"mode": "absolute", "steps": steps}},
                "overrides": [],
            },
            "options": OPTIONS[self.kind],
            "targets": [
                {"refId": chr(ord("A") + place), "expr": expr, "legendFormat": legend, "datasource": SOURCE}
                for place, (legend, expr) in enumerate(self.queries.items())
            ],
        }


OPTIONS: dict[str, dict[str, Any]] = {
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "graphMode": "area"},
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
}


@dataclass(frozen=True)
class Board:
    """A board: its name in files and addresses, its title, and its panels, left to right and top to bottom."""

    name: str
    title: str
    panels: tuple[Panel, ...]

    def placed(self) -> Iterator[dict[str, Any]]:
        """The panels as JSON, each beside the last one as long as it fits there."""
        x = y = tallest = 0
        for number, panel in enumerate(self.panels, start=1):
            width, height = SIZES[panel.kind]
            if x + width > WIDTH:
                x, y, tallest = 0, y + tallest, 0
            yield panel.json(number, x, y)
            x, tallest = x + width, max(tallest, height)

    def json(self) -> dict[str, Any]:
        """The board as Grafana has it."""
        variable = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
        return {
            "uid": f"dualpath-{self.name}",
            "title": f"dualpath: {self.title}",
            "tags": ["dualpath"],
            "schemaVersion": 39,
            "editable": True,
            "graphTooltip": 1,
            "refresh": "10s",
            "time": {"from": "now-30m", "to": "now"},
            "timezone": "utc",
            "templating": {"list": [variable]},
            "links": [{"title": "dualpath", "type": "dashboards", "tags": ["dualpath"], "keepTime": True}],
            "panels": list(self.placed()),
        }

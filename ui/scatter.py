"""The celebrity map as a Vega-Lite chart.

`gr.ScatterPlot` has neither text beside its dots nor sizes; `gr.Plot` draws any Vega-Lite spec.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gradio.components.plot import PlotData

from ui.celeb_map import CelebMap

CELEBRITY, NEAR, PERSON, CHOSEN = "celebrity", "nearest", "your people", "chosen"
# Legible on white and on black.
COLOURS = {CELEBRITY: "#94a3b8", NEAR: "#0d9488", PERSON: "#6366f1", CHOSEN: "#ea580c"}
SIZES = {CELEBRITY: 18, NEAR: 55, PERSON: 70, CHOSEN: 130}
WIDTH, HEIGHT = 560, 380  # in units of the chart, which the page scales to the width it has
EDGE = 60  # for the names of the outermost
LINES = "#94a3b855"  # of the grid

Position = tuple[float, float]


def chart(
    celeb_map: CelebMap,
    people: Mapping[str, Position],
    chosen: Mapping[str, Position],
    near: Sequence[str],
) -> PlotData:
    """Chart of the first two components; the user's people and the outermost celebrities are named.

    Args:
        celeb_map: The celebrities.
        people: The user's people: name -> position in standard deviations.
        chosen: The person in the foreground, in the same form.
        near: Celebrities that are highlighted.
    """
    celebrities = {
        name: (float(position[0]), float(position[1]))
        for name, position in zip(celeb_map.basis.names, celeb_map.positions, strict=True)
    }
    kinds: dict[str, Mapping[str, Position]] = {
        CELEBRITY: {n: p for n, p in celebrities.items() if n not in near and n not in chosen},
        NEAR: {name: celebrities[name] for name in near},
        PERSON: {name: position for name, position in people.items() if name not in chosen},
        CHOSEN: chosen,
    }
    labelled = {*people, *chosen, *outermost(celebrities)}
    rows = [
        {
            "name": name, "x": round(x, 3), "y": round(y, 3), "kind": kind,
            "size": SIZES[kind], "label": name if name in labelled else "",
        }
        for kind, positions in kinds.items()
        for name, (x, y) in positions.items()
    ]  # fmt: skip
    return PlotData(type="altair", plot=json.dumps(_spec(rows, celeb_map.shares)))


def outermost(positions: Mapping[str, Position]) -> set[str]:
    """Names of those farthest to the left, right, bottom and top."""
    return {
        end(positions, key=lambda name: positions[name][axis])
        for axis in (0, 1)
        for end in (min, max)
    }


def _spec(rows: Sequence[Mapping[str, Any]], shares: Sequence[float]) -> dict[str, Any]:
    x, y = (
        {
            "field": name, "type": "quantitative",
            "title": f"Component {number} ({100 * share:.0f} % of the variance)",
        }
        for name, number, share in zip("xy", (1, 2), shares[:2], strict=True)
    )  # fmt: skip
    dots = {
        "mark": {"type": "circle", "opacity": 0.9},
        "encoding": {
            "color": {
                "field": "kind", "type": "nominal", "legend": None,
                "scale": {"domain": list(COLOURS), "range": list(COLOURS.values())},
            },
            "size": {"field": "size", "type": "quantitative", "legend": None, "scale": None},
            "tooltip": {"field": "name", "type": "nominal", "title": "Name"},
        },
    }  # fmt: skip
    names = {
        "transform": [{"filter": "datum.label"}],
        "mark": {"type": "text", "dy": -11, "fontSize": 14},
        "encoding": {"text": {"field": "label", "type": "nominal"}},
    }
    axis = {
        "gridColor": LINES, "domain": False, "ticks": False, "tickCount": 7,
        "labelFontSize": 13, "titleFontSize": 13, "titleFontWeight": "normal",
    }  # fmt: skip
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "background": "transparent",
        "height": HEIGHT,
        "width": WIDTH,
        "config": {"axis": axis, "view": {"stroke": LINES}},
        "data": {"values": list(rows)},
        "encoding": {"x": {**x, "scale": {"padding": EDGE}}, "y": y},
        "layer": [dots, names],
        # As SVG, so that the page's colours and fonts hold for the names too.
        "usermeta": {"embedOptions": {"renderer": "svg"}},
    }

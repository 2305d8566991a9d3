"""The celebrity map as a Vega-Lite chart, which `gr.Plot` draws without any request elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gradio.components.plot import PlotData

from celeb_core import CelebMap

CELEBRITY, NEAR, PERSON, CHOSEN = "celebrity", "nearest", "your people", "chosen"
# Seen on white and on black.
COLOURS = {CELEBRITY: "#94a3b8", NEAR: "#0d9488", PERSON: "#6366f1", CHOSEN: "#ea580c"}
SIZES = {CELEBRITY: 18, NEAR: 55, PERSON: 70, CHOSEN: 130}
WIDTH, HEIGHT = 560, 380  # in units of the drawing, which the page scales to its place
EDGE = 60  # where the names of the outermost have room
LINES = "#94a3b855"  # of the grid

Place = tuple[float, float]


def chart(
    atlas: CelebMap, people: Mapping[str, Place], chosen: Mapping[str, Place], near: Sequence[str]
) -> PlotData:
    """Celebrities as dots, those of `near` larger; people and who is chosen with their names.

    So are the celebrities at the ends of the axes. Places are in standard deviations along the
    first two components.
    """
    famous = {
        name: (float(place[0]), float(place[1]))
        for name, place in zip(atlas.basis.names, atlas.places, strict=True)
    }
    kinds: dict[str, Mapping[str, Place]] = {
        CELEBRITY: {n: p for n, p in famous.items() if n not in near and n not in chosen},
        NEAR: {name: famous[name] for name in near},
        PERSON: {name: place for name, place in people.items() if name not in chosen},
        CHOSEN: chosen,
    }
    labelled = {*people, *chosen, *ends(famous)}
    rows = [
        {
            "name": name, "x": round(x, 3), "y": round(y, 3), "kind": kind,
            "size": SIZES[kind], "label": name if name in labelled else "",
        }
        for kind, places in kinds.items()
        for name, (x, y) in places.items()
    ]  # fmt: skip
    return PlotData(type="altair", plot=json.dumps(_spec(rows, atlas.shares)))


def ends(places: Mapping[str, Place]) -> set[str]:
    """Who is farthest to the left, right, bottom and top."""
    outermost = [
        end(places, key=lambda name: places[name][axis]) for axis in (0, 1) for end in (min, max)
    ]
    return set(outermost)


def _spec(rows: Sequence[Mapping[str, Any]], shares: Sequence[float]) -> dict[str, Any]:
    kinds, colours = list(COLOURS), list(COLOURS.values())
    axis = [
        f"Component {number} ({100 * share:.0f} % of the spread)"
        for number, share in enumerate(shares[:2], 1)
    ]
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "background": "transparent",
        "height": HEIGHT,
        "width": WIDTH,
        "config": {
            "axis": {"gridColor": LINES, "domain": False, "ticks": False, "tickCount": 7,
                     "labelFontSize": 13, "titleFontSize": 13, "titleFontWeight": "normal"},
            "view": {"stroke": LINES},
        },
        "data": {"values": list(rows)},
        "encoding": {
            "x": {
                "field": "x", "type": "quantitative", "title": axis[0],
                "scale": {"padding": EDGE},
            },
            "y": {"field": "y", "type": "quantitative", "title": axis[1]},
        },
        "layer": [
            {
                "mark": {"type": "circle", "opacity": 0.9, "stroke": None},
                "encoding": {
                    "color": {
                        "field": "kind", "type": "nominal", "legend": None,
                        "scale": {"domain": kinds, "range": colours},
                    },
                    "size": {
                        "field": "size", "type": "quantitative", "legend": None, "scale": None,
                    },
                    "tooltip": {"field": "name", "type": "nominal", "title": "Name"},
                },
            },
            {
                "transform": [{"filter": "datum.label"}],
                "mark": {"type": "text", "dy": -11, "fontSize": 14, "stroke": None},
                "encoding": {"text": {"field": "label", "type": "nominal"}},
            },
        ],
        # Drawn as SVG, so that the page's colours and fonts hold for the names too.
        "usermeta": {"embedOptions": {"renderer": "svg"}},
    }  # fmt: skip

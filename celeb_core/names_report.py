"""The ranked table of names with their pictures: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape

from celeb_core.filter_names import Sighting
from celeb_core.verdicts import Verdict

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Names that {title} knows</title>
<style>
:root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }}
body {{ max-width: 75rem; margin: 2rem auto; padding: 0 1rem }}
div {{ overflow-x: auto }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ padding: .4rem .75rem; text-align: left; border-bottom: 1px solid #8884 }}
td:nth-child(n+3):nth-child(-n+5) {{ font-variant-numeric: tabular-nums }}
img {{ height: 72px; display: block }}
</style>
<h1>{kept} of {count} names kept</h1>
<p>{title} drew each name from the same seeds; the last pictures show it beside another name, then
its own words alone. Consistency is how alike the faces are, less what all names' faces have in
common; {threshold:.2f} or more is asked for.</p>
<div><table><tr><th>#<th>Name<th>Consistency<th>Face seen<th>Beside others<th>Verdict<th>Pictures
{rows}
</table></div>
</html>
"""


def as_html(
    verdicts: Sequence[Verdict],
    sightings: Mapping[str, Sighting],
    title: str,
    threshold: float,
) -> str:
    """The table as a page; the pictures are in it."""
    rows = [
        f"<tr><td>{rank}<td>{escape(v.name)}<td>{v.consistency:.2f}<td>{v.seen:.0%}"
        f"<td>{v.beside:.0%}<td>{escape(v.why or 'kept')}"
        f"<td>{_image(v.name, sightings[v.name])}"
        for rank, v in enumerate(verdicts, start=1)
    ]
    return PAGE.format(
        title=escape(title),
        kept=sum(v.kept for v in verdicts),
        count=len(verdicts),
        threshold=threshold,
        rows="\n".join(rows),
    )


def _image(name: str, sighting: Sighting) -> str:
    data = base64.b64encode(bytes(sighting.pictures.numpy())).decode()
    return f'<img loading="lazy" alt="{escape(name)}" src="data:image/jpeg;base64,{data}">'

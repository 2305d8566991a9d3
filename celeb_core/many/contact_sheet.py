"""The contact sheet of a run: an HTML page with an image of everybody, and what went wrong."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import quote

from celeb_core.many.records import DONE, Record


def contact_sheet(rows: Sequence[Record], title: str) -> bytes:
    """Write rows with name, status and error, maybe portrait or file, as a page beside these files.

    Its images are links, loaded when they are scrolled to: the page of ten thousand stays small.
    """
    good = [row for row in rows if row["status"] == DONE]
    cards = "".join(_card(row) for row in good)
    failed = "".join(
        f"<tr><td>{escape(str(row['name']))}<td>{escape(str(row['error']))}\n"
        for row in rows
        if row["status"] != DONE
    )
    table = f"<h2>Not done</h2>\n<table><tr><th>Name<th>Reason\n{failed}</table>" if failed else ""
    scores = [row["identity_score"] for row in good if row.get("identity_score") is not None]
    mean = f", mean identity score {sum(scores) / len(scores):.3f}" if scores else ""
    page = Template(Path(__file__).with_name("contact_sheet.html").read_text(encoding="utf-8"))
    counts = f"{len(good)} of {len(rows)} done{mean}"
    text = page.substitute(title=escape(title), counts=counts, cards=cards, failed=table)
    return text.encode(errors="replace")


def _card(row: Record) -> str:
    source, name = str(row.get("portrait") or row.get("file") or ""), escape(str(row["name"]))
    image = f"<img loading=lazy alt='{name}' src='{quote(source)}'>" if source else ""
    score = row.get("identity_score")
    below = [name] if score is None else [name, f"{score:.3f}"]
    below += [escape(str(row["prompt"]))] if row.get("prompt") else []
    title = f" title='{escape(str(row['error']))}'" if row.get("error") else ""
    return f"<figure{title}>{image}<figcaption>{'<br>'.join(below)}</figcaption></figure>\n"

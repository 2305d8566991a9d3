"""The result of an evaluation as tables: plain text for the terminal, Markdown to paste."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from celeb_core.evaluation.single import ROWS

SHARES = ("found", "place", "right", "swapped", "blended", "twice", "missing")
HEADERS = {
    "place": "right place", "twice": "one twice", "identity_edits": "over edits", "clip": "CLIP",
}  # fmt: skip
"""Key of a score -> what a table calls it, where that is something else."""
WHO = {"people": "people", "celebrities": "celebrities", "mixed": "people, one a celebrity"}


@dataclass(frozen=True)
class Table:
    """A table of texts; its first column names the rows."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def text(self) -> str:
        """Return lines whose columns are aligned."""
        lines = [self.headers, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if column else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )

    def markdown(self) -> str:
        """Return the lines of a Markdown table."""
        lines = [self.headers, ("---",) * len(self.headers), *self.rows]
        return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)


def build_tables(result: Mapping[str, Any]) -> list[Table]:
    """Build the tables of what `evaluate` returned: of one person, and of groups."""
    tables = []
    if "celebrities" in result:
        tables.append(_single(result))
    if pairs := [row for row in ("pairs", "pairs_with_celebrity") if row in result]:
        rows = [(row.replace("_", " "), *_shares(result[row], ("found", "rank1"))) for row in pairs]
        tables.append(Table(("", "both found", "each right of 100"), tuple(rows)))
    if "groups" in result:
        tables.append(_groups(result["groups"]))
    return tables


def format_text(result: Mapping[str, Any]) -> str:
    """Lay out the result of `evaluate` for a terminal."""
    notes = [*result["notes"], f"judge: {result['judge']}"]
    return "\n\n".join([*(table.text() for table in build_tables(result)), "\n".join(notes)])


def format_markdown(result: Mapping[str, Any]) -> str:
    """Lay out the result of `evaluate` as Markdown."""
    notes = [*result["notes"], f"Judge: `{result['judge']}`."]
    parts = [*(table.markdown() for table in build_tables(result)), " ".join(notes)]
    return "\n\n".join(parts) + "\n"


def _single(result: Mapping[str, Any]) -> Table:
    """Return the table of one person, with the ratios to the celebrities' identity scores."""
    base, rows = result["celebrities"], []
    names = [row for row in ("celebrities", *ROWS) if row in result]
    prompts = _prompt_columns([result[name] for name in names])
    for name in names:
        cells, line = result[name], [name]
        for key in ("identity", "identity_edits"):
            ratio = f" ({cells[key] / base[key]:.2f}x)" if base[key] > 0 else ""
            line.append(f"{cells[key]:.3f}{ratio if name != 'celebrities' else ''}")
        line += [_number(cells[key]) for key in prompts]
        seconds = "-" if name == "celebrities" else f"{cells['seconds']:.2f}"
        rows.append((*line, *_shares(cells, ("found",)), seconds))
    headers = ("identity", "identity_edits", *prompts, "found", "seconds")
    return Table(("", *(HEADERS.get(key, key) for key in headers)), tuple(rows))


def _groups(groups: Sequence[Mapping[str, Any]]) -> Table:
    """Return the table of groups: two lines per kind of group, with and without regions."""
    scores = ["identity", "identity_edits", *_prompt_columns(groups)]
    rows = [
        (
            f"{row['people']} {WHO[row['who']]}", row["regions"],
            *_shares(row, SHARES), *(_number(row[key]) for key in scores),
        )
        for row in groups
    ]  # fmt: skip
    headers = (HEADERS.get(key, key) for key in (*SHARES, *scores))
    return Table(("", "regions", *headers), tuple(rows))


def _prompt_columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the prompt scores that a table has: a column for a reader, if there is one; CLIP."""
    return [key for key in ("prompt",) if any(row[key] is not None for row in rows)] + ["clip"]


def _shares(row: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    return ["-" if row[key] is None else f"{row[key]:.2f}" for key in keys]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"

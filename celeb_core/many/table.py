"""The table of a run: one row per record, as Parquet (or CSV, without pyarrow)."""

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from celeb_core.many.records import Record

TEXT, NUMBER, WHOLE, TEXTS = "string", "float64", "int64", "texts"
TRAIN_COLUMNS = {
    "name": TEXT, "status": TEXT, "error": TEXT, "identity_score": NUMBER, "seconds": NUMBER,
    "recipe": TEXT, "file": TEXT, "portrait": TEXT, "photos": TEXTS, "photos_used": WHOLE,
    "notes": TEXTS,
}  # fmt: skip
GENERATE_COLUMNS = {
    "name": TEXT, "prompt": TEXT, "seed": WHOLE, "status": TEXT, "error": TEXT, "seconds": NUMBER,
    "file": TEXT,
}  # fmt: skip
"""Column -> type."""

log = logging.getLogger(__name__)


def write_table(rows: Sequence[Record], columns: Mapping[str, str]) -> tuple[str, bytes]:
    """Return the suffix and the content of a table with these columns of the rows."""
    kept = [{name: row.get(name) for name in columns} for row in rows]
    try:
        return ".parquet", _parquet(kept, columns)
    except ImportError:
        log.warning(
            "pyarrow is not installed: the table is CSV. For Parquet: pip install "
            "'celeb-basis-studio[many]'."
        )
        return ".csv", _csv(kept, columns)


def _parquet(rows: Sequence[Record], columns: Mapping[str, str]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    kinds = {TEXTS: pyarrow.list_(pyarrow.string())}
    fields = [
        (name, kinds.get(kind) or pyarrow.type_for_alias(kind)) for name, kind in columns.items()
    ]
    table = pyarrow.Table.from_pylist(list(rows), schema=pyarrow.schema(fields))
    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    return buffer.getvalue()


def _csv(rows: Sequence[Record], columns: Mapping[str, str]) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(columns))
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return file.getvalue().encode()


def _cell(value: Any) -> Any:
    return "; ".join(map(str, value)) if isinstance(value, list) else value

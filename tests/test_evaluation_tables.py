from __future__ import annotations

from celeb_core.evaluation.tables import build_tables, format_markdown, format_text

SCORES = {"identity": 0.5, "identity_edits": 0.25, "prompt": None, "clip": None, "found": 0.9}
GROUP = {
    "people": 2, "who": "mixed", "regions": "on", "images": 40, "found": 1.0, "place": 0.975,
    "right": 0.95, "swapped": 0.05, "blended": 0.0, "twice": 0.0, "missing": 0.0,
    "identity": 0.812, "identity_edits": 0.7, "prompt": None, "clip": 0.25,
}  # fmt: skip
RESULT = {
    "judge": "antelopev2-1234",
    "notes": ["No prompt score."],
    "celebrities": {**SCORES, "seconds": 0.0},
    "trained": {**SCORES, "identity": 0.45, "seconds": 61.5},
    "groups": [GROUP],
}


def test_the_table_of_one_person():
    lines = format_text(RESULT).splitlines()
    assert lines[0].split() == ["identity", "over", "edits", "CLIP", "found", "seconds"]
    assert lines[1].split() == ["celebrities", "0.500", "0.250", "-", "0.90", "-"]
    assert lines[2].split() == [
        "trained",
        "0.450",
        "(0.90x)",
        "0.250",
        "(1.00x)",
        "-",
        "0.90",
        "61.50",
    ]
    assert len({len(line) for line in lines[:3]}) == 1  # aligned


def test_the_table_of_groups():
    (_, table) = build_tables(RESULT)
    verdicts = ("right", "swapped", "blended", "one twice", "missing")
    scores = ("identity", "over edits", "CLIP")
    assert table.headers == ("", "regions", "found", "right place", *verdicts, *scores)
    numbers = "1.00 0.97 0.95 0.05 0.00 0.00 0.00 0.812 0.700 0.250".split()
    assert table.rows == (("2 people, one a celebrity", "on", *numbers),)


def test_a_reader_has_a_column_where_there_is_one():
    celebrities = RESULT["celebrities"] | {"prompt": 0.9}
    table, _ = build_tables(RESULT | {"celebrities": celebrities})
    assert table.headers[3] == "prompt" and table.rows[0][3] == "0.900" and table.rows[1][3] == "-"


def test_pairs_of_the_models_own_set():
    pairs = {"pairs": {"found": 1.0, "rank1": 0.95}}
    text = format_text({"judge": "x", "notes": [], **pairs})
    assert text.splitlines()[1].split() == ["pairs", "1.00", "0.95"]


def test_no_celebrity_has_a_face():
    nothing = RESULT | {"celebrities": dict.fromkeys(SCORES, 0.0) | {"seconds": 0.0}}
    assert "x)" not in format_text(nothing)


def test_markdown_is_the_same_to_paste():
    text = format_markdown(RESULT)
    single, groups, notes = text.split("\n\n")
    assert single.splitlines()[1] == "| --- | --- | --- | --- | --- | --- |"
    assert (
        single.splitlines()[3] == "| trained | 0.450 (0.90x) | 0.250 (1.00x) | - | 0.90 | 61.50 |"
    )
    assert groups.count("\n") == 2
    assert notes == "No prompt score. Judge: `antelopev2-1234`.\n"

from __future__ import annotations

import re

from ui_help import make_page

import app
from ui.about import TEXT, rows, version
from ui.parts import facts


def test_it_says_what_runs_where_and_why(studio):
    told = rows(studio)
    assert "Tinyville" in told["Model"] and told["Device"].startswith("cpu")
    assert told["Why"] == "chosen with --model"
    assert re.match(r"\d+\.\d GB in use", told["Memory"])
    assert told["Celebrities"].startswith("40 names")
    assert version() == told["Version"]
    assert "{" not in facts({"<b>": "{{x}}"}) and "<b>" not in facts({"<b>": ""})


def test_the_command_that_it_names_is_one(studio, tmp_path):
    (command,) = re.findall(r"python app\.py (.*)", TEXT)
    options = app.parser().parse_args(command.split())
    assert options.model == "stable-diffusion-v1-5/stable-diffusion-v1-5"


def test_memory_is_looked_up_again(studio, tmp_path):
    page = make_page(studio, tmp_path)
    assert "GB in use" in page.about.refresh()

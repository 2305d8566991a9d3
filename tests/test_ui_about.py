from __future__ import annotations

import re

from ui_help import make_page

import app
from celeb_core import __version__
from ui.about import TEXT, rows
from ui.widgets import facts


def test_it_says_what_runs_where_and_why(studio):
    told = rows(studio)
    assert told["Version"] == __version__
    assert "Tinyville" in told["Model"] and told["Device"].startswith("cpu")
    assert told["Why"] == "chosen with --model"
    assert re.match(r"\d+\.\d GB in use", told["Memory"])
    assert told["Celebrities"].startswith("40 names")


def test_facts_are_text_and_never_markup_or_template():
    listed = facts({"<b>": "{{x}}"})
    assert "{" not in listed and "<b>" not in listed


def test_the_command_that_it_names_is_one():
    (command,) = re.findall(r"python app\.py (.*)", TEXT)
    options = app.parser().parse_args(command.split())
    assert options.model == "stable-diffusion-v1-5/stable-diffusion-v1-5"


def test_memory_is_looked_up_again(studio, tmp_path, monkeypatch):
    page = make_page(studio, tmp_path)
    first = page.about.refresh()[page.about.facts]
    assert "GB in use" in first

    class Grown:
        def memory_info(self):
            return type("info", (), {"rss": 123.4e9})

    monkeypatch.setattr("psutil.Process", Grown)
    assert "123.4 GB in use" in page.about.refresh()[page.about.facts]

"""The proxy: its configuration is read by nginx and fits what the studio does."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import app
from ui import hosting
from ui.limits import MEGABYTE
from ui.serving import LARGEST_FILE

CONFIGURATION = Path(__file__).parent.parent / "deploy" / "nginx.conf"


@pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed")
def test_nginx_reads_it(tmp_path: Path) -> None:
    command = ("nginx", "-t", "-p", str(tmp_path), "-c", str(CONFIGURATION))
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_it_fits_the_options_that_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    text = CONFIGURATION.read_text()
    (command,) = re.findall(r"python app\.py (.*)", text)
    options = app.parse(command.split())
    assert f"location {options.root_path}/ {{" in text
    assert f"proxy_pass http://127.0.0.1:{options.port}/;" in text
    assert hosting.isolated(options, {}) and options.host == "127.0.0.1"


def test_it_lets_through_what_the_studio_takes_and_does_not_wait() -> None:
    text = CONFIGURATION.read_text()
    assert f"client_max_body_size {LARGEST_FILE // MEGABYTE}m;" in text
    assert "proxy_buffering off;" in text

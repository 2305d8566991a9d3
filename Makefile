# make run: set up and start the studio. make test: set up and run every check. `make help` lists the rest.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

DIR ?= build/space
.PHONY: help run test lint unit e2e robustness browser wheel space container clean

help:
	@echo "make run [ARGS='--port 7861']   set up .venv and start the studio"
	@echo "make test                       lint, types, unit tests, browser tests"
	@echo "make lint | unit | e2e          one of them"
	@echo "make robustness                 thousands of damaged files, and a server killed 50 times"
	@echo "make wheel                      build dist/*.whl, bundled model included"
	@echo "make space [DIR=build/space]    put a Space of Hugging Face together (docs/hosting.md)"
	@echo "make container                  build the image, or run its steps, and check its health"
	@echo "make clean                      remove .venv and what was built"

run: $(VENV)/app
	$(BIN)/python app.py $(ARGS)

test: lint unit e2e

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict celeb_core ui app.py toonville bench deploy

unit: $(VENV)/dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --durations=15 tests --ignore=tests/e2e

e2e: $(VENV)/dev browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --durations=8 tests/e2e

robustness: $(VENV)/dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --full -s tests/test_robustness*.py
	$(BIN)/python -m bench.kills

wheel: $(VENV)/app
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

space: $(VENV)/app
	$(BIN)/python -m deploy.assemble_space $(DIR) $(ARGS)

container: $(VENV)/app
	$(BIN)/python -m deploy.check_container $(ARGS)

# onnxruntime and onnxruntime-gpu share a folder and must never both be installed.
$(VENV)/app: pyproject.toml requirements.txt constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install -qq -c constraints.txt -e .
	if command -v nvidia-smi >/dev/null 2>&1 && [ "$$(uname -sm)" = "Linux x86_64" ]; then \
		$(BIN)/python -m pip uninstall --quiet --yes onnxruntime; \
		$(BIN)/python -m pip install --quiet --force-reinstall --no-deps -c constraints.txt onnxruntime-gpu; \
	fi
	touch $@

$(VENV)/dev: $(VENV)/app requirements-dev.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -r requirements-dev.txt
	touch $@

# A browser for the tests: the system's, else Debian's package, else Playwright's own download.
browser: $(VENV)/dev
	@command -v chromium >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1 \
		|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -qq -y chromium >/dev/null; } \
		|| $(BIN)/playwright install chromium

clean:
	rm -rf $(VENV) build dist *.egg-info

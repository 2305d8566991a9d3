# make run: set up and start the app. make test: set up and run every check. `make help` lists the rest.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: help run test lint unit e2e browser clean

help:
	@echo "make run [ARGS='--port 7861']   set up .venv and start the app"
	@echo "make test                       lint, types, unit tests, browser tests"
	@echo "make lint | unit | e2e          one of them"
	@echo "make clean                      remove .venv"

run: $(VENV)/app
	$(BIN)/python app.py $(ARGS)

test: lint unit e2e

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict celeb_core

unit: $(VENV)/dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --durations=15 tests --ignore=tests/e2e

e2e: $(VENV)/dev browser
	$(BIN)/python -m pytest --durations=8 tests/e2e

# onnxruntime and onnxruntime-gpu share a folder and must never both be installed.
$(VENV)/app: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements.txt
	if command -v nvidia-smi >/dev/null 2>&1 && [ "$$(uname -sm)" = "Linux x86_64" ]; then \
		$(BIN)/python -m pip uninstall --quiet --yes onnxruntime; \
		$(BIN)/python -m pip install --quiet --force-reinstall --no-deps onnxruntime-gpu; \
	fi
	touch $@

$(VENV)/dev: $(VENV)/app requirements-dev.txt
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@

# A browser for the tests: the system's, else Debian's package, else Playwright's own download.
browser: $(VENV)/dev
	@command -v chromium >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1 \
		|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -qq -y chromium >/dev/null; } \
		|| $(BIN)/playwright install chromium

clean:
	rm -rf $(VENV)

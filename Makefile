# Two commands do everything on a fresh machine with Python 3.11 or later: `make demo` and `make test`.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo demo-mqtt demo-cluster test check fuzz soak man format clean

demo: $(VENV)/.demo
	@$(BIN)/monitor demo $(DEMO)

# The same over MQTT, through a broker of its own.
demo-mqtt: $(VENV)/.demo-mqtt
	@$(BIN)/monitor demo --mqtt $(DEMO)

# Three servers, three workers, a bridge and a fleet of senders; some are killed on the way, and a table says what came of it.
demo-cluster: $(VENV)/.demo-cluster
	@$(BIN)/monitor cluster demo $(DEMO)

test: check
	@$(BIN)/python -m pytest -n 2 --dist loadgroup $(TESTS)

check: $(VENV)/.dev
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports > $(VENV)/.imports 2>&1 || { cat $(VENV)/.imports; exit 1; }

# Half a minute for each target, guided by coverage; SECONDS=600 for a long one, TARGETS="wire config" for some.
fuzz: $(VENV)/.dev
	@$(BIN)/python -m pip install --quiet --group fuzz
	@$(BIN)/python -m tests.fuzz.run $(TARGETS) --seconds $(or $(SECONDS),30)

# Load and faults for MINUTES, and a table; exits non-zero when a promise was broken.
soak: $(VENV)/.dev
	@$(BIN)/python -m tests.soak.run --minutes $(or $(MINUTES),10)

# The man pages anew, from what the commands say of themselves.
man: $(VENV)/.dev
	@$(BIN)/python docs/man.py

format: $(VENV)/.dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; set PYTHON=/path/to/it")'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'

$(VENV)/.demo: $(BIN)/python pyproject.toml
	@echo "installing the daemon and the dashboard into $(VENV)" >&2
	@$(BIN)/python -m pip install --quiet --editable '.[demo]'
	@touch $@

$(VENV)/.demo-cluster: $(VENV)/.demo
	@$(BIN)/python -m pip install --quiet --editable '.[demo,broker,cluster]'
	@touch $@

$(VENV)/.demo-mqtt: $(VENV)/.demo
	@$(BIN)/python -m pip install --quiet --editable '.[demo,broker]'
	@touch $@

# The exact pin of torch lets pip take a CPU build where one is offered; where none is, set
# PIP_EXTRA_INDEX_URL to PyTorch's index of CPU builds first, or pip will fetch gigabytes of CUDA.
$(VENV)/.dev: $(BIN)/python pyproject.toml
	@echo "installing everything, training and tests included, into $(VENV)" >&2
	@$(BIN)/python -m pip install --quiet --editable '.[demo,train,web,lsl]' --group dev
	@touch $@ $(VENV)/.demo $(VENV)/.demo-mqtt $(VENV)/.demo-cluster

clean:
	@rm -rf $(VENV) build dist *.egg-info

# The two commands that matter are demo/run and tests/run; these are for who works on the code.
PYTHON = .venv/bin/python

.PHONY: fuzz check format types contracts fast test sim endurance balance foresight faults bench venv clean

check: venv
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy
	$(PYTHON) -m pytest -q -m "not real and not slow and not sim and not bench"

venv:
	@bash .ci/venv test

format: venv
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

types: venv
	$(PYTHON) -m mypy

contracts: venv
	$(PYTHON) -m pytest -q tests/test_house.py

fast: venv
	$(PYTHON) -m pytest -q -m "not real and not slow and not sim and not bench"

test:
	tests/run

# Ten thousand histories: some 25 minutes on two cores. A failure prints the command that replays it.
sim: venv
	nice $(PYTHON) -m tests.sim.batch --count 10000 --processes 2

# Splits with real hosts in network namespaces: some 80 minutes, as root. One seed of each is in the suite.
faults: venv
	nice $(PYTHON) -m tests.faults --seeds 20 --peers 2 3
	nice $(PYTHON) -m tests.faults --scenario flapping_link --long --seeds 2

# Strangers against live hosts for ten minutes; ten seconds of it are in the suite.
fuzz: venv
	nice -n 10 $(PYTHON) -m tests.fuzz --seconds 600

# A hundred simulated hosts for a day, two copies and three; some six minutes each.
endurance: venv
	nice $(PYTHON) -m tests.sim.endurance

# How even a hundred hosts are and what moves, beside other ways to place; that nothing moves in an hour of peace, nor in
# one of noise; what a thousand hosts cost, and how they come back when many die. An hour or so in all.
balance: venv
	nice $(PYTHON) -m tests.sim.balance
	nice $(PYTHON) -m tests.sim.steady
	nice $(PYTHON) -m tests.sim.scale

# A hundred random changes of simulated clusters, rehearsed from a status before they are made: some ten minutes.
foresight: venv
	nice $(PYTHON) -m tests.sim.foresight --changes 100 --seed 1

bench:
	@bash .ci/venv bench
	$(PYTHON) -m tests.bench

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

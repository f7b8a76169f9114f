# `make test` runs everything; `make test STAGE=unit` one stage of it (see tests/stages.py).
STAGE ?=
PY := .cache/venv/bin/python

.PHONY: test test-etcd lint generate bench soak demo packages venv rootfs lock clean

test: rootfs
	$(PY) -m tests.stages $(STAGE)

# Every lab test of a whole cluster once more, on etcd in place of the embedded store.
test-etcd: rootfs
	KAT_STORE=etcd $(PY) -m pytest -rs $$(grep -l 'with one_node(' tests/lab/test_*.py)

lint: venv
	$(PY) -m tests.stages lint

generate: venv
	$(PY) -m katgen.cli.generate

bench: venv
	$(PY) -m tests.bench

soak: venv
	$(PY) -m tests.bench.soak --minutes $(or $(MINUTES),10)

demo: rootfs
	$(PY) -m tests.demo

packages:
	.ci/setup packages

venv:
	.ci/setup packages venv

rootfs:
	.ci/setup packages venv other rootfs

lock:
	.ci/lock

clean:
	rm -rf --one-file-system .cache build dist *.egg-info .hypothesis .mypy_cache .ruff_cache .import_linter_cache

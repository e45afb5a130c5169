"""A service's main that is only the dummy."""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).parents[2] / "dummy.py"), run_name="__main__")

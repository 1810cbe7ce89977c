"""Put the workflow into wheels, as samfleet/_workflow; in a clone it is next to the package."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CARRIED = (
    "captions",
    "config",
    "envs",
    "profiles",
    "resources",
    "rules",
    "scripts",
    "workflow",
    "Snakefile",
)


class BuildWithWorkflow(build_py):
    """Also copies the files of the workflow, except for an editable installation, which uses the clone."""

    def run(self) -> None:
        """Build the package."""
        super().run()
        if self.editable_mode:
            return
        home = Path(self.build_lib, "samfleet", "_workflow")
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        for name in CARRIED:
            source = Path(name)
            if source.is_dir():
                shutil.copytree(source, home / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, home / name)


setup(cmdclass={"build_py": BuildWithWorkflow})

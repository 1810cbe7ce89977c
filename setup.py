"""Lets a wheel carry the workflow, which a clone has beside the package, in samfleet/_workflow."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CARRIED = ("config", "envs", "profiles", "resources", "rules", "scripts", "workflow", "Snakefile")


class BuildWithWorkflow(build_py):
    """Copies the workflow's files as well; an editable installation uses the clone's."""

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

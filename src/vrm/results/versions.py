"""Versions that a result depends on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import vrm


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    packages = {"python": platform.python_version(), "vrm": vrm.__version__}
    for package in ("torch", "transformers", "accelerate", "datasets", "peft", "numpy"):
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            packages[package] = "absent"
    return packages

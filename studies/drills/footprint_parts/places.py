"""Whose a path is: the interpreter's, an input, output, cache, temporary, or nobody's business."""

from __future__ import annotations

import sys
import sysconfig
from dataclasses import dataclass, replace
from pathlib import Path

import vrm

SYSTEM = ("/proc/", "/sys/", "/dev/", "/etc/", "/var/cache/fontconfig/")
LIBRARIES = tuple(
    sorted(
        {
            *(f"{Path(prefix).resolve()}/" for prefix in (sys.prefix, sys.base_prefix, sysconfig.get_path("purelib"))),
            f"{Path(vrm.__file__).resolve().parents[1]}/",
            *("/usr/", "/lib/", "/lib64/", "/bin/"),
        }
    )
)
"""Interpreter, packages and the system's own."""

OF_TORCH = "torchinductor_"
"""An empty folder that importing torch leaves in the temporary one, where compiled code would be kept."""


@dataclass(frozen=True)
class Place:
    """Folders of the drill.

    Attributes:
        root: of all of them.
        command: whose temporary folder is meant.
    """

    root: Path
    command: str = ""

    def of(self, command: str) -> Place:
        """The same folders, and a temporary one of this command."""
        place = replace(self, command=command)
        place.temporary.mkdir(parents=True, exist_ok=True)
        return place

    @property
    def inputs(self) -> Path:
        """What commands read."""
        return self.root / "inputs"

    @property
    def outputs(self) -> Path:
        """What they are told to write."""
        return self.root / "outputs"

    @property
    def home(self) -> Path:
        """The user's home, empty at the start; caches are in `.cache`."""
        return self.root / "home"

    @property
    def temporary(self) -> Path:
        """TMPDIR; nothing is in it when a command has ended."""
        return self.root / "temporary" / self.command

    @property
    def here(self) -> Path:
        """The working directory."""
        return self.root / "here"

    def make(self) -> None:
        """Make all of them."""
        for folder in (self.inputs, self.outputs, self.home, self.temporary, self.here):
            folder.mkdir(parents=True, exist_ok=True)

    def owner(self, path: str) -> str:
        """`input`, `output`, `cache`, `temporary`, `library`, `system`, or the path itself."""
        folders = {
            "input": self.inputs,
            "output": self.outputs,
            "cache": self.home / ".cache",
            "temporary": self.temporary,
        }
        for name, folder in folders.items():
            if path == str(folder) or path.startswith(f"{folder}/"):
                return name
        if path.startswith(SYSTEM) or path in ("/etc", "/dev", "/proc", "/sys"):
            return "system"
        if any(path.startswith(prefix) or f"{path}/" == prefix for prefix in LIBRARIES):
            return "library"
        return path

    def cache_of(self, path: str) -> str:
        """Whose cache a path below `.cache` is in: `vrm/features`, `huggingface/modules`; empty for folders above."""
        return "/".join(Path(path).relative_to(self.home / ".cache").parts[:2])

    def left_in_temporary(self) -> list[str]:
        """What a command has left behind."""
        return sorted(str(path.relative_to(self.temporary)) for path in self.temporary.rglob("*"))


def allowed_to_write(owner: str, path: str) -> bool:
    """Whether a command may write there; terminals and /dev/null are nobody's data."""
    return owner in ("output", "cache", "temporary") or path.startswith(("/dev/null", "/dev/tty", "/dev/shm/"))

"""Build the compiled core and put it beside the Python code that uses it: `python native/build.py`.

Without cargo nothing is built and that is no error: the Python core counts the same, only slower.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIBRARY = HERE.parent / "processors" / "tollgate" / "ledger" / "_native.abi3.so"


def is_current() -> bool:
    """Whether the library is there and newer than everything it is built from."""
    sources = [HERE / "Cargo.toml", *(HERE / "src").glob("*.rs")]
    return LIBRARY.exists() and LIBRARY.stat().st_mtime >= max(source.stat().st_mtime for source in sources)


def build() -> str | None:
    """Build the library if it is not current. None when it is there now, else why not, in one line."""
    if is_current():
        return None
    # A library of other sources must not count.
    LIBRARY.unlink(missing_ok=True)
    cargo = shutil.which("cargo")
    if cargo is None:
        return "cargo was not found"
    environment = dict(os.environ)
    if sys.platform == "darwin":
        # Python's own symbols are found when the library is loaded, which this platform's linker must be told.
        environment["RUSTFLAGS"] = "-C link-arg=-undefined -C link-arg=dynamic_lookup"
    command = [cargo, "build", "--release", "--quiet", "--manifest-path", str(HERE / "Cargo.toml")]
    command += ["--target-dir", str(HERE / "target")]
    built = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 # ours
    if built.returncode != 0:
        sys.stderr.write(built.stderr)
        return "cargo could not build it"
    suffix = "dylib" if sys.platform == "darwin" else "so"
    # Moved into place, so that nobody loads half a library.
    fresh = LIBRARY.with_suffix(".fresh")
    shutil.copyfile(HERE / "target" / "release" / f"lib_native.{suffix}", fresh)
    fresh.replace(LIBRARY)
    return None


if __name__ == "__main__":
    if (fault := build()) is not None:
        sys.exit(f"no compiled core: {fault}; the Python core counts instead")

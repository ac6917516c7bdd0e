"""The commands `pymalloc`, `pymalloc-run`, `pymalloc-watch`, `pymalloc-heapmap` and `python -m pymalloc`, as a wheel brings them.

Owns: where the library and the tools lie in the wheel. The tools themselves are beside it in `tools/`, as `make install` lays them in `share/pymalloc`.
What must hold: nothing of it is imported by `import pymalloc`.
"""

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
_CHECKOUT = os.path.dirname(os.path.dirname(_HERE))


def _home():  # type: ignore[no-untyped-def]
    """Where the library is; also puts the tools where they are found."""
    if os.path.isdir(os.path.join(_HERE, "tools")):
        tools, built, way = os.path.join(_HERE, "tools"), _HERE, "install pymalloc once more (pip install --force-reinstall pymalloc)"
    else:
        built = os.path.join(_CHECKOUT, os.environ.get("CARGO_TARGET_DIR", "target"), "release")
        tools, way = os.path.join(_CHECKOUT, "scripts"), "run make{}"
    # `python -m` puts the folder that it is started in there, with whatever modules lie in it.
    if not getattr(sys.flags, "safe_path", sys.flags.isolated):
        del sys.path[0]
    sys.path.insert(0, os.path.join(tools, "pymalloc-parts"))
    import basics

    return basics.Home(os.path.join(built, "libpymalloc.so"), os.path.join(built, "pymalloc-watch"), way, sys.executable)


def main() -> int:
    """What the command line says; gives the exit status."""
    home = _home()
    import commands

    return commands.main(home)


def again() -> int:
    """What `python -m pymalloc` does: becomes the program, or gives the exit status."""
    home = _home()
    import again

    return again.main(home, sys.argv[1:])

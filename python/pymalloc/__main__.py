"""`python -m pymalloc app.py`: the same Python once more, on the library."""

import sys

from pymalloc._command import again

if __name__ == "__main__":
    sys.exit(again())

"""2 000 seeded mutations of every kind of file that medprior opens: are they read, or refused by name?

    python bench/mutations.py [KIND ...] [--count 2000]

The makers and the judge are those of the test suite (tests/corpus/mutations.py), which does a tenth of them.
The printed table: how many were read, refused, and answered by a crash of the guarded process; foreign
exceptions; the slowest in seconds of the processor; and the memory taken.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script it finds the test suite, too

from tests.corpus.mutations import main

if __name__ == "__main__" and main():
    print("not within the bars: 0 foreign exceptions, 10 s, 512 MiB")

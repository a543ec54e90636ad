"""`python -m vrm.data.planted [SEED]` prints what the corpus of a seed holds."""

import sys

from vrm.data.planted.corpus import planted_corpus
from vrm.data.planted.summary import table

if __name__ == "__main__":
    print(table(planted_corpus(int(sys.argv[1]) if len(sys.argv) > 1 else 0)))

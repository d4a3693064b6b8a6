"""pandas: `read_csv` and `describe` of the file that is named; prints seconds and the peak of its memory."""

# mypy: ignore-errors
# pandas is installed only in the environment in which this runs

import json
import resource
import sys
import time

import pandas as pd


def main():
    began = time.monotonic()
    pd.read_csv(sys.argv[1]).describe(include="all")
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(json.dumps({"seconds": time.monotonic() - began, "peak": peak_mib}) + "\n")


main()

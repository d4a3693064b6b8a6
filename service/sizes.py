"""Sizes in bytes."""

KIB, MIB, GIB = 1024, 1024**2, 1024**3
MOST_RESULT_BYTES = 4 * MIB - 64 * KIB  # what a child process may send at once, but for what it says beside the result

"""The benchmark: Filemill beside its peers, on the same work, in the same run.

python -m tests.benchmarks [ROW …] [--quick] [--rounds N] [--json FILE] [--list]
"""

"""The peers, each driven by a small script in an environment of its own.

python -m tests.benchmarks.peers NAME queue|latency|work [--count N] …

A script is told by environment variables where its things are: BENCH_FOLDER, BENCH_REDIS, BENCH_POSTGRES,
BENCH_TALLY, BENCH_CONCURRENCY. It prints one JSON object. Nothing here may import the service: it is not installed
where these scripts run.
"""

import os

import pytest

from service.cores import usable_cores

CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("group", "files", "cores"),
    [
        ("0::/", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/", {"cpu.max": "max 100000\n"}, CORES),
        ("0::/", {"cpu.max": f"{(CORES + 1) * 100_000} 100000\n"}, CORES),
        ("0::/a.slice/b.service", {"a.slice/b.service/cpu.max": "max 100000\n", "a.slice/cpu.max": "10000 50000"}, 1),
        ("0::/../odd", {"cpu.max": "what?\n"}, CORES),
        ("4:memory:/\n3:cpu,cpuacct:/x", {"cpu/x/cpu.cfs_quota_us": "9000", "cpu/x/cpu.cfs_period_us": "9000"}, 1),
        ("3:cpu,cpuacct:/", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, CORES),
        ("3:cpu:/x", {"cpu/cpu.cfs_quota_us": "10000", "cpu/cpu.cfs_period_us": "20000"}, 1),
        ("", {}, CORES),
    ],
)
def test_cores_are_those_that_the_time_of_the_group_is_worth(group, files, cores, tmp_path):
    (tmp_path / "groups").write_text(group)
    for name, text in files.items():
        (tmp_path / "mount" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mount" / name).write_text(text)
    assert usable_cores(tmp_path / "groups", tmp_path / "mount") == cores


def test_where_there_are_no_groups_all_cores_may_be_used(tmp_path):
    assert usable_cores(tmp_path / "nowhere", tmp_path) == CORES

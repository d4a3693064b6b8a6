"""Tables as people really send them, and queries that ask for more than the tables."""

import json

import pytest

from service.catalogue.table.processors import convert_tables, profile_tables
from service.catalogue.table.query import MAX_SHOWN_BYTES, MAX_SHOWN_CHARS, query_tables
from service.sizes import MOST_RESULT_BYTES

LATE = "zip,phone,n\n" + "01234,+4930123,1\n" * 30_000


@pytest.mark.parametrize("last", ["01234,+4930123,1\n", "01234,+4930123,x\n"])
@pytest.mark.parametrize("to", ["csv", "jsonl"])
def test_codes_keep_their_leading_zeros_whatever_comes_late(attempts, last, to):
    done = attempts.run(convert_tables, attempts.file((LATE + last).encode(), "a.csv"), to=to)
    lines = done.output.read_text().splitlines()
    assert lines[-2:] == (
        ["01234,+4930123,1", last.strip()]
        if to == "csv"
        else [
            json.dumps(dict(zip(("zip", "phone", "n"), row, strict=True)), separators=(",", ":"))
            for row in (("01234", "+4930123", 1 if "x" not in last else "1"), _row(last))
        ]
    )


def _row(line):
    *texts, last = line.strip().split(",")
    return (*texts, int(last) if last.isdigit() else last)


def test_codes_that_come_late_keep_their_leading_zeros(attempts):
    rows = "code,n\n" + "12345,1\n" * 30_000 + "00501,2\n"
    done = attempts.run(convert_tables, attempts.file(rows.encode(), "a.csv"), to="jsonl")
    assert done.output.read_text().splitlines()[-1] == '{"code":"00501","n":2}'


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [("4,5", "line 3 has 2 values, and the first has 3"), ("4,5,6,7", "line 3 has 4 values, and the first has 3")],
)
@pytest.mark.parametrize("read", [{}, {"delimiter": ","}])
def test_a_row_of_another_length_is_named(attempts, bad, sentence, read):
    table = attempts.file(f"a,b,c\n1,2,3\n{bad}\n6,7,8\n9,10,11\n".encode(), "a.csv")
    for processor, params in ((profile_tables, {}), (convert_tables, {"to": "jsonl"})):
        fail = attempts.refusal(processor, table, read=read, **params)
        assert fail.code == "invalid_csv"
        assert sentence in str(fail)


def test_a_row_of_another_length_beyond_the_sample_is_named(attempts):
    table = attempts.file(b"a,b,c\n" + b"1,2,3\n" * 30_000 + b"4,5\n", "a.csv")
    fail = attempts.refusal(profile_tables, table)
    assert fail.code == "invalid_csv"
    assert "line 30002 has 2 values, and the first has 3" in str(fail)


def test_a_list_of_names_with_commas_is_one_column(attempts):
    table = attempts.file(b"name\nDoe\nRoe\nPoe\n", "a.csv")
    [found] = attempts.run(profile_tables, table).result["files"]
    assert [column["name"] for column in found["columns"]] == ["name"]


def test_a_table_of_a_header_alone_has_columns_and_no_rows(attempts):
    table = attempts.file(b"a,b,c\n", "a.csv")
    [found] = attempts.run(profile_tables, table).result["files"]
    assert (found["rows"], [column["name"] for column in found["columns"]]) == (0, ["a", "b", "c"])
    assert all((column["distinct"], column["top"]) == (0, []) for column in found["columns"])
    assert attempts.run(convert_tables, table, to="tsv").output.read_bytes() == b"a\tb\tc\n"


def test_between_text_formats_no_value_changes(attempts):
    rows = 'v,date,flag,id,empty,null\n1.10,01.02.2024,TRUE,12345678901234567890123,"",\n2.30,31.12.2024,no, 7,x,NULL\n'
    done = attempts.run(convert_tables, attempts.file(rows.encode(), "a.csv"), to="tsv")
    back = attempts.run(convert_tables, attempts.file(done.output.read_bytes(), "a.tsv"), to="csv")
    assert back.output.read_text() == rows


@pytest.mark.parametrize("last", ["7\n", "x\n"])
def test_an_empty_text_in_quotes_is_null_beside_numbers(attempts, last):
    rows = 'a,b\n"",1\n5,""\n' + "1,2\n" * 30_000 + "3," + last
    done = attempts.run(convert_tables, attempts.file(rows.encode(), "a.csv"), to="jsonl")
    first = done.output.read_text().splitlines()[:2]
    assert first == ['{"a":null,"b":1}' if "7" in last else '{"a":null,"b":"1"}', '{"a":5,"b":null}']


def test_lines_may_end_in_different_ways(attempts):
    early = attempts.file(b"a,b\r\n1,2\n3,4\r\n", "a.csv")
    late = attempts.file(b"a,b\r\n" + b"1,2\r\n" * 30_000 + b"3,4\n5,6\r\n", "b.csv")
    first, second = attempts.run(profile_tables, early, late).result["files"]
    assert (first["rows"], second["rows"]) == (2, 30_002)
    assert [column["max"] for column in second["columns"]] == [5, 6]


def test_a_cell_may_have_megabytes(attempts):
    table = attempts.file(b"a,b\n1," + b"x" * 3_000_000 + b"\n", "a.csv")
    [found] = attempts.run(profile_tables, table).result["files"]
    assert found["columns"][1]["max_length"] == 3_000_000
    assert len(found["columns"][1]["max"]) == 200


def test_a_header_in_brackets_is_no_json(attempts):
    table = attempts.file(b"[id],[name]\n1,a\n", "a.csv")
    [found] = attempts.run(profile_tables, table).result["files"]
    assert (found["format"], [column["name"] for column in found["columns"]]) == ("csv", ["[id]", "[name]"])


# ---- queries


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT current_setting('allowed_paths')",
        "SELECT * FROM duckdb_settings()",
        "SELECT sql FROM duckdb_views()",
        "FROM duckdb_databases",
        "SELECT sql FROM sqlite_master",
        "SELECT * FROM information_schema.views",
        "SELECT * FROM pg_catalog.pg_views",
        "SELECT pg_get_viewdef(1)",
        "SELECT * FROM pragma_database_list()",
        "FROM query('SELECT current_setting(''temp_directory'')')",
        "SELECT (SELECT max(value) FROM duckdb_settings()) FROM data",
        "WITH a AS (FROM duckdb_settings()) FROM a",
        "FROM data WHERE a IN (SELECT getenv('HOME'))",
    ],
)
def test_a_query_learns_nothing_of_the_server(attempts, sql):
    fail = attempts.refusal(query_tables, attempts.file(b"a,b\n1,2\n", "d.csv"), sql=sql)
    assert fail.code == "access_denied"
    assert str(attempts.folder) not in str(fail)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 AS x; -- that is all",
        "SELECT 1 AS x /* one */ ; /* end */",
        "SELECT 1 AS x -- no end",
        "SELECT length(';--') - 2 AS x;",
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 3) SELECT min(n) AS x FROM t",
        "SELECT count(*) AS x FROM (SUMMARIZE SELECT 1 AS a)",
        "SELECT list_sum(list_transform([0, 1], lambda y: y)) AS x FROM range(1)",
    ],
)
def test_plain_queries_and_their_comments_work(attempts, sql):
    done = attempts.run(query_tables, attempts.file(b"a,b\n1,2\n", "d.csv"), sql=sql)
    assert (done.result["columns"], done.result["first_rows"]) == (["x"], [[1]])


@pytest.mark.parametrize(("max_rows", "is_cut"), [(1, True), (2, False), (3, False)])
def test_an_answer_is_cut_only_if_rows_are_missing(attempts, max_rows, is_cut):
    table = attempts.file(b"a,b\n1,2\n3,4\n", "d.csv")
    done = attempts.run(query_tables, table, sql="FROM data", max_rows=max_rows)
    assert (done.result["rows"], done.result["is_cut"]) == (min(max_rows, 2), is_cut)
    assert len(done.output.read_text().splitlines()) == 1 + min(max_rows, 2)
    assert len(done.result["first_rows"]) == min(max_rows, 2)


def test_long_values_are_whole_in_the_output_and_cut_in_the_result(attempts):
    table = attempts.file(b"a,b\n1,2\n", "d.csv")
    done = attempts.run(query_tables, table, sql="SELECT repeat('x', 60000) AS c, range(1000) AS r FROM range(100)")
    assert len(json.dumps(done.result)) < MAX_SHOWN_BYTES + 10_000 < MOST_RESULT_BYTES
    assert [len(value) for value in done.result["first_rows"][0]] == [MAX_SHOWN_CHARS, MAX_SHOWN_CHARS]
    assert done.output.stat().st_size > 100 * 60_000
    wide = attempts.run(
        query_tables, table, sql="SELECT COLUMNS(*) FROM (SELECT unnest(range(500)) AS a, repeat('y', 400) AS b)"
    )
    assert len(wide.result["first_rows"]) == 100

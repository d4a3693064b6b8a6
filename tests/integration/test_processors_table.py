"""table.profile, table.convert and table.query on real, broken and hostile files."""

import io
import random
import resource
import subprocess
import sys
import zipfile

import duckdb
import openpyxl
import pytest
import xlsxwriter  # type: ignore[import-untyped]

from service.catalogue.table import excel as table_excel
from service.catalogue.table import reading as table_reading
from service.catalogue.table import writing as table_writing
from service.catalogue.table.processors import convert_tables, profile_tables
from service.catalogue.table.query import query_tables
from service.errors import InvalidParamsError
from tests.integration.catalogue import SAMPLES

IRIS = SAMPLES / "iris.csv"
FORMATS = ("csv", "tsv", "jsonl", "parquet", "xlsx")


@pytest.fixture
def profiled(attempts):
    def profile(content, name="table.csv", **params):
        [file] = attempts.run(profile_tables, attempts.file(content, name), **params).result["files"]
        return file

    return profile


@pytest.fixture
def query(attempts):
    def ask(sql, content=b"id,name\n1,ann\n2,bob\n", name="people.csv", **params):
        return attempts.run(query_tables, attempts.file(content, name), sql=sql, **params)

    return ask


def column(file, name):
    return next(one for one in file["columns"] if one["name"] == name)


def workbook(rows, **sheets):
    target = io.BytesIO()
    with xlsxwriter.Workbook(target, {"in_memory": True, "default_date_format": "yyyy-mm-dd"}) as book:
        for name, content in ({"Sheet1": rows} | sheets).items():
            sheet = book.add_worksheet(name)
            for number, row in enumerate(content):
                sheet.write_row(number, 0, row)
    return target.getvalue()


def with_part(content, name, change):
    """Return the workbook with one of its parts changed."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(target, "w") as new:
        for part in old.namelist():
            new.writestr(part, change(old.read(part)) if part == name else old.read(part))
    return target.getvalue()


# ---- what a file is called


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".xls", ".xlsb", ".ods", ".parquet", "[1].csv", "*.csv", "%d.csv"])
def test_the_name_of_a_file_has_no_say_in_how_it_is_read(attempts, suffix):
    for content in (b"a,b\n1,2\n", b'{"a":1,"b":2}\n', workbook([["a", "b"], [1, 2]])):
        done = attempts.run(profile_tables, attempts.file(content, f"table{suffix}"))
        [file] = done.result["files"]
        assert [one["name"] for one in file["columns"]] == ["a", "b"]


# ---- profile


def test_a_real_table_is_described_column_by_column(attempts):
    [file] = attempts.run(profile_tables, attempts.sample(IRIS)).result["files"]
    assert (file["rows"], file["format"], file["encoding"], file["distinct_is_exact"]) == (150, "csv", "ascii", True)
    sepal = column(file, "150")
    assert (sepal["type"], sepal["nulls"], sepal["distinct"]) == ("DOUBLE", 0, 35)
    assert (sepal["min"], sepal["max"], sepal["mean"]) == (4.3, 7.9, pytest.approx(5.8433, abs=1e-4))
    assert sepal["quantiles"]["0.5"] == pytest.approx(5.8, abs=0.1)
    assert sepal["top"][0] == {"value": "5.0", "count": 10}
    assert column(file, "virginica")["distinct"] == 3


def test_types_nulls_and_frequent_values_are_found(profiled):
    lines = ["when,who,flag,amount"]
    lines += [f"2024-01-{day:02},{'ann' if day % 3 else 'bob'},{'true' if day % 2 else 'false'},{day}.5" for day in
              range(1, 29)]  # fmt: skip
    file = profiled("\n".join([*lines, ",,,"]).encode())
    assert {one["name"]: (one["type"], one["nulls"]) for one in file["columns"]} == {
        "when": ("DATE", 1), "who": ("VARCHAR", 1), "flag": ("BOOLEAN", 1), "amount": ("DOUBLE", 1),
    }  # fmt: skip
    assert column(file, "when")["max"] == "2024-01-28"
    assert column(file, "who")["top"] == [{"value": "ann", "count": 19}, {"value": "bob", "count": 9}]
    assert (column(file, "who")["min_length"], column(file, "who")["max_length"]) == (3, 3)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_dialect_is_detected(profiled, delimiter):
    rows = [["id", "text"], ["1", f'"a{delimiter}b"'], ["2", '"say ""hi"""']]
    file = profiled("\r\n".join(delimiter.join(row) for row in rows).encode())
    assert file["dialect"] == {"delimiter": delimiter, "quote": '"', "skipped_rows": 0, "has_header": True}
    assert [one["value"] for one in column(file, "text")["top"]] == [f"a{delimiter}b", 'say "hi"']


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "windows-1252"])
def test_the_encoding_is_detected(profiled, encoding):
    text = "name,city\n" + "Jürgen Müßig,Köln\nZoë Brontë,Orléans\nFrançois Lefèvre,Besançon\n" * 20
    file = profiled(text.encode(encoding))
    assert [one["name"] for one in file["columns"]] == ["name", "city"]
    assert {one["value"] for one in column(file, "city")["top"]} == {"Köln", "Orléans", "Besançon"}


def test_an_encoding_can_be_named(profiled):
    content = "name\nŁódź\n".encode("cp1250")
    assert column(profiled(content, read={"encoding": "cp1250"}), "name")["max"] == "Łódź"


def test_values_that_do_not_fit_the_sample_widen_the_type(profiled):
    lines = ["n,m"] + ["1,2"] * 30_000 + ["1.5,x"]
    file = profiled("\n".join(lines).encode())
    assert (column(file, "n")["type"], column(file, "m")["type"]) == ("DOUBLE", "VARCHAR")
    assert (file["rows"], column(file, "n")["max"]) == (30_001, 1.5)


def test_quotes_that_come_after_the_sample_are_quotes(profiled):
    lines = ["a,b"] + ["1,x"] * 30_000 + ['2,"y,z"']
    assert column(profiled("\n".join(lines).encode()), "b")["max"] == "y,z"


def test_beyond_a_size_distinct_values_are_estimated(profiled, monkeypatch):
    monkeypatch.setattr("service.catalogue.table.processors.EXACT_BYTES", 10)
    file = profiled(b"n\n" + b"".join(b"%d\n" % number for number in range(20_000)))
    assert not file["distinct_is_exact"]
    assert column(file, "n")["distinct"] == pytest.approx(20_000, rel=0.1)


def test_infinities_and_nan_are_no_obstacle(profiled):
    file = profiled(b"x\n1.5\ninf\n-inf\nnan\n2.5\n")
    assert column(file, "x")["mean"] == 2.0
    assert column(file, "x")["min"] == "-inf"


def test_nested_json_lines_are_described(profiled):
    file = profiled(b'{"a": 1, "b": {"c": [1, 2]}, "d": null}\n{"a": 2, "e": "x"}\n', "x.jsonl")
    assert [one["name"] for one in file["columns"]] == ["a", "b", "d", "e"]
    assert column(file, "b")["nulls"] == 1
    assert column(file, "a")["max"] == 2


def test_a_megabyte_of_one_value_is_cut_short_in_the_result(profiled):
    file = profiled(b"x\n" + b"y" * 1_000_000 + b"\n")
    assert column(file, "x")["max_length"] == 1_000_000
    assert len(column(file, "x")["top"][0]["value"]) == 200


def test_memory_stays_flat_while_the_file_grows(tmp_path):
    path = tmp_path / "large.csv"
    rng = random.Random(1)
    block = "".join(f"{rng.random()},{rng.randrange(10**9)},{rng.randbytes(12).hex()}\n" for _ in range(20_000))
    with path.open("w") as file:
        file.write("a,b,c\n")
        for _ in range(100 * 1024**2 // len(block)):
            file.write(block)
    code = (
        "import sys; from pathlib import Path; from tests.integration.catalogue import Attempts\n"
        "from service.catalogue.table.processors import profile_tables\n"
        "attempts = Attempts(Path(sys.argv[2]))\n"
        "rows = attempts.run(profile_tables, attempts.sample(Path(sys.argv[1]))).result['files'][0]['rows']\n"
        # not ru_maxrss: a process begins with the peak of the one that started it
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(rows, int(peak.split()[1]) * 1024)"
    )
    answer = subprocess.run([sys.executable, "-c", code, path, tmp_path], capture_output=True, check=True, text=True)
    rows, peak_bytes = map(int, answer.stdout.split())
    assert rows == 20_000 * (100 * 1024**2 // len(block))
    assert peak_bytes < 340 * 1024**2  # 240 MiB on the whole; with the file in memory it would be more


# ---- convert


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_a_table_survives_from_every_format_to_every_other(attempts, source, to):
    content = "id,größe,day\n1,1.5,2024-02-29\n2,,2024-03-01\n3,-2.25,\n".encode()
    first = attempts.run(convert_tables, attempts.file(content, "maße.csv"), to=source)
    second = attempts.run(convert_tables, attempts.sample(first.output, first.outputs[0].name), to=to)
    assert second.outputs[0].name == f"maße.{to}"
    assert second.result["files"][0]["rows"] == 3
    back = attempts.run(convert_tables, attempts.sample(second.output, f"maße.{to}"), to="csv")
    assert back.output.read_text() == content.decode()


def test_texts_in_excel_that_look_like_numbers_stay_texts(attempts):
    done = attempts.run(convert_tables, attempts.file(workbook([["zip", "n"], ["01234", 5], ["00099", 6.0]])), to="csv")
    assert done.output.read_text() == "zip,n\n01234,5\n00099,6\n"


def test_text_is_never_written_to_excel_as_a_formula_or_a_link(attempts):
    content = b'a,b\n"=HYPERLINK(""http://x"")",http://example.org\n'
    done = attempts.run(convert_tables, attempts.file(content), to="xlsx")
    sheet = openpyxl.load_workbook(done.output).active
    assert sheet is not None
    assert [(cell.value, cell.hyperlink) for cell in sheet[2]] == [
        ('=HYPERLINK("http://x")', None),
        ("http://example.org", None),
    ]
    with zipfile.ZipFile(done.output) as package:
        assert b"<f>" not in package.read("xl/worksheets/sheet1.xml")


def test_a_sheet_is_chosen_by_its_name(attempts):
    book = workbook([["a"], [1]], Second=[["b"], [2]])
    done = attempts.run(convert_tables, attempts.file(book), to="csv", read={"sheet": "Second"})
    assert done.output.read_text() == "b\n2\n"
    fail = attempts.refusal(convert_tables, attempts.file(book), to="csv", read={"sheet": "Third"})
    assert (fail.code, "'Sheet1', 'Second'" in str(fail)) == ("unknown_sheet", True)


def test_columns_of_the_same_name_are_told_apart(attempts):
    done = attempts.run(convert_tables, attempts.file(workbook([["a", "A", "", "a"], [1, 2, 3, 4]])), to="csv")
    assert done.output.read_text() == "a,A_1,column2,a_2\n1,2,3,4\n"


def test_files_of_the_same_name_become_outputs_of_different_names(attempts):
    files = [attempts.file(b"a\n1\n", "x.csv"), attempts.file(b"a\n2\n", "x.csv")]
    done = attempts.run(convert_tables, *files, to="jsonl")
    assert done.bytes_by_name() == {"x.jsonl": b'{"a":1}\n', "x-2.jsonl": b'{"a":2}\n'}


def test_more_rows_than_a_sheet_holds_are_refused(attempts, monkeypatch):
    monkeypatch.setattr(table_excel, "MAX_ROWS", 10)
    fail = attempts.refusal(convert_tables, attempts.file(b"a\n" + b"1\n" * 20), to="xlsx")
    assert fail.code == "too_many_rows"


def test_an_output_beyond_the_limit_is_refused_and_the_limit_is_lifted_again(attempts, monkeypatch):
    monkeypatch.setattr(table_writing, "MAX_OUTPUT_BYTES", 100_000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    fail = attempts.refusal(convert_tables, attempts.file(b"a,b\n" + b"12345,67890\n" * 100_000), to="csv")
    assert fail.code == "too_large"
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == before


# ---- query


def test_a_query_writes_its_answer_and_shows_the_first_rows(query):
    done = query("SELECT name, id * 2 AS twice FROM people ORDER BY id DESC -- the end")
    assert done.output.read_text() == "name,twice\nbob,4\nann,2\n"
    assert done.result["columns"] == ["name", "twice"]
    assert done.result["first_rows"] == [["bob", 4], ["ann", 2]]
    assert (done.result["rows"], done.result["is_cut"]) == (2, False)


def test_several_files_are_joined_by_their_names(attempts):
    files = [attempts.file(b"id,name\n1,ann\n", "People 2024.csv"), attempts.file(b'{"id":1,"n":5}\n', "7.jsonl")]
    done = attempts.run(query_tables, *files, sql="SELECT name, n FROM people_2024 JOIN t_7 USING (id)", to="jsonl")
    assert done.output.read_bytes() == b'{"name":"ann","n":5}\n'


def test_the_first_table_is_called_data_too(query):
    assert query("SELECT count(*) AS n FROM data;").output.read_text() == "n\n2\n"


def test_an_endless_answer_is_cut(query):
    done = query("SELECT * FROM range(1_000_000_000_000)", max_rows=1000)
    assert (done.result["rows"], done.result["is_cut"]) == (1000, True)


def test_values_that_do_not_fit_the_sample_widen_the_type_for_a_query_too(query):
    content = ("n\n" + "1\n" * 30_000 + "x\n").encode()
    assert query("SELECT count(*) AS c FROM data WHERE n = 'x'", content).output.read_text() == "c\n1\n"


FORBIDDEN = [
    "COPY people TO '{folder}/stolen.csv'", "COPY (SELECT 1) TO '{folder}/stolen.csv'", "ATTACH '{folder}/stolen.db'",
    "INSTALL httpfs", "LOAD httpfs", "SET enable_external_access = true", "RESET lock_configuration",
    "PRAGMA database_list", "CALL pragma_version()", "EXPORT DATABASE '{folder}/stolen'", "CREATE TABLE t (a INT)",
    "DROP VIEW people", "INSERT INTO people VALUES (1, 'x')", "SELECT 1; SELECT 2", "EXPLAIN SELECT 1", "",
    "CREATE SECRET s (TYPE s3)", "PREPARE p AS SELECT 1",
]  # fmt: skip


@pytest.mark.parametrize("sql", FORBIDDEN)
def test_what_is_not_one_select_is_refused(attempts, sql):
    file = attempts.file(b"id,name\n1,ann\n", "people.csv")
    fail = attempts.refusal(query_tables, file, sql=sql.format(folder=attempts.folder) or "--")
    assert fail.code in {"query_forbidden", "query_failed"}
    assert not list(attempts.folder.parent.glob("**/stolen*"))


DENIED = [
    "SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM '/etc/passwd.csv'",
    "SELECT * FROM read_blob('/proc/self/environ')", "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT (SELECT content FROM read_text('/etc/passwd'))", "SELECT * FROM read_parquet('s3://bucket/x.parquet')",
    "WITH a AS (FROM read_text('/etc/passwd')) SELECT * FROM a", "SELECT * FROM 'http://127.0.0.1:9/x.csv'",
    "SELECT * FROM query('FROM read_text(''/etc/passwd'')')", "SELECT * FROM read_duckdb('/tmp/x.db')",
    "FROM json_execute_serialized_sql(json_serialize_sql('FROM read_text(''/etc/passwd'')'))",
]  # fmt: skip


@pytest.mark.parametrize("sql", DENIED)
def test_a_query_cannot_reach_other_files_nor_the_network(attempts, sql):
    fail = attempts.refusal(query_tables, attempts.file(b"a\n1\n"), sql=sql)
    assert fail.code == "access_denied", str(fail)
    assert "root:" not in str(fail)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM enable_logging(storage := 'file', storage_config := {'path': '/tmp/stolen'})",
        "SELECT * FROM enable_profiling()", "SELECT getenv('HOME')", "SELECT * FROM attempts",
        "SELECT * FROM arrow_scan(1::POINTER, 2::POINTER, 3::POINTER)",
        "SELECT * FROM query('COPY data TO ''/tmp/x''')",
        "SELECT 1) TO '/tmp/stolen.csv' --", "SELECT no FROM data", "SELEC", "SELECT 1 LIMIT",
    ],
)  # fmt: skip
def test_a_query_cannot_change_how_the_database_works(attempts, sql):
    fail = attempts.refusal(query_tables, attempts.file(b"a\n1\n"), sql=sql)
    assert fail.code in {"access_denied", "query_failed"}
    assert str(attempts.folder.parent) not in str(fail)


def test_a_query_leaves_nothing_behind_but_its_output(query, attempts):
    query("SELECT * FROM people ORDER BY name")
    assert [path.name for path in attempts.folder.iterdir()] == ["output-0000.csv"]


# ---- broken and hostile files


def parquet(tmp_path):
    rows = duckdb.sql("SELECT range AS n, md5(range::VARCHAR) AS t FROM range(10_000)")
    assert rows is not None
    rows.write_parquet(str(tmp_path / "x"))
    return (tmp_path / "x").read_bytes()


def test_an_empty_file_is_refused(attempts):
    for one, params in ((profile_tables, {}), (convert_tables, {"to": "csv"}), (query_tables, {"sql": "FROM data"})):
        assert attempts.refusal(one, attempts.file(b"", "x.csv"), **params).code == "empty_file"


def test_a_truncated_file_is_refused(attempts, tmp_path):
    cases = {
        "invalid_parquet": parquet(tmp_path)[:5000],
        "invalid_xlsx": workbook([["a"], [1]])[:3000],
        "invalid_jsonl": b'{"a": 1}\n{"a": ',
        "invalid_csv": b'a,b\n1,"never ends\n',
    }
    for code, content in cases.items():
        fail = attempts.refusal(profile_tables, attempts.file(content))
        assert fail.code == code, str(fail)
        assert str(tmp_path) not in str(fail)


def test_a_file_of_another_type_under_the_name_of_a_table_is_refused(attempts):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as target:
        target.writestr("a.csv", "a\n1\n")
    old_excel = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000)
    for content in (archive.getvalue(), old_excel, b"\x01\x02\x03" * 900):
        assert attempts.refusal(profile_tables, attempts.file(content, "table.csv")).code == "not_a_table"


def test_too_many_columns_are_refused(attempts, monkeypatch):
    monkeypatch.setattr(table_reading, "MAX_COLUMNS", 10)
    content = ",".join(f"c{number}" for number in range(11)) + "\n" + ",".join("1" * 11) + "\n"
    assert attempts.refusal(profile_tables, attempts.file(content.encode())).code == "too_many_columns"


def test_a_workbook_with_entities_is_refused(attempts):
    doctype = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'

    def change(xml):
        return doctype + xml.partition(b"?>")[2].replace(b"<t>a</t>", b"<t>&e;</t>")

    for part in ("xl/sharedStrings.xml", "xl/worksheets/sheet1.xml", "xl/workbook.xml", "[Content_Types].xml"):
        fail = attempts.refusal(profile_tables, attempts.file(with_part(workbook([["a"], [1]]), part, change)))
        assert fail.code == "forbidden_xml"


@pytest.mark.parametrize("place", [b'r="XFD1048576"', b"r='&#88;FD1048576'"])
def test_a_cell_in_the_last_corner_of_a_sheet_is_refused_before_it_fills_the_memory(attempts, place):
    book = with_part(workbook([["a"], [1]]), "xl/worksheets/sheet1.xml", lambda xml: xml.replace(b'r="A2"', place))
    assert attempts.refusal(profile_tables, attempts.file(book)).code == "too_many_cells"


def test_a_workbook_that_unpacks_beyond_the_limit_is_refused(attempts, monkeypatch):
    monkeypatch.setattr(table_excel, "MAX_XML_BYTES", 1_000_000)
    book = with_part(workbook([["a"], [1]]), "xl/styles.xml", lambda xml: xml + b" " * 2_000_000)
    repacked = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(book)) as old, zipfile.ZipFile(repacked, "w", zipfile.ZIP_DEFLATED) as new:
        for part in old.namelist():
            new.writestr(part, old.read(part))
    assert len(repacked.getvalue()) < 20_000
    assert attempts.refusal(profile_tables, attempts.file(repacked.getvalue())).code == "too_large"


@pytest.mark.parametrize("params", [{"quantiles": [2]}, {"top": 0}, {"read": {"format": "xls"}}, {"read": {"x": 1}}])
def test_params_that_make_no_sense_are_refused(params):
    with pytest.raises(InvalidParamsError):
        profile_tables.check_params(params)

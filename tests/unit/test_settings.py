import pytest

from service.environment import put_flags, read_variables
from service.errors import SettingsError
from service.settings import Settings, environment_name, load_settings


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(environment_name(name), raising=False)


def test_every_setting_has_a_default_that_is_valid():
    settings = load_settings({})
    assert settings == Settings.model_validate(settings.model_dump())


def test_a_variable_sets_a_setting(monkeypatch):
    monkeypatch.setenv("FILEMILL_PORT", "9000")
    assert load_settings().port == 9000


def test_a_flag_wins_over_a_variable(monkeypatch):
    monkeypatch.setenv("FILEMILL_PORT", "9000")
    assert load_settings(port="9001").port == 9001


def test_a_flag_that_is_not_given_leaves_the_variable(monkeypatch):
    monkeypatch.setenv("FILEMILL_PORT", "9000")
    assert load_settings(port=None).port == 9000


def test_a_folder_in_one_that_was_deleted_is_refused(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(SettingsError, match="FILEMILL_DATA_DIR: the working folder is gone"):
        load_settings({}).data_folder  # noqa: B018 - it is looked for
    assert load_settings({"FILEMILL_DATA_DIR": str(tmp_path)}).data_folder == tmp_path


def test_a_misspelt_variable_is_refused_with_the_name_that_was_meant():
    with pytest.raises(SettingsError, match=r"FILEMILL_PROT is not a setting; did you mean FILEMILL_PORT\?"):
        load_settings({"FILEMILL_PROT": "9000"})


def test_a_variable_like_no_other_is_refused_with_the_way_to_the_list():
    with pytest.raises(SettingsError, match="`filemill settings` lists them all"):
        load_settings({"FILEMILL_ZZZZZZZZZZZZ": "1"})


def test_variables_of_others_are_nobodys_business():
    assert load_settings({"PATH": "/bin", "OTHER_FILEMILL_PORT": "1"}) == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "abc"), ("port", "65536"), ("port", "-1"), ("consumers", "0"), ("log_level", "loud"),
        ("job_timeout_s", "0"), ("job_timeout_s", "nan"), ("max_upload_bytes", "1.5"),
    ],
)  # fmt: skip
def test_a_value_that_makes_no_sense_is_refused_by_its_name(name, value):
    with pytest.raises(SettingsError, match=f"^{environment_name(name)}: ") as caught:
        load_settings({}, **{name: value})
    assert "\n" not in caught.value.detail


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("1048576", 1048576), ("1GB", 10**9), ("10 GiB", 10 * 1024**3), ("1.5 gib", 3 * 2**29), (" 512kb ", 512_000),
        ("2048 bytes", 2048), ("0.000001TB", 10**6), (4096, 4096),
    ],
)  # fmt: skip
def test_a_size_may_have_a_unit(monkeypatch, text, size_bytes):
    assert load_settings({}, max_upload_bytes=text).max_upload_bytes == size_bytes
    monkeypatch.setenv("FILEMILL_MAX_UPLOAD_BYTES", str(text))
    assert load_settings().max_upload_bytes == size_bytes


@pytest.mark.parametrize("text", ["GB", "2 parsecs", "1.5", "0.3 KiB", "-1 GB", "1e9", "1 GB GB", "٣ KB", "1" * 5000])
def test_a_size_that_is_no_whole_number_of_bytes_is_refused_with_an_example(text):
    with pytest.raises(SettingsError) as caught:
        load_settings({}, max_upload_bytes=text)
    assert caught.value.detail == (
        "FILEMILL_MAX_UPLOAD_BYTES: input should be whole bytes, such as 1048576, 512 KiB or 10 GB "
        f"(it is {text[:100]!r})"
    )


def test_a_size_with_a_unit_must_be_within_the_limits_too():
    with pytest.raises(SettingsError, match=r"FILEMILL_JOB_MEMORY_LIMIT_BYTES: .*greater than or equal to"):
        load_settings({}, job_memory_limit_bytes="1 MiB")


@pytest.mark.parametrize("name", [name for name in Settings.model_fields if name.endswith("_bytes")])
def test_every_size_is_read_the_same_way(name):
    text, size_bytes = ("64 KiB", 64 * 1024) if "header" in name or "result" in name else ("64 MiB", 64 * 1024**2)
    assert getattr(load_settings({}, **{name: text}), name) == size_bytes


def test_all_values_that_make_no_sense_are_told_at_once():
    with pytest.raises(SettingsError, match=r"FILEMILL_PORT: .*; FILEMILL_CONSUMERS: "):
        load_settings({}, port="x", consumers="y")


def test_a_refused_value_is_told_in_short():
    with pytest.raises(SettingsError, match=r"^FILEMILL_PORT: .*valid integer.* \(it is 'x{100}'\)$"):
        load_settings({}, port="x" * 101)


def test_a_refused_secret_is_not_told():
    with pytest.raises(SettingsError) as caught:
        load_settings({"FILEMILL_SMTP_PASSWORD": "hunter2\n"})
    assert caught.value.detail == "FILEMILL_SMTP_PASSWORD: the value begins or ends with a line end; write it without"


# ---- what containers are given


SERVICES = {
    "FILEMILL_PORT": "tcp://10.0.0.1:80",
    "FILEMILL_SERVICE_HOST": "10.0.0.1",
    "FILEMILL_SERVICE_PORT": "80",
    "FILEMILL_SERVICE_PORT_HTTP": "80",
    "FILEMILL_PORT_80_TCP": "tcp://10.0.0.1:80",
    "FILEMILL_PORT_80_TCP_PROTO": "tcp",
    "FILEMILL_PORT_80_TCP_PORT": "80",
    "FILEMILL_PORT_80_TCP_ADDR": "10.0.0.1",
    "FILEMILL_WEB_PORT": "udp://[fd00::1]:53",
    "FILEMILL_WEB_SERVICE_HOST": "fd00::1",
    "FILEMILL_SMTP_PORT": "tcp://mail.test:25",  # of a Service called filemill-smtp
}


@pytest.mark.parametrize("name", SERVICES)
def test_a_variable_of_a_service_is_no_setting_and_is_named(name, monkeypatch):
    monkeypatch.setenv(name, SERVICES[name])
    assert load_settings() == Settings() == load_settings({})
    assert load_settings(SERVICES) == load_settings({})
    assert read_variables(SERVICES).links == tuple(sorted(SERVICES))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("FILEMILL_SERVICE_HOSTS", "10.0.0.1"), ("FILEMILL_SERVICE_HOST", "somewhere else"),
        ("FILEMILL_PORT", "http://10.0.0.1:80"), ("FILEMILL_PORT", "tcp://10.0.0.1"), ("FILEMILL_WEB_PORT", "80"),
        ("FILEMILL_PORT_80_TCP_PROTO", "80"),
    ],
)  # fmt: skip
def test_what_only_looks_like_a_variable_of_a_service_is_refused(name, text, monkeypatch):
    monkeypatch.setenv(name, text)
    with pytest.raises(SettingsError, match=f"^{name}(: .*{text}| is not a setting)"):
        load_settings()


@pytest.mark.parametrize("text", ["", " ", "\n"])
@pytest.mark.parametrize("name", Settings.model_fields)
def test_an_empty_variable_is_not_set(name, text, monkeypatch):
    monkeypatch.setenv(environment_name(name), text)
    assert load_settings() == Settings() == Settings.model_validate({})
    assert getattr(load_settings(), name) == Settings.model_fields[name].get_default(call_default_factory=True)


def test_a_misspelt_variable_is_refused_though_it_is_empty():
    with pytest.raises(SettingsError, match="did you mean FILEMILL_PORT"):
        load_settings({"FILEMILL_PROT": ""})


@pytest.mark.parametrize("quote", ["'", '"'])
@pytest.mark.parametrize(("name", "text"), [("port", "8000"), ("data_dir", "data"), ("log_level", "info"), ("url", "")])
def test_quotes_around_a_value_are_named(name, text, quote):
    with pytest.raises(SettingsError) as caught:
        load_settings({environment_name(name): f"{quote}{text}{quote}"})
    assert caught.value.detail.startswith(f"{environment_name(name)}: the quotes around it are a part of the value")


@pytest.mark.parametrize("text", [" data", "data\n"])
def test_blanks_around_a_text_are_named_and_around_a_number_they_do_no_harm(text):
    with pytest.raises(SettingsError, match=r"^FILEMILL_DATA_DIR: .*begins or ends with a blank or a line end"):
        load_settings({"FILEMILL_DATA_DIR": text})
    assert load_settings({"FILEMILL_PORT": text.replace("data", "9000")}).port == 9000


def test_of_variables_that_differ_in_case_alone_both_are_named_if_they_differ():
    with pytest.raises(SettingsError, match=r"^FILEMILL_PORT and filemill_port are one setting, and differ"):
        load_settings({"FILEMILL_PORT": "1", "filemill_port": "2"})
    assert load_settings({"FILEMILL_PORT": "1", "filemill_port": "1", "Filemill_Port": ""}).port == 1
    assert load_settings({"FILEMILL_PORT": "tcp://10.0.0.1:80", "filemill_port": "2"}).port == 2


@pytest.mark.parametrize("name", ["port", "host", "data_dir", "url", "job_cpu_limit_s"])
def test_an_empty_flag_is_refused_with_its_name(name):
    flag = "--" + name.replace("_", "-")
    with pytest.raises(SettingsError, match=f"^{environment_name(name)}: {flag} is empty; give it a value, or leave"):
        load_settings({}, **{name: ""})


def test_a_flag_may_be_empty_where_that_means_something():
    assert load_settings({"FILEMILL_PROCESSORS": "a"}, processors="").processors == ""


def test_a_flag_takes_the_place_of_its_variable_in_any_case_of_letters():
    environ = {"filemill_port": "1", "OTHER": "2"}
    put_flags(environ, {"FILEMILL_PORT": "3", "FILEMILL_DATA_DIR": "odd\n"})
    assert environ == {"FILEMILL_PORT": "3", "OTHER": "2"}


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_says_what_it_means(name):
    assert Settings.model_fields[name].description


def test_settings_do_not_change():
    with pytest.raises(ValueError, match="frozen"):
        load_settings({}).port = 1  # type: ignore[misc]

import pytest

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


@pytest.mark.parametrize(
    "text", ["", "GB", "2 parsecs", "1.5", "0.3 KiB", "-1 GB", "1e9", "1 GB GB", "٣ KB", "1" * 5000]
)
def test_a_size_that_is_no_whole_number_of_bytes_is_refused_with_an_example(text):
    with pytest.raises(SettingsError) as caught:
        load_settings({}, max_upload_bytes=text)
    assert caught.value.detail == (
        "FILEMILL_MAX_UPLOAD_BYTES: input should be whole bytes, such as 1048576, 512 KiB or 10 GB"
    )


def test_a_size_with_a_unit_must_be_within_the_limits_too():
    with pytest.raises(SettingsError, match=r"FILEMILL_JOB_MEMORY_LIMIT_BYTES: .*greater than or equal to"):
        load_settings({}, job_memory_limit_bytes="1 MiB")


@pytest.mark.parametrize("name", [name for name in Settings.model_fields if name.endswith("_bytes")])
def test_every_size_is_read_the_same_way(name):
    text, size_bytes = ("64 KiB", 64 * 1024) if "header" in name else ("64 MiB", 64 * 1024**2)
    assert getattr(load_settings({}, **{name: text}), name) == size_bytes


def test_all_values_that_make_no_sense_are_told_at_once():
    with pytest.raises(SettingsError, match=r"FILEMILL_PORT: .*; FILEMILL_CONSUMERS: "):
        load_settings({}, port="x", consumers="y")


def test_a_refused_value_is_not_repeated_because_it_may_be_a_secret():
    with pytest.raises(SettingsError) as caught:
        load_settings({}, port="hunter2")
    assert "hunter2" not in caught.value.detail


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_says_what_it_means(name):
    assert Settings.model_fields[name].description


def test_settings_do_not_change():
    with pytest.raises(ValueError, match="frozen"):
        load_settings({}).port = 1  # type: ignore[misc]

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from monitor.config import Config
from monitor.configfile import load_config
from monitor.core.errors import ConfigError
from monitor.core.rules import DEFAULT_RULES, Rule

SAMPLE = Path(__file__).parents[1] / "deploy" / "monitor.toml"


def test_the_sample_file_is_the_defaults():
    config, _ = load_config(SAMPLE, {})
    assert config == Config()


def test_the_sample_file_names_every_key():
    """Every section shows every key of its struct, in a comment where there is no default to show."""
    text = SAMPLE.read_text()
    for name, field in zip(Config.__struct_fields__, Config.__struct_defaults__, strict=False):
        if not isinstance(field, msgspec.Struct):
            continue
        section = re.search(rf"^\[{name}\].*?(?=^\[)", text, re.MULTILINE | re.DOTALL)
        for key in type(field).__struct_fields__:
            assert re.search(rf"^{key} =", section.group(), re.MULTILINE), f"[{name}] {key}"
    entry = text[text.index("[[streams]]") :]
    from monitor.config import StreamRule

    for key in StreamRule.__struct_fields__:
        assert re.search(rf"^(# )?{key} =", entry, re.MULTILINE), key


def test_the_alarm_rules_in_its_comments_are_the_defaults():
    text = SAMPLE.read_text()
    text = text[text.index("# [[alarms]]") :]
    commented = "\n".join(line.removeprefix("#").removeprefix(" ") for line in text.splitlines())
    rules = msgspec.convert(tomllib.loads(commented)["alarms"], list[Rule])
    v = msgspec.structs.replace(rules[0], raise_level=None, clear_level=None)
    assert v == DEFAULT_RULES[0]
    assert rules[1] == DEFAULT_RULES[2]
    assert msgspec.structs.replace(rules[2], label="*") == DEFAULT_RULES[3]


def test_flags_win_over_environment_over_file_over_defaults(tmp_path):
    file = tmp_path / "m.toml"
    file.write_text('name = "from-file"\n[mqtt]\nhost = "a"\nport = 1884\n')
    environment = {"MONITOR_MQTT__HOST": "b", "MONITOR_MQTT__PORT": "1885", "HOME": "x"}
    config, origins = load_config(file, environment, [("mqtt.port", "1886")])
    assert (config.name, config.mqtt.host, config.mqtt.port, config.mqtt.qos) == ("from-file", "b", 1886, 1)
    assert origins["name"] == f"file {file}"
    assert origins["mqtt.host"] == "environment MONITOR_MQTT__HOST"
    assert origins["mqtt.port"] == "flag mqtt.port=1886"
    assert "mqtt.qos" not in origins


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[mqtt]\nhots = 'a'", "mqtt.hots: no such key; did you mean host?"),
        ("blubb = 1", "blubb: no such key; expected one of name, prefix, models"),
        ("[mqtt]\nport = 'a'", "mqtt.port: expected a whole number, got 'a'"),
        ("[mqtt]\nport = 70000", "mqtt.port: expected a whole number, at most 65535, got 70000"),
        ("[mqtt]\npassword = 12345678", 'mqtt.password: expected text in "quotes"'),
        ("[mqtt]\ntls = 'yes'", "mqtt.tls: expected true or false, got 'yes'"),
        ("[mqtt]\nhost = 'mqtt://hall:1883'", "mqtt.host: expected the name or the address of a machine, alone"),
        ("mqtt = 5", "mqtt: expected a table, got 5"),
        ("[zeromq]\nlisten = '127.0.0.1:5555'", "zeromq.listen: expected an address like tcp://127.0.0.1:5555"),
        ("[feed]\npublish = 'tcp://127.0.0.1:99999'", "feed.publish: expected an address like"),
        ("[http]\nlisten = '9464'", "http.listen: expected HOST:PORT, such as 127.0.0.1:9464, got '9464'"),
        ("[log]\nlevel = 'loud'", "log.level: expected one of debug, error, info, warning, got 'loud'"),
        ("name = 'a b'", "name: expected 1 to 40 of A-Z"),
        ("[streams]\nname = 'a'", "streams: expected entries, each under [[streams]], got a table"),
        ("[[streams]]\nname = 'a b'", "streams[0].name: expected a stream's name, one to three levels"),
        ("[[streams]]\nname = 'a'\nmodels = 'b'", "streams[0].models: expected a list in [ ], got 'b'"),
        ("[[streams]]\nname = 'a'\nrate_hz = 0", "streams[0].rate_hz: expected a number, above 0, got 0"),
        (
            "[[streams]]\nname = 'a'\nrate_hz = inf",
            "streams[0].rate_hz: expected a number, at most 100000, got inf",
        ),
        ("[[streams]]\nname = 'a'\nlimits = {b = [1]}", "streams[0].limits: expected a list in [ ] of length 2"),
        ("[[streams]]\nname = 'a'\nheart_rate_bpm = [9, 1]", "streams[0].heart_rate_bpm: expected [LOW, HIGH]"),
        ("[[streams]]\nmodels = []", "streams[0].name: missing, and there is no default"),
        ("[[alarms]]\nkind = 'beat'", "alarms[0].kind: expected one of deviation, class, limit"),
        (
            "[[alarms]]\nkind = 'class'\nraise_level = 0.2\nclear_level = 0.5",
            "alarms[0].clear_level: expected at most raise_level, 0.2, got 0.5",
        ),
        ("name = ", "expected TOML"),
    ],
)
def test_a_wrong_key_or_value_names_its_path_and_what_was_expected(tmp_path, text, says):
    file = tmp_path / "m.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file, {})
    assert str(caught.value).startswith(f"{file}: {says}")
    assert "12345678" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_wrong_value_from_the_environment_says_so():
    with pytest.raises(ConfigError, match="from environment MONITOR_MQTT__PORT"):
        load_config(None, {"MONITOR_MQTT__PORT": "many"})
    with pytest.raises(ConfigError, match="`name` is not a section"):
        load_config(None, {"MONITOR_NAME__X": "1"}, [("name", "a"), ("name.x", "1")])


def test_what_counts_can_be_printed_and_read_again(tmp_path):
    from monitor.configfile import config_as_toml

    file = tmp_path / "m.toml"
    file.write_text(
        'name = "hall"\n[mqtt]\nhost = "::1"\n[inference]\nmodes = { ecg-beats = "leapfrog" }\n'
        '[[streams]]\nname = "pump/*"\nunit = "°C"\nmodels = ["sine-forecast"]\nlimits = { "*" = [-inf, 9.5] }\n'
        '[[alarms]]\nkind = "class"\nlatch = true\n'
    )
    config, _ = load_config(file, {})
    file.write_text(config_as_toml(config))
    assert load_config(file, {})[0] == config
    assert load_config(None, {})[0] == msgspec.convert(tomllib.loads(config_as_toml(Config())), Config)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("inference.modes = { ecg-beat = 'leapfrog' }", "inference.modes: expected some of ecg-beats"),
        ("keys.secret_file = 'none.key'", "key file none.key: cannot be read"),
        ("mqtt = { host = 'h', password_file = 'none' }", "mqtt.password_file: cannot read a line from none"),
        ("alarm_log.path = 'none/log.db'", "alarm_log.path: expected a file in a folder that is there"),
    ],
)
def test_check_looks_at_what_the_configuration_names(tmp_path, monkeypatch, text, says):
    from click.testing import CliRunner

    from monitor.verbs.daemon import check

    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.toml").write_text(text)
    error = CliRunner().invoke(check, ["--config", "m.toml"]).exception
    assert isinstance(error, ConfigError)
    assert str(error).startswith(says)


def test_a_missing_file_is_one_clear_line(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        load_config(tmp_path / "none.toml", {})


def test_the_first_stream_rule_that_matches_counts():
    config = msgspec.convert(
        {"streams": [{"name": "ecg/1", "unit": "uV"}, {"name": "ecg/*", "unit": "mV"}]},
        Config,
    )
    assert config.plan_of("ecg/1").unit == "uV"
    assert config.plan_of("ecg/2").unit == "mV"
    assert config.plan_of("eeg/2") is None


def test_limits_are_ranges_and_need_a_model_that_sees_the_values(tmp_path):
    from monitor.reload import load_models

    file = tmp_path / "m.toml"
    file.write_text('[[streams]]\nname = "*"\nmodels = ["sine-forecast"]\nlimits = { "*" = [90.0, inf] }\n')
    config, _ = load_config(file, {})
    assert config.plan_of("x").limits == {"*": (90.0, float("inf"))}
    assert set(load_models(config)) == {"sine-forecast"}
    for text, says in (
        ('models = ["sine-forecast"]\nlimits = { SpO2 = [90.0, 80.0] }', "LOW below HIGH"),
        ("limits = { SpO2 = [80.0, 90.0] }", "forecaster"),
        ("budget_per_hour = 0.0", "budget_per_hour"),
    ):
        file.write_text(f'[[streams]]\nname = "*"\n{text}\n')
        with pytest.raises(ConfigError, match=says):
            load_config(file, {})
    file.write_text('[[streams]]\nname = "*"\nmodels = ["sine-spikes"]\nlimits = { "*" = [90.0, inf] }\n')
    with pytest.raises(ConfigError, match="sees values in the stream's own unit"):
        load_models(load_config(file, {})[0])

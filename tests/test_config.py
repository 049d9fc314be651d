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
        ("[mqtt]\nhots = 'a'", r"hots.*\$\.mqtt"),
        ("[mqtt]\nport = 'a'", r"Expected `int`, got `str`.*\$\.mqtt\.port"),
        ("[mqtt]\nport = 70000", r"<= 65535.*\$\.mqtt\.port"),
        ("[[streams]]\nname = 'a'\nrate_hz = 0", r"\$\.streams\[0\]\.rate_hz"),
        ("[[streams]]\nmodels = []", r"missing required field `name`.*\$\.streams\[0\]"),
        ("[[alarms]]\nkind = 'beat'", r"\$\.alarms\[0\]\.kind"),
        ("name = ", "expected TOML"),
    ],
)
def test_a_wrong_key_or_value_names_its_path_and_what_was_expected(tmp_path, text, says):
    file = tmp_path / "m.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=says) as caught:
        load_config(file, {})
    assert str(file) in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_wrong_value_from_the_environment_says_so():
    with pytest.raises(ConfigError, match="from environment MONITOR_MQTT__PORT"):
        load_config(None, {"MONITOR_MQTT__PORT": "many"})
    with pytest.raises(ConfigError, match="`name` is not a section"):
        load_config(None, {"MONITOR_NAME__X": "1"}, [("name", "a"), ("name.x", "1")])


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

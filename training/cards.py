"""A model's file with something new in its card; its graph is left as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import onnx
from onnx import helper

from monitor.core.card import CARD_KEY, write_card
from monitor.core.errors import ConfigError
from monitor.inference import Model


def write_with(model: Model, out: Path, **changes: Any) -> None:
    """Write `model` to `out` with `changes` of its card's fields; raises ConfigError where that cannot be done."""
    proto = onnx.load_model_from_string(Path(model.path).read_bytes())
    told = {prop.key: prop.value for prop in proto.metadata_props}
    del proto.metadata_props[:]
    told[CARD_KEY] = write_card(msgspec.structs.replace(model.card, **changes))
    helper.set_model_props(proto, told)
    try:
        out.write_bytes(proto.SerializeToString())
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be written: {error.strerror}") from error

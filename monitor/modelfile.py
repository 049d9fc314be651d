"""A look into an ONNX file before anything runs it: what is not plain, ours and small is refused.

onnxruntime computes constants while it loads, so a hostile file must be told from its bytes alone. This walks the
protobuf itself (onnx.proto, by field number; the daemon does not need the onnx package) and knows what a small
recurrent network may hold: operators of the ONNX standard out of a list, tensors inside the file and of the size
they claim, no functions, no second file. What only running would tell, a tensor computed to be giant, is held by
`bounded_memory`.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator

from monitor.core.errors import ModelError

_STANDARD = (
    "Abs Add And AveragePool BatchNormalization Cast Clip Concat Constant Conv CumSum Div Dropout Elu Equal "
    "Erf Exp Expand Flatten GRU Gather Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual HardSigmoid "
    "Identity If LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul Max MaxPool Mean Min "
    "Mod Mul Neg Not Or Pad Pow RNN Range Reciprocal ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin "
    "ReduceProd ReduceSum ReduceSumSquare Relu Reshape Round Scan Selu Shape Sigmoid Sign Slice Softmax "
    "Softplus Softsign Split Sqrt Squeeze Sub Sum Tanh Transpose Unsqueeze Where "
)
OPERATORS = frozenset(_STANDARD.split())
"""Of the standard domain; what reads files, calls functions, draws random numbers or loops at will is not here."""

MAX_NODES = 10_000
MAX_ELEMENTS = 16 * 1024 * 1024
MAX_DEPTH = 4
"""Graphs within graphs: the branches of If and the body of Scan."""
HEADROOM_BYTES = 1024**3
"""What loading a model and asking its known answer may take beyond what the process has."""

_WIDTHS = {1: 4, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8}  # float, int32, int64, bool, float16, double: bytes an element
_TYPED = {1: 4, 6: 5, 7: 7, 9: 5, 10: 5, 11: 10}  # and the field that holds them where raw_data does not

Field = tuple[int, int | bytes]


def check_file(content: bytes, where: str) -> None:
    """Raises ModelError, and nothing else, for bytes that no exporter of ours would write."""
    try:
        _check_model(content, where)
    except (IndexError, ValueError, UnicodeDecodeError) as error:
        raise ModelError(f"{where}: not an ONNX file that onnxruntime can load: {error}") from error


@contextlib.contextmanager
def bounded_memory() -> Iterator[None]:
    """While this lasts the process may grow by HEADROOM_BYTES at most; beyond it allocations fail."""
    if sys.platform != "linux":  # elsewhere the limit is not enforced
        yield
        return
    import resource  # noqa: PLC0415

    with open("/proc/self/statm") as statm:  # noqa: PTH123
        size = int(statm.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = size + HEADROOM_BYTES
    if soft not in (resource.RLIM_INFINITY, -1) and soft < wanted:
        yield
        return
    resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _check_model(content: bytes, where: str) -> None:
    graphs = 0
    for number, value in _fields(content):
        if number == 7:
            graphs += 1
            _check_graph(_bytes(value), where, 0)
        elif number == 8:
            _check_domain(_text(_bytes(value), 1), where)
        elif number in (20, 25):
            what = "training steps" if number == 20 else "functions"
            raise ModelError(f"{where}: expected a plain graph, got {what} of its own; export it again")
    if graphs != 1:
        raise ModelError(
            f"{where}: not an ONNX file that onnxruntime can load: it holds {graphs} graphs, expected 1"
        )


def _check_graph(graph: bytes, where: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ModelError(f"{where}: expected graphs within graphs at most {MAX_DEPTH} deep")
    nodes = 0
    for number, value in _fields(graph):
        if number == 1:
            nodes += 1
            _check_node(_bytes(value), where, depth)
        elif number == 5:
            _check_tensor(_bytes(value), where)
        elif number == 15:
            raise ModelError(f"{where}: expected dense tensors, got a sparse one; export it again")
    if nodes > MAX_NODES:
        raise ModelError(f"{where}: expected at most {MAX_NODES} nodes, got {nodes}")


def _check_node(node: bytes, where: str, depth: int) -> None:
    operator, domain = _text(node, 4), _text(node, 7)
    _check_domain(domain, where, operator)
    if operator not in OPERATORS:
        raise ModelError(
            f"{where}: operator {operator[:60]!r} is none of those a small recurrent network needs "
            "(monitor/modelfile.py lists them); export it with `training export`"
        )
    for number, value in _fields(node):
        if number != 5:
            continue
        for kind, held in _fields(_bytes(value)):
            if kind in (5, 10):
                _check_tensor(_bytes(held), where)
            elif kind in (6, 11):
                _check_graph(_bytes(held), where, depth + 1)
            elif kind in (22, 23):
                raise ModelError(f"{where}: expected dense tensors, got a sparse one; export it again")


def _check_domain(domain: str, where: str, operator: str = "") -> None:
    if domain not in ("", "ai.onnx"):
        what = f"operator {operator[:60]!r}" if operator else "operators"
        raise ModelError(
            f"{where}: expected operators of the ONNX standard only, got {what} of {domain[:60]!r}; "
            "a file with custom operators is not run"
        )


def _check_tensor(tensor: bytes, where: str) -> None:
    """A tensor whose data is in the file, of the size it claims."""
    dims: list[int] = []
    kind, held = 0, dict.fromkeys((4, 5, 7, 9, 10), 0)
    name = _text(tensor, 8)[:60]
    for number, value in _fields(tensor):
        if number == 1:
            dims += [_signed(value)] if isinstance(value, int) else [_signed(n) for n in _varints(value)]
        elif number == 2:
            kind = value if isinstance(value, int) else -1
        elif number == 13 or (number == 14 and value):
            raise ModelError(
                f"{where}: tensor {name!r} points to another file; a model is one file, with everything in it"
            )
        elif number in held:
            held[number] += _count(number, value)
    width = _WIDTHS.get(kind)
    if width is None:
        raise ModelError(f"{where}: tensor {name!r} is of type {kind}; expected float, int or bool")
    elements = math.prod(dims)
    if min(dims, default=0) < 0 or max(dims, default=0) > MAX_ELEMENTS or elements > MAX_ELEMENTS:
        raise ModelError(
            f"{where}: tensor {name!r} claims shape {dims[:8]}; expected at most {MAX_ELEMENTS} elements"
        )
    has = held[9] // width if held[9] else held[_TYPED[kind]]
    if has != elements or held[9] % width:
        raise ModelError(f"{where}: tensor {name!r} claims {elements} elements and holds {has}: cut short?")


def _count(number: int, value: int | bytes) -> int:
    """Bytes of raw_data, elements of anything else; packed or one by one."""
    if number == 9:
        return len(_bytes(value))
    if isinstance(value, int):
        return 1
    if number in (4, 10):
        return max(len(value) // (4 if number == 4 else 8), 1)
    return sum(1 for _ in _varints(value))


def _fields(message: bytes) -> Iterator[Field]:
    """Field numbers and values of a protobuf message: numbers for varints, bytes for everything else."""
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(message, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"a field of wire type {wire}")
        if at + size > end:
            raise ValueError("cut short")
        yield number, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than ten bytes")


def _varints(packed: bytes) -> Iterator[int]:
    at = 0
    while at < len(packed):
        value, at = _varint(packed, at)
        yield value


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where a message was expected")  # noqa: TRY004 of the file, not of the caller
    return value


def _text(message: bytes, wanted: int) -> str:
    """The last field of this number, as protobuf has it."""
    found = b""
    for number, value in _fields(message):
        if number == wanted:
            found = _bytes(value)
    return found.decode()

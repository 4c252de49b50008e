"""``python -m asrd_supervisor.manual`` prints docs/config.md, from the configuration's own declarations."""

import ast
import inspect
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from asrd_supervisor import config
from asrd_supervisor.core import policy
from asrd_supervisor.core.policy import Duration, Size

_HEAD = """\
# Configuration

One TOML file, read from `--config`, `$ASRD_CONFIG`, `~/.config/asrd/asrd.toml` or `/etc/asrd/asrd.toml`, whichever is
first. No file is needed: every key has a default. An unknown key is an error that names the nearest known one.
`asrd config check` looks a file over, `asrd config show` prints what it comes to on this machine, with every `auto`
replaced. Times are numbers of seconds or text such as `"30s"`, `"5m"`, `"24h"`; sizes are bytes or text such as
`"512MB"`, `"2GiB"`.

This page is written by `make docs` from the declarations in `supervisor/asrd_supervisor/config.py`.

```toml
# Two pools: a fast one for everybody, an accurate one for those who ask for it by name.
default_pool = "fast"

[pools.fast]
model = "tiny.en"
workers = 4

[pools.fast.recycle]
max_jobs = 200

[pools.accurate]
model = "/srv/models/large-v3"
device = "cuda"
compute_type = "float16"
```
"""


def manual() -> str:
    """The whole page."""
    parts = [_HEAD, *_section("The top of the file", config.Config, "")]
    return "\n".join(parts)


def _section(title: str, kind: type[msgspec.Struct], path: str) -> Iterator[str]:
    heading = f"`[{path}]`" if path else title
    yield f"## {heading}\n"
    yield f"{_sentence(kind)}\n"
    told = dict(_field_docs(kind))
    fields = msgspec.structs.fields(kind)
    plain = [field for field in fields if _table_of(field.type) is None]
    if plain:
        yield "| key | default | |\n|---|---|---|"
        for field in plain:
            yield f"| `{field.name}` | {_default(field)} | {told.get(field.name, '')}{_choices(field.type)} |"
        yield ""
    for field in fields:
        if (table := _table_of(field.type)) is not None:
            name = f"{field.name}.NAME" if get_origin(field.type) is dict else field.name
            yield from _section(name, table, f"{path}.{name}" if path else name)


def _table_of(kind: Any) -> type[msgspec.Struct] | None:
    if get_origin(kind) is dict:
        kind = get_args(kind)[1]
    elif type(None) in get_args(kind):  # a table that need not be given
        kind = get_args(kind)[0]
    return kind if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else None


def _sentence(kind: type) -> str:
    return " ".join((kind.__doc__ or "").split())


def _field_docs(kind: type) -> Iterator[tuple[str, str]]:
    """The string below each field, which Python itself throws away."""
    module = policy if kind.__module__ == policy.__name__ else config
    classes = ast.parse(inspect.getsource(module)).body
    body = next(node.body for node in classes if isinstance(node, ast.ClassDef) and node.name == kind.__name__)
    for field, after in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(after, ast.Expr):
            text = ast.literal_eval(after.value)
            yield field.target.id, " ".join(text.split()).replace("``", "`")


def _default(field: msgspec.structs.FieldInfo) -> str:
    value = field.default
    if value is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT:
        value = field.default_factory()
    if value in ("", {}):
        return "empty"
    return f"`{_toml(value)}`"


def _toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case Duration() if value < 0:
            return f"{value:g}"
        case Duration() if value and value % 3600 == 0:
            return f'"{value / 3600:g}h"'
        case Duration():
            return f'"{value:g}s"'
        case list():
            return "[" + ", ".join(_toml(item) for item in value) + "]"
        case Size() if value < 1 << 20:
            return str(int(value))
        case Size():
            return f'"{value >> 20}MiB"'
        case str():
            return f'"{value}"'
        case _:
            return str(value)


def _choices(kind: Any) -> str:
    if get_origin(kind) is Annotated:
        bounds = [f"{name} {getattr(meta, name)}" for meta in get_args(kind)[1:] for name in ("ge", "le", "gt", "lt")
                  if getattr(meta, name, None) is not None]  # fmt: skip
        words = {"ge": "at least", "le": "at most", "gt": "above", "lt": "below"}
        return "".join(f" ({words[b.split()[0]]} {b.split()[1]})" for b in bounds)
    if get_origin(kind) is Literal:
        return " One of " + ", ".join(f"`{choice}`" for choice in get_args(kind)) + "."
    if get_origin(kind) is Union or kind.__class__.__name__ == "UnionType":
        return "".join(_choices(part) for part in get_args(kind))
    return ""


if __name__ == "__main__":
    sys.stdout.write(manual())

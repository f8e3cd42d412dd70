"""Configuration: YAML files, overridden by `--set a.b=c` and validated by typed models."""

from __future__ import annotations

import difflib
import json
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from imltool.errors import ConfigError
from imltool.files import write_text


class Exact(BaseModel):
    """Base of typed values that are written or sent as JSON; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")


class JsonFile(Exact):
    """Base of values that are the content of a JSON file."""

    def text(self) -> str:
        """The file's content as JSON. Raises ValueError for NaN."""
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False)


class Frozen(Exact):
    """Base of immutable models."""

    model_config = ConfigDict(frozen=True)


class Settings(Frozen):
    """Base of every configuration model."""


AnySettings = TypeVar("AnySettings", bound=Settings)


class _Loader(yaml.SafeLoader):
    """A YAML loader that refuses duplicate keys, of which the last would silently replace the others."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, int] = {}
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            name, line = self.construct_object(key, deep=True), key.start_mark.line + 1
            if isinstance(name, Hashable) and name in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{name} is in line {seen[name]} and again in line {line}; give it once"
                )
            if isinstance(name, Hashable):
                seen[name] = line
        return super().construct_mapping(node, deep)


def load_settings(
    model: type[AnySettings], paths: Path | Sequence[Path] | None = None, overrides: list[str] | None = None
) -> AnySettings:
    """The defaults of `model`, overridden by YAML files in order and then by `overrides` ("a.b=c", value in YAML).

    Groups in several files are merged key by key; a list replaces an earlier list.

    Raises `ConfigError` with the file, the dotted key and the nearest known name.
    """
    values: dict[str, Any] = {}
    files = [paths] if isinstance(paths, Path) else [*(paths or ())]
    source = " and ".join(map(str, files)) or "the command line"
    for path in files:
        try:
            loaded = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
        except FileNotFoundError:
            raise ConfigError(
                f"configuration file {path} does not exist", "see configs/ for the shipped ones"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"configuration file {path} cannot be read: {error}") from error
        except yaml.YAMLError as error:
            raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
        if loaded is not None and not isinstance(loaded, dict):
            raise ConfigError(f"{path} must hold keys and values, not a {type(loaded).__name__}")
        values = _merged(values, loaded or {})
    for override in overrides or []:
        _apply(values, override)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _explain(model, error, source) from error


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = below | above
    for key in below.keys() & above.keys():
        if isinstance(below[key], dict) and isinstance(above[key], dict):
            merged[key] = _merged(below[key], above[key])
    return merged


def _apply(values: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    if not equals or not dotted.strip():
        raise ConfigError(f"--set {override!r} is not of the form a.b=value")
    try:
        value = yaml.safe_load(text) if text else ""
    except yaml.YAMLError:
        value = text
    *parents, last = dotted.strip().split(".")
    group: Any = values
    for name in parents:
        group = _step(group, name, override)
    if isinstance(group, list):
        group[_position(group, last, override)] = value
    elif isinstance(group, dict):
        group[last] = value
    else:
        raise ConfigError(f"--set {override}: {parents[-1]} is a value, not a group")


def _step(group: Any, name: str, override: str) -> Any:
    if isinstance(group, list):
        return group[_position(group, name, override)]
    if not isinstance(group, dict):
        raise ConfigError(f"--set {override}: the parent of {name} is a value, not a group")
    return group.setdefault(name, {})


def _position(group: list[Any], name: str, override: str) -> int:
    if name.isdigit() and int(name) < len(group):
        return int(name)
    raise ConfigError(f"--set {override}: {name} is not a position in a list of {len(group)}", "positions count from 0")


def first_fault(error: ValidationError) -> tuple[str, str]:
    """The dotted place of the first fault, "" for the value as a whole, and the fault in words."""
    first = error.errors()[0]
    return ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")


def _explain(model: type[BaseModel], error: ValidationError, source: str) -> ConfigError:
    first = error.errors()[0]
    dotted, fault = first_fault(error)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _known_keys(model, first["loc"][:-1])
        near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        remedy = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
        return ConfigError(f"{source}: unknown key {dotted}{more}", remedy)
    return ConfigError(f"{source}: {dotted or 'the file'}: {fault}, got {first['input']!r}{more}")


def _known_keys(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Field names of the model reached from `model` by `path`; list positions and union tags are skipped."""
    for part in path:
        if not isinstance(part, str) or part not in model.model_fields:
            continue
        nested = _model_in(model.model_fields[part].annotation)
        if nested is None:
            return []
        model = nested
    return sorted(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if (found := _model_in(argument)) is not None:
            return found
    return None


def save_settings(settings: Settings, path: Path) -> None:
    """Write the resolved settings as YAML, from which `load_settings` makes an equal object."""
    write_text(path, yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True))

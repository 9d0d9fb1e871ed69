"""What the type of a key says: the tables in it, whether it is a list, the plain types of its value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return every model that a type such as `tuple[Annotated[A | B, …], ...]` names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in models_in(part)]


def is_list(annotation: Any) -> bool:
    """Whether the key holds a list."""
    return get_origin(annotation) is tuple


def plain_types(annotation: Any) -> Iterator[type]:
    """Yield every type that a value may have: `int` and `str` of `int | Literal["auto"]`."""
    if get_origin(annotation) is Literal:
        yield from (type(value) for value in get_args(annotation))
    elif is_list(annotation):
        yield tuple
    elif isinstance(annotation, type):
        yield annotation
    else:
        arguments = get_args(annotation)
        is_annotated = hasattr(annotation, "__metadata__")
        for inner in arguments[:1] if is_annotated else arguments:
            yield from plain_types(inner)

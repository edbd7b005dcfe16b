"""The catalogue's definitions, one file a family; importing this package registers them."""

from statespan.languages.definitions import (  # noqa: F401
    boolean,
    bounded_dyck,
    bounded_grammars,
    counters,
    depth,
    dyck,
    flip_flop,
    groups,
    modular,
    nested,
    star_free,
    tomita,
)

__all__: list[str] = []

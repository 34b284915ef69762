"""A client of Segue, the recommendation server, over numpy arrays.

Client is a connection; the rest is what it is asked with and what it answers. Messages and stubs of the whole API are in
segue.v1, for calls that have no method here.
"""

from .client import Client
from .connection import TLS
from .errors import ImportFailed, SegueError, UpsertError, Violation
from .results import (
    Collection,
    Example,
    Examples,
    Exclude,
    Exclusion,
    Import,
    Item,
    Neighbor,
    Neighbors,
    Profile,
    Reject,
    Release,
    SearchInfo,
    UpsertResult,
)
from .values import Markets

__all__ = [
    "Client",
    "Collection",
    "Example",
    "Examples",
    "Exclude",
    "Exclusion",
    "Import",
    "ImportFailed",
    "Item",
    "Markets",
    "Neighbor",
    "Neighbors",
    "Profile",
    "Reject",
    "Release",
    "SearchInfo",
    "SegueError",
    "TLS",
    "UpsertError",
    "UpsertResult",
    "Violation",
]

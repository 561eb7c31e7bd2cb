"""slasearch: search for the structure of adapters on a frozen transformer. Importing it loads neither torch nor ray."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slasearch.adapters.kinds._base import register_kind
    from slasearch.service.api import load_study, run_study
    from slasearch.trial.predict import Predictor

__all__ = ["Predictor", "__version__", "load_study", "register_kind", "run_study"]

__version__ = "0.1.0"

_HOMES = {
    "Predictor": "slasearch.trial.predict",
    "load_study": "slasearch.service.api",
    "register_kind": "slasearch.adapters.kinds._base",
    "run_study": "slasearch.service.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})

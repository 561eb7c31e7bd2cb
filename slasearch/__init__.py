"""slasearch: search for the structure of adapters on a frozen transformer. Importing it loads neither torch nor ray."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slasearch.adapters.kinds._base import register_kind
    from slasearch.service.api import load_study, run_study
    from slasearch.service.attach import attach
    from slasearch.tasks.metrics import register_metric
    from slasearch.trial.load import load_adapter
    from slasearch.trial.predict import Predictor

__all__ = [
    "Predictor",
    "__version__",
    "attach",
    "load_adapter",
    "load_study",
    "register_kind",
    "register_metric",
    "run_study",
]

__version__ = "0.1.0"

_HOMES = {
    "Predictor": "slasearch.trial.predict",
    "attach": "slasearch.service.attach",
    "load_adapter": "slasearch.trial.load",
    "load_study": "slasearch.service.api",
    "register_kind": "slasearch.adapters.kinds._base",
    "register_metric": "slasearch.tasks.metrics",
    "run_study": "slasearch.service.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})

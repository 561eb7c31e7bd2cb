"""Every error that slasearch raises on purpose. Each says what was expected, what was got and what to do next."""

__all__ = [
    "ArtifactError",
    "BackboneError",
    "ClusterError",
    "ConfigError",
    "ConnectionLostError",
    "LeaseError",
    "MissingExtraError",
    "RegistryError",
    "ReportError",
    "SlaSearchError",
    "StorageError",
    "StudyConflictError",
    "StudyNotFoundError",
    "TaskError",
    "TrialNotFoundError",
]


class SlaSearchError(Exception):
    """Root of all errors raised on purpose; the command line prints its text without a traceback."""


class ConfigError(SlaSearchError, ValueError):
    """A study file is invalid. Holds every problem found, not only the first.

    Args:
        problems: One line each, as `file:line: field: expected …, got …`.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class RegistryError(SlaSearchError, LookupError):
    """A name is unknown, or is registered twice."""


class MissingExtraError(SlaSearchError, ImportError):
    """An optional dependency is needed and not installed; the text names the extra to install."""


class TaskError(SlaSearchError, ValueError):
    """A task's data cannot be read or does not fit its description."""


class BackboneError(SlaSearchError, ValueError):
    """A backbone cannot be loaded, or its structure is not recognised."""


class ArtifactError(SlaSearchError, ValueError):
    """A stored or exported file is missing, damaged, or does not fit the model it is loaded into."""


class StorageError(SlaSearchError, OSError):
    """The database cannot be reached, read or written."""


class ConnectionLostError(StorageError):
    """The database's server went away or does not answer; what was asked of it may work later."""


class ClusterError(SlaSearchError, ConnectionError):
    """A Ray cluster cannot be reached, or cannot run the study's trials."""


class StudyNotFoundError(SlaSearchError, LookupError):
    """No study of this name stands in the database."""


class TrialNotFoundError(SlaSearchError, LookupError):
    """A study has no trial of this number."""


class StudyConflictError(SlaSearchError, ValueError):
    """A study of this name exists with other content; the text shows the difference."""


class LeaseError(SlaSearchError, RuntimeError):
    """Another driver holds the study, or this driver has lost it."""


class ReportError(SlaSearchError, ValueError):
    """An analysis or a report cannot be made from the data at hand; the text says what is missing."""

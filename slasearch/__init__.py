"""slasearch: search for the structure of adapters on a frozen transformer. Importing it loads neither torch nor ray."""

__version__ = "0.1.0"

"""Optuna's dashboard on slasearch's database, read-only, as `application` for any WSGI server.

The database is `$SLASEARCH_STORAGE`, else `.slasearch/slasearch.db` in the working folder.
"""

from slasearch.config.locations import locate
from slasearch.service.dashboard import dashboard_app

application = dashboard_app(locate().storage_url)

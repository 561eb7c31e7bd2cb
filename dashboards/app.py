"""Optuna's dashboard on slasearch's database, read-only, as `application` for any WSGI server.

The database is `$SLASEARCH_STORAGE`, else `.slasearch/slasearch.db` in the working folder. It answers requests for
`127.0.0.1` and `localhost`, see README.md.
"""

from slasearch.config.locations import locate
from slasearch.service.dashboard import dashboard_app, local_only

application = local_only(dashboard_app(locate().storage_url))

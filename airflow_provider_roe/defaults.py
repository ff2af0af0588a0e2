"""What a connection is where it says nothing. The form's help names it, so nothing is imported here."""

from __future__ import annotations

BASE_URL = "https://api.roe-ai.com"
#: Seconds.
REQUEST_TIMEOUT = 60.0
RETRY_WINDOW = 300.0
VERIFY = True
WEB_URL = "https://app.roe-ai.com/"

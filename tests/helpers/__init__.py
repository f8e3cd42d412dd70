"""What several test modules share: pictures, sets, servers, and readers of what commands write."""

import pytest

# their assertions then show values, as those of tests do
pytest.register_assert_rewrite(*(f"{__name__}.{one}" for one in ("annotate_page", "outputs", "page_server", "spread")))

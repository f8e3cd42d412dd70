"""Shared by several test modules: pictures, data sets, servers, and readers of command outputs."""

import pytest

# so that their assertions show values like those of tests
pytest.register_assert_rewrite(*(f"{__name__}.{one}" for one in ("annotate_page", "outputs", "page_server", "spread")))

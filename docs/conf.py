"""How Sphinx makes the site: `make docs`."""

from __future__ import annotations

from airflow_provider_roe import __version__

project = "airflow-provider-roe"
author = "Roe AI"
copyright = "Roe AI"  # noqa: A001 - Sphinx names it so
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinxcontrib.svgbob"]
myst_heading_anchors = 3

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
# The base classes are Airflow's: their methods and parameters are documented there.
autodoc_inherit_docstrings = False

# Nothing is fetched while the site is built: names of Python and Airflow have no link. Each of ours has one.
nitpick_ignore_regex = [("py:class", r"XComArg|timedelta|(collections|datetime|ssl)\b.*")]
# What makes a DB-API connection is none of the public interface: connect() does.
nitpick_ignore = [("py:class", "Client")]

html_theme = "furo"
html_title = f"airflow-provider-roe {release}"
html_theme_options = {
    "source_repository": "https://github.com/roe-ai/airflow-provider-roe",
    "source_branch": "main",
    "source_directory": "docs/",
}

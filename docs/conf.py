"""How `make docs` builds the documentation: from Markdown and docstrings, without the network."""

from importlib.metadata import version as version_of

project = "daq-deploy"
version = release = version_of("daq-deploy")
copyright = "the daq-deploy authors, Apache License 2.0"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
exclude_patterns = ["build"]

autodoc_default_options = {"members": True, "undoc-members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"daq-deploy {release}"
html_show_sphinx = False
html_copy_source = False

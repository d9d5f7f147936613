"""docs/catalogue.md is what scripts/catalogue.py makes of conf/ and the docstrings today."""

import importlib.util
from pathlib import Path

from trainer.config import catalog

ROOT = Path(__file__).parent.parent


def test_the_page_is_current():
    spec = importlib.util.spec_from_file_location("catalogue", ROOT / "scripts" / "catalogue.py")
    catalogue = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(catalogue)
    written = (ROOT / "docs" / "catalogue.md").read_text()
    assert written == catalogue.page(), "run python scripts/catalogue.py"
    assert all(f"| `{option}` |" in written for group in catalog.groups() for option in catalog.options(group))

"""What the tests of a folder need is their mark."""

from pathlib import Path

HERE = Path(__file__).parent
NEEDS = dict.fromkeys(("inputs", "lease", "notifications", "wait"), "apiserver") | {"e2e": "cluster"}


def pytest_collection_modifyitems(items):
    for item in items:
        folder = item.path.relative_to(HERE).parts[0] if item.path.is_relative_to(HERE) else ""
        if mark := NEEDS.get(folder):
            item.add_marker(mark)

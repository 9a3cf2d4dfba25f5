"""Transcripts are compared byte for byte; `pytest tests/golden --remake` writes them anew."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_addoption(parser):
    parser.addoption("--remake", action="store_true", help="write the golden transcripts anew instead of comparing")


@pytest.fixture
def golden(request):
    """Compare a transcript with the file of that name, or write it."""

    def compare(name: str, transcript: str) -> None:
        file = HERE / f"{name}.txt"
        if request.config.getoption("--remake", default=False):
            file.write_text(transcript)
        assert file.read_text() == transcript

    return compare

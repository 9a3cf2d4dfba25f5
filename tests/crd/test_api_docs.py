"""docs/api.md says what the CRDs say."""

import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).resolve().parents[2] / "tools" / "api-docs"


def test_the_reference_is_current():
    """Otherwise make it anew: tools/api-docs."""
    answer = subprocess.run([sys.executable, TOOL, "--check"], capture_output=True, text=True, check=False)

    assert answer.returncode == 0, answer.stderr

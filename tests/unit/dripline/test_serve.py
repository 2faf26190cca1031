"""What a process of `dripline serve` loads: it is started again after each crash, and must be quick about it."""

import subprocess
import sys


def test_serving_one_service_does_not_load_the_others():
    loaded = "import sys, dripline.serve; print(*sorted(name for name in sys.modules if name.startswith('services.')))"
    said = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert said.stdout.split() == []

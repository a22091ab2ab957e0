"""What the command does before a run."""

import gc
import subprocess
import sys


def test_the_collector_is_disabled_during_the_first_imports_of_torch_only() -> None:
    program = (
        "import gc, sys\n"
        "from arc.train import gc_disabled\n"
        "with gc_disabled():\n"
        "    assert not gc.isenabled()\n"
        "    import torch\n"
        "frozen = gc.get_freeze_count()\n"
        "assert gc.isenabled() and frozen > 100_000, frozen\n"
        "with gc_disabled():\n"
        "    assert gc.isenabled()\n"
        "assert gc.get_freeze_count() <= frozen\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert gc.isenabled()

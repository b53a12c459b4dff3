"""The list of deliberate faults (benchmarks/mutations.py) matches the code."""

import mutations
from conftest import ROOT


def test_each_fault_can_be_inserted_and_has_tests():
    assert len(mutations.FAULTS) == 40
    for fault in mutations.FAULTS:
        text = fault.path.read_text(encoding="utf-8")  # raises if it does not occur exactly once
        compile(text.replace(fault.old, fault.new), fault.path.name, "exec")
        assert fault.new != fault.old
        for name in fault.tests:
            assert (ROOT / "tests" / f"test_{name}.py").is_file(), fault

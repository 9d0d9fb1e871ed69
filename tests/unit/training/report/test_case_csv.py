"""Results of single cases as CSV."""

from __future__ import annotations

import csv
import io

from tests.support.case_results import case_result
from training.evaluate.case_results import MeasuredPair
from training.report.case_csv import cases_csv


def test_every_structure_and_measurement_has_a_line_with_its_values() -> None:
    refused = {"OC": MeasuredPair(None, 9.0, "truth", "cut_by_image")}
    text = cases_csv([case_result("a", 0.9, 0.5), case_result("b", 0.8, measurements=refused)])
    assert text.count("\r\n") == len(text.splitlines())
    lines = list(csv.DictReader(io.StringIO(text)))
    assert len(lines) == 2 + 4 + 2 + 1
    l4 = lines[0]
    assert (l4["case"], l4["patient"], l4["group"], l4["fold"]) == ("a", "P-a", "phantom", "")
    assert (l4["kind"], l4["name"], l4["state"], l4["dice"]) == ("structure", "l4", "scored", "0.9")
    assert (l4["hd95_mm"], l4["mean_shape_dice"], l4["automatic_mm"]) == ("1.0", "0.5", "")
    oc = next(x for x in lines if (x["case"], x["name"]) == ("a", "OC"))
    assert (oc["state"], oc["automatic_mm"], oc["reference_mm"]) == ("measured", "10.0", "9.5")
    assert (oc["dice"], oc["reference_from"]) == ("", "truth")
    last = lines[-1]
    assert (last["state"], last["automatic_mm"], last["reference_mm"]) == (
        "cut_by_image",
        "",
        "9.0",
    )

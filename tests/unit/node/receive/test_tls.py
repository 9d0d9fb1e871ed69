from __future__ import annotations

from typing import Any

import pytest

from node.receive.tls import certificate_names

CN = ((("countryName", "DE"),), (("commonName", "MR1.Example"),))


@pytest.mark.parametrize(
    ("certificate", "names"),
    [
        ({}, set()),
        ({"subject": CN}, {"mr1.example"}),
        (
            {"subject": CN, "subjectAltName": (("DNS", "b.example"), ("IP Address", "10.1.2.3"))},
            {"mr1.example", "b.example"},
        ),
        ({"subject": ((("organizationName", "MR1"),),)}, set()),
    ],
)
def test_names_are_common_name_and_dns_names(certificate: dict[str, Any], names: set[str]) -> None:
    assert certificate_names(certificate) == names

"""`parameters.yaml` beside `config.yaml`: one reporting currency."""

from __future__ import annotations

import pytest

from connectors.errors import PermanentError
from orchestration.planning.decision_inputs import read_parameters


@pytest.mark.parametrize("text", [None, "", "paths: 50", "reporting_currency: CNY"])
def test_the_currency_is_that_of_the_business(tmp_path, text):
    path = tmp_path / "parameters.yaml"
    if text is not None:
        path.write_text(text)
    assert read_parameters(path, "CNY").reporting_currency == "CNY"


def test_two_currencies_are_refused_in_one_sentence(tmp_path):
    path = tmp_path / "parameters.yaml"
    path.write_text("reporting_currency: EUR")
    with pytest.raises(PermanentError, match=r"reckons in EUR and config\.yaml in CNY"):
        read_parameters(path, "CNY")

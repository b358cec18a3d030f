"""Each setting is declared once: whoever takes settings takes all of them, with the declared defaults."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

from inversionview.cli.program import cli
from inversionview.studies import settings
from inversionview.studies.study import Study
from inversionview.web import requests

CRITERION = {"epsilon", "metric", "position_rule"}
METHODS = {
    "preimage": (settings.ReadSettings, CRITERION, {"query", "progress"}),
    "preimages": (settings.ReadSettings, CRITERION, {"queries", "progress"}),
    "exact_preimage": (settings.ExactSettings, CRITERION, {"query"}),
    "exact_preimages": (settings.ExactSettings, CRITERION, {"queries"}),
    "bank": (settings.BankSettings, set(), {"at", "folder"}),
    "map": (settings.MapSettings, CRITERION - {"position_rule"}, {"text"}),
    "test": (settings.TestSettings, CRITERION, {"queries", "hypothesis"}),
    "patch": (settings.PatchSettings, set(), {"target", "sites", "contrast"}),
    "causal": (settings.CausalSettings, CRITERION, {"query"}),
    "ablate": (settings.AblateSettings, set(), {"inputs", "site", "at"}),
    "head_selection": (settings.HeadSettings, set(), set()),
    "evaluate": (settings.EvaluateSettings, set(), set()),
    "validate": (settings.ValidateSettings, set(), {"progress"}),
}
"""By method: its settings, what of the criterion it takes, and what it is about."""
COMMANDS = {
    "read": (settings.ReadSettings, settings.ExactSettings),
    "bank": (settings.BankSettings,),
    "map": (settings.MapSettings,),
    "heads": (settings.HeadSettings,),
    "test": (settings.TestSettings,),
    "patch": (settings.PatchSettings,),
    "causal": (settings.CausalSettings,),
    "evaluate": (settings.EvaluateSettings,),
    "validate": (settings.ValidateSettings,),
    "train": (settings.TrainSettings, settings.RunSettings),
    "train-probed": (settings.RunSettings,),
}
REQUESTS = {
    requests.ReadRequest: (settings.ReadSettings, {"noise", "colors", "bank", "frequencies", "frequent", "explain"}),
    requests.ExactRequest: (settings.ExactSettings, {"curve", "index", "explain"}),
    requests.MapRequest: (settings.MapSettings, {"n", "bank", "draws", "draws_given"}),
    requests.TestRequest: (settings.TestSettings, set()),
    requests.CausalRequest: (settings.CausalSettings, {"draws", "outputs"}),
}
"""By request: its settings, and those that are the server's to choose."""


def fields(declared) -> dict:
    return {field.name: field.default for field in dataclasses.fields(declared)}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_of_a_study_takes_every_setting_with_its_default(method):
    declared, criterion, about = METHODS[method]
    parameters = inspect.signature(getattr(Study, method)).parameters
    assert set(parameters) - {"self"} == set(fields(declared)) | criterion | about
    assert {name: parameters[name].default for name in fields(declared)} == fields(declared)


def test_no_method_takes_settings_that_it_does_not_name():
    for name, method in inspect.getmembers(Study, inspect.isfunction):
        kinds = {parameter.kind for parameter in inspect.signature(method).parameters.values()}
        assert inspect.Parameter.VAR_KEYWORD not in kinds, name


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_an_option_for_every_setting_that_says_its_help(command):
    options = {option.name for option in cli.commands[command].params}
    for declared in COMMANDS[command]:
        told = {field.name for field in dataclasses.fields(declared) if field.metadata["help"]}
        assert told <= options


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_question_to_the_server_has_a_field_for_every_setting_that_is_not_the_servers(request_):
    declared, servers = REQUESTS[request_]
    asked = request_.model_fields
    assert set(fields(declared)) - servers <= set(asked)
    assert not servers & set(asked)
    for name in set(fields(declared)) - servers:
        default = asked[name].default
        assert (tuple(default) if isinstance(default, list) else default) == fields(declared)[name], name

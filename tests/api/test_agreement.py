"""A notebook gets what the command line gets: the same options with the same defaults, and the same refusals."""

import inspect
from importlib import import_module

import numpy as np
import pytest

import splitplace as sp
from splitplace.cli import COMMANDS
from splitplace.splitting.layerwise import cutting, planner

VERBS = {"data fetch": "fetch", "fleet history": "fleet_history"}
"""Commands that state their options themselves; those of `cli/verb.py` have their verb's own."""
RENAMED = {"applications": "application"}
"""What a command calls by another name: several at once."""
PRINTED = {"json"}
"""How a command shows what it got."""


def command(name):
    """The function behind a command."""
    module, _, attribute = {name: target for name, target, _ in COMMANDS}[name].partition(":")
    return getattr(import_module(module), attribute)


@pytest.mark.parametrize(("name", "verb"), VERBS.items())
def test_every_option_of_a_command_is_an_argument_of_its_verb(name, verb):
    """With the same default, so that neither can do more than the other."""
    takes = inspect.signature(getattr(sp, verb)).parameters
    for option in inspect.signature(command(name)).parameters.values():
        if option.name in PRINTED:
            continue
        argument = takes.get(option.name) or takes[RENAMED[option.name]]
        if option.default is not inspect.Parameter.empty:
            assert str(argument.default) == str(option.default), option.name


def test_there_is_one_default_slack():
    """Of command, verb and room alike."""
    defaults = [inspect.signature(function).parameters["slack"].default for function in (sp.split, cutting.split)]
    assert defaults == [planner.SLACK] * 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sp.train("fashionmnist", strategy="layer"), "unknown strategy to train 'layer'"),
        (lambda: sp.train("fashionmnist", epochs=0), "--epochs 0: expected 1 or more"),
        (lambda: sp.train("fashionmnist", epochs="2"), "--epochs '2': expected a whole number, 1 or more"),
        (lambda: sp.train("fashionmnist", samples=1), "--samples 1: expected 2 or more"),
        (lambda: sp.train("fashionmnist", seed="0"), "--seed '0': expected a whole number, 0 or more"),
        (lambda: sp.train("fashionmnist", strategy="compressed", ratio="0.5"), "--ratio '0.5': expected a number"),
        (lambda: sp.train("fashionmnist", ratio=0.5), "--ratio belongs to --strategy compressed"),
        (lambda: sp.train("fashionmnist", strategy="semantic", tree=(1,)), "tree '1'"),
        (
            lambda: sp.train("fashionmnist", strategy="semantic", tree=(2, 2), groups=[[0, 1], [2, 3]]),
            "lists 2 groups of one level: leave out --tree 2,2",
        ),
        (
            lambda: sp.train("fashionmnist", strategy="semantic", cuts=["blocks3", "blocks5"]),
            "--cuts blocks3,blocks5: got 2, expected 1",
        ),
        (lambda: sp.split(b"", fragments=0), "--fragments 0: expected at least 1"),
        (lambda: sp.split(b"", fragments=2, slack=2.0), "expected a share between 0 and 1"),
        (lambda: sp.split(b"", fragments=2, memory_limit="lots"), "as 67108864, 64MiB or 64MB"),
        (lambda: sp.simulate("random+random", intervals=0), "--intervals 0: expected 1 to 1000000"),
        (lambda: sp.simulate("random+random", seed=-1), "--seed -1: expected 0 or more"),
        (lambda: sp.train_policy(runs=1), "--runs 1: expected 2 to 900"),
        (lambda: sp.mobility_trace("m.parquet", vehicles=0), "--vehicles 0: expected 1 to 500"),
        (lambda: sp.infer("nowhere", np.zeros((1, 2)), micro_batch=0), "expected at least 1 of each"),
        (lambda: sp.infer("nowhere", np.zeros((1, 2)), micro_batch=2.0), "expected at least 1 of each"),
    ],
)
def test_a_function_refuses_what_the_command_refuses(call, message):
    """By the same words, before any work."""
    with pytest.raises(sp.UsageError) as raised:
        call()
    assert message in str(raised.value)

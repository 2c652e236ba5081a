"""Parts by name: what ships, what installed packages offer, and what cannot be loaded."""

import importlib
import re
import sys
import textwrap

import pytest

from splitplace.errors import NotFoundError, UsageError
from splitplace.placement.engines.registry import ENGINES
from splitplace.placement.policy import Composed
from splitplace.placement.registry import DECIDERS, PLACERS, POLICIES, as_policy, parse_policy

pytestmark = pytest.mark.base

THEIRS = """
    from splitplace.placement.deciders.fixed import Layer
    from splitplace.placement.engines.local import LocalEngine
    from splitplace.placement.placers.best_fit import BestFit

    class Mine(Layer):
        name = "mine"

    class Packed(BestFit):
        name = "packed"

    class Both(Layer, BestFit):
        name = "both"

    class Elsewhere(LocalEngine):
        name = "elsewhere"

    class Half:
        name = "half"
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Puts a distribution on the path as an installer leaves it: a module and a dist-info folder."""

    def install(package: str, entries: str, code: str = THEIRS) -> None:
        module = package.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(code), encoding="utf-8")
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(textwrap.dedent(entries), encoding="utf-8")
        importlib.invalidate_caches()
        monkeypatch.delitem(sys.modules, module, raising=False)

    monkeypatch.syspath_prepend(str(tmp_path))
    return install


ENTRIES = """
    [splitplace.deciders]
    mine = their_policies:Mine
    [splitplace.placers]
    packed = their_policies:Packed
    [splitplace.policies]
    both = their_policies:Both
    [splitplace.engines]
    elsewhere = their_policies:Elsewhere
"""


def test_an_installed_package_brings_parts_by_name(installed):
    """A decider and a placer that compose with any, a whole policy, an engine; listed with those that ship."""
    installed("their-policies", ENTRIES)
    for registry, name in ((DECIDERS, "mine"), (PLACERS, "packed"), (POLICIES, "both"), (ENGINES, "elsewhere")):
        assert name in registry.names()
        assert set(registry.shipped) <= set(registry.names())
    policy = parse_policy("mine+packed")
    assert isinstance(policy, Composed)
    assert policy.name == "mine+packed"
    assert parse_policy("mine+random").name == "mine+random"
    assert parse_policy("both").name == "both"
    assert ENGINES.make("elsewhere").name == "elsewhere"
    with pytest.raises(
        NotFoundError,
        match=r"unknown decider 'nobody': expected one of .*, mab-v, mine, mulinucb",
    ):
        parse_policy("nobody+random")
    with pytest.raises(NotFoundError, match=r"placer of .*packed, or one of joint, both, or module:Class"):
        parse_policy("nobody")


def test_a_name_that_ships_means_what_ships(installed):
    """A package cannot take `mab` over, and the list has it once."""
    installed("their-policies", "[splitplace.deciders]\nmab = their_policies:Mine\n")
    assert type(DECIDERS.make("mab")).__name__ == "Mab"
    assert DECIDERS.names().count("mab") == 1


@pytest.mark.parametrize(
    ("target", "code", "said"),
    [
        ("no_such_module:Mine", THEIRS, "cannot be loaded from no_such_module:Mine: ModuleNotFoundError: No module"),
        ("their_policies:Nobody", THEIRS, "cannot be loaded from their_policies:Nobody: AttributeError"),
        ("their_policies:Mine", "raise OSError('first\\nsecond')", "cannot be loaded .* OSError: first second"),
        ("their_policies:Mine", "def Mine(): return 1 / 0", "cannot make decider 'mine' .*: ZeroDivisionError"),
        ("their_policies:Half", THEIRS, "'mine' is no decider: it lacks init, decide, update"),
    ],
)
def test_an_entry_point_that_cannot_be_loaded_is_one_line(installed, target, code, said):
    """Which name, of which package, and why; others are not in its way."""
    installed("their-policies", f"[splitplace.deciders]\nmine = {target}\n", code)
    with pytest.raises(UsageError, match=said) as caught:
        parse_policy("mine+random")
    assert "\n" not in str(caught.value)
    assert parse_policy("layer+random").name == "layer+random"


def test_a_name_that_two_packages_offer_is_refused(installed):
    """Named are both: which one was meant, nobody can tell."""
    installed("their-policies", "[splitplace.placers]\npacked = their_policies:Packed\n")
    installed("other-policies", "[splitplace.placers]\npacked = other_policies:Packed\n")
    with pytest.raises(UsageError, match="placer 'packed' is offered by other-policies and their-policies"):
        parse_policy("layer+packed")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("joint+least-loaded", "'joint+least-loaded': joint decides and places, name it alone"),
        ("mab+joint", "joint decides and places, name it alone"),
        ("their_policies:Mine", "it lacks place, which the other half of a DECIDER+PLACER has"),
        ("their_policies:Packed", "it lacks decide, which the other half of a DECIDER+PLACER has"),
    ],
)
def test_halves_and_wholes_are_told_apart(installed, text, said):
    """What is named where the other is expected is answered with how to name it."""
    installed("their-policies", "")
    with pytest.raises(UsageError, match=re.escape(said)):
        parse_policy(text)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "import sys\nsys.exit('not now')",
            "cannot import 'odd_policy' for policy 'odd_policy:Odd': SystemExit: not now",
        ),
        ("raise GeneratorExit", "cannot import 'odd_policy' for policy 'odd_policy:Odd': GeneratorExit"),
        ("def Odd():\n    raise SystemExit(0)", "cannot make policy 'odd_policy:Odd': SystemExit: 0"),
        (
            "class Odd(Both):\n    clairvoyant = property(lambda self: 1 / 0)",
            "it raises ZeroDivisionError: division by",
        ),
        (
            "class Odd(Both):\n    name = 'two\\nlines'",
            r"has the name 'two\nlines': expected 1 to 256 letters",
        ),
        ("class Odd(Both):\n    name = 'half a \\ud800'", "expected 1 to 256 letters on one line"),
        ("class Odd(Both):\n    name = ''", "has the name '': expected 1 to 256 letters"),
        ("class Odd(Both):\n    name = 'n' * 300", "expected 1 to 256 letters"),
    ],
)
def test_a_module_that_is_no_policy_says_so_in_a_line(installed, monkeypatch, code, said):
    """Whatever it raises, that ends a program too, and whatever it calls itself."""
    installed("their-policies", "")
    installed("odd-policy", "", f"from their_policies import Both\n{code}\n")
    with pytest.raises(UsageError, match=re.escape(said)):
        parse_policy("odd_policy:Odd")


class Nameless:
    """A decider that nothing can be added to."""

    __slots__ = ()

    def init(self, view):
        """Remembers nothing."""

    decide = update = init


@pytest.mark.parametrize(
    ("decider", "said"),
    [
        (Nameless(), "'Nameless' is no decider: it lacks a name that is text"),
        ("layer", "'str' is no decider: it lacks init, decide, update"),
        (type(DECIDERS.make("layer")), r"'Layer' is a class: give what it makes, Layer\(\)"),
        (PLACERS.make("random"), "'RandomPlacer' is no decider: it lacks decide"),
    ],
)
def test_a_composed_policy_of_what_is_no_decider(decider, said):
    """By what it lacks, before a run asks it for anything."""
    with pytest.raises(UsageError, match=said):
        as_policy(Composed(decider, PLACERS.make("random")))


def test_a_function_may_answer_a_composed_policy(tmp_path, monkeypatch):
    """`module:function`, for parts with settings of their own."""
    (tmp_path / "my_settings.py").write_text(
        "from splitplace.placement.policy import Composed\n"
        "from splitplace.placement.deciders.mab import Mab\n"
        "from splitplace.placement.placers.best_fit import BestFit\n"
        "def patient():\n    return Composed(Mab(c=0.1), BestFit())\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    policy = parse_policy("my_settings:patient")
    assert isinstance(policy, Composed)
    assert policy.decider.c == 0.1
    assert policy.name == "mab+best-fit"

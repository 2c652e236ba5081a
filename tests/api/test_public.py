"""The public names: found when they are touched, loaded not before, typed as they are, and each says what it takes."""

import ast
import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import splitplace as sp

HEAVY = ("torch", "onnx", "onnx_ir", "onnxscript", "timm", "pytorch_lightning", "torchvision", "matplotlib", "scipy")
VERBS = [name for name in sp.PUBLIC if sp.PUBLIC[name].startswith("splitplace.api.") and name[0].islower()]
FUNCTIONS = [name for name in sp.PUBLIC if inspect.isfunction(getattr(sp, name))]
CLASSES = [name for name in sp.PUBLIC if inspect.isclass(getattr(sp, name))]
SHAPE = re.compile(r"\((?:n|N|batch)[,)]|\[(?:N|B)[,\]]|\.npy")
UNIT = re.compile(r"[Ss]hare|second|interval|bytes|pixel|core|epoch|0 to 1|[0-9] to [0-9]|as 0\.\d")


def loaded(statement: str) -> set[str]:
    """What a fresh interpreter has loaded after the statement."""
    code = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=300)
    return set(done.stdout.split())


def test_the_package_alone_loads_nothing_that_it_stands_on():
    """Neither torch nor onnx nor onnxruntime, nor numpy and pydantic: seconds are in `bench timings`."""
    assert not loaded("import splitplace") & {*HEAVY, "onnxruntime", "numpy", "pydantic", "zmq", "rich"}


def test_touching_every_verb_loads_neither_torch_nor_onnx():
    """They come in when a verb is called; only then is it known whether they are needed."""
    touched = f"import splitplace as sp\nfor name in {VERBS}: getattr(sp, name)"
    assert not loaded(touched) & set(HEAVY)


def test_what_a_type_checker_sees_is_what_is_there():
    """The imports under TYPE_CHECKING name each public name once, from the module of the table."""
    tree = ast.parse(Path(inspect.getfile(sp)).read_text(encoding="utf-8"))
    ifs = [node for node in tree.body if isinstance(node, ast.If)]
    (guarded,) = (node for node in ifs if ast.unparse(node.test) == "TYPE_CHECKING")
    imports = [node for node in guarded.body if isinstance(node, ast.ImportFrom)]
    seen = [(alias.asname, node.module) for node in imports for alias in node.names]
    assert sorted(seen) == sorted(sp.PUBLIC.items())


def test_every_name_is_there_and_listed():
    """`dir` and `__all__` agree; each comes from its module."""
    assert dir(sp) == sorted(sp.__all__) == sorted(["__version__", *sp.PUBLIC])
    for name, module in sp.PUBLIC.items():
        assert getattr(sp, name) is getattr(import_module(module), name)


def test_a_name_that_is_not_public_is_none():
    """As of any module."""
    with pytest.raises(AttributeError, match="'splitplace' has no attribute 'fly'"):
        sp.fly  # noqa: B018 - the access is what is tried


def test_the_room_export_does_not_hide_the_verb():
    """The import system sets a submodule as an attribute of its package; this one has the name of a function."""
    code = "import splitplace as sp, splitplace.export.catalog_writer\nprint(sp.export.__module__)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "splitplace.api.export"


def sections(name: str) -> dict[str, str]:
    """The docstring by its headings; "" for what stands before the first."""
    parts = re.split(r"^(Args|Returns|Raises):$", inspect.getdoc(getattr(sp, name)) or "", flags=re.MULTILINE)
    return {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))


def described(text: str) -> dict[str, str]:
    """What an Args section says of each argument."""
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", text, flags=re.MULTILINE)
    return {name: " ".join(said.split()) for name, said in found}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_public_function_says_what_it_takes_gives_and_refuses(name):
    """Every argument, what comes back, and the errors; by name, in the order of the signature."""
    function, text = getattr(sp, name), sections(name)
    assert text[""].strip().endswith((".", ":"))
    assert list(described(text.get("Args", ""))) == list(inspect.signature(function).parameters)
    assert text.get("Returns", "").strip() or inspect.signature(function).return_annotation is None
    raised = re.findall(r"^ {4}(\w+): ", text.get("Raises", ""), flags=re.MULTILINE)
    assert raised or (name not in VERBS and "raise " not in inspect.getsource(function))
    assert all(issubclass(getattr(sp, error), sp.SplitPlaceError) for error in raised)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_arrays_have_shapes_and_numbers_units(name):
    """Of an argument that may be an array, its shape; of a real number, its unit or its range."""
    said = described(sections(name).get("Args", ""))
    for argument in inspect.signature(getattr(sp, name)).parameters.values():
        kind = str(argument.annotation)
        if "Callable" in kind:  # `progress`: its type says what it is told
            continue
        if "Array" in kind or "ndarray" in kind:
            assert SHAPE.search(said[argument.name]), argument.name
        if re.search(r"\bfloat\b", kind) and "_s" not in argument.name:
            assert UNIT.search(said[argument.name]), argument.name


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_that_needs_an_extra_says_so(name):
    """Where the source asks for an extra, the docstring names the error."""
    source = inspect.getsource(import_module(sp.PUBLIC[name]))
    if "needs(" in source:
        assert "MissingExtraError" in sections(name).get("Raises", "")


@pytest.mark.parametrize("name", CLASSES)
def test_a_public_class_and_its_methods_say_what_they_are(name):
    """A sentence of its own, not its base's; every public method and property too."""
    found = getattr(sp, name)
    assert found.__doc__ and found.__doc__.strip()[-1] in ".`", name
    for member, value in vars(found).items():
        plain = value.fget if isinstance(value, property) else getattr(value, "func", getattr(value, "__func__", value))
        if inspect.isfunction(plain) and not member.startswith("_"):
            assert (plain.__doc__ or "").strip(), f"{name}.{member}"

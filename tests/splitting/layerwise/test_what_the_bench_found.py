"""What `bench foreign` found: old opsets, weights that no message holds, and rewrites that answered otherwise."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

import splitplace as sp
from splitplace.errors import InfeasibleError, IntegrityError, SplitPlaceError
from splitplace.inference.executor import Array, Executor
from splitplace.splitting.artifact import SplitArtifact
from splitplace.splitting.layerwise import cutting, detached, external, recompose
from splitplace.splitting.layerwise import model as reading

RNG = np.random.default_rng(3)


def graph(body: str, opset: int = 17, x: str = "float[n, 8] x", y: str = "float[n, 4] y", **weights: object) -> bytes:
    """A model in ONNX's text form; a tuple is the shape of random weights, a list whole numbers."""
    made = parser.parse_graph(f"g ({x}) => ({y}) {{ {body} }}")
    for name, value in weights.items():
        if isinstance(value, tuple):
            value = RNG.normal(0, 0.4, value).astype(np.float32)
        array = np.array(value, np.int64) if isinstance(value, list) else np.asarray(value)
        made.initializer.append(numpy_helper.from_array(array, name))
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return model.SerializeToString()


def layers(body: str, opset: int = 17, **weights: object) -> bytes:
    """What makes z of h, between two layers."""
    text = f"a = MatMul (x, first) h = Tanh (a) {body} y = MatMul (z, last)"
    return graph(text, opset, first=(8, 8), last=(8, 4), **weights)


def cut(whole: bytes, fragments: int = 2) -> SplitArtifact:
    """The verified split."""
    return cutting.split(whole, fragments, slack=0.0)


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 16])
def test_a_model_keeps_its_own_opset(opset: int) -> None:
    """Fragments are made of the operators the model came with, shapes taken from the batch in their forms included."""
    mean = "ReduceMean <axes = [1], keepdims = 1> (h)"
    clip = "Clip <min = 0.0, max = 0.4> (m)" if opset < 11 else "Clip (m, low, high)"
    limits = {} if opset < 11 else {"low": np.float32(0), "high": np.float32(0.4)}
    one = "Unsqueeze <axes = [0]> (k)" if opset < 13 else "Unsqueeze (k, zeros)"
    axes = {} if opset < 13 else {"zeros": [0]}
    body = (
        f"n = Shape (x) k = Gather (n, zero) u = {one} s = Concat <axis = 0> (u, eight) r = Reshape (h, s) "
        f"m = {mean} c = {clip} g = Add (r, c) e = Relu (g) b = MatMul (e, first) z = Reshape (b, s)"
    )
    artifact = cut(layers(body, opset, zero=np.array(0), eight=[8], **limits, **axes), 3)
    assert len(artifact.models) == 3
    for data in artifact.models.values():
        assert [entry.version for entry in onnx.load_from_string(data).opset_import if not entry.domain] == [opset]


@pytest.mark.parametrize(
    "body",
    [
        "c = Clip (h, none, fifth) d = Clip (c, half, high) z = Add (d, h)",
        "c = Clip (h, deep, low) r = Relu (c) z = Add (r, h)",
        "p = Max (h, low) q = Min (p, fifth) r = Max (h, deep) s = Min (r, half) z = Add (q, s)",
        "p = Min (h, fifth) q = Min (p, half) r = Min (h, low) s = Min (r, high) z = Add (q, s)",
    ],
)
def test_limits_stay_what_they_are(body: str) -> None:
    """Limits that do not meet, and two pairs of them on one tensor, are joined by no rule."""
    limits = {"none": 0.0, "fifth": 0.2, "half": 0.5, "high": 0.7, "low": -0.1, "deep": -3.0}
    assert len(cut(layers(body, **{name: np.float32(value) for name, value in limits.items()})).models) == 2


@pytest.mark.parametrize("kind", [np.float16, np.int8])
def test_only_float32_is_pulled_into_the_blocked_layout(kind: type) -> None:
    """Narrow numbers are blocked as float32 copies that onnxruntime makes: no convolution of theirs is put before."""
    conv = "Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]>"
    if kind is np.float16:
        body = "f = Cast <to = 10> (x) a = C (f, w) r = Relu (a) b = C (r, w) c = Add (b, r) z = Relu (c) "
        body += "k = Cast <to = 1> (z)"
        weights = {"w": RNG.normal(0, 0.2, (8, 8, 3, 3)).astype(np.float16)}
    else:
        body = (
            "q = QuantizeLinear (x, s, o) d = DequantizeLinear (q, s, o) w = DequantizeLinear (v, t, o) "
            "a = C (d, w) r = Relu (a) e = QuantizeLinear (r, s, o) g = DequantizeLinear (e, s, o) "
            "b = C (g, w) j = QuantizeLinear (b, s, o) i = DequantizeLinear (j, s, o) c = Add (i, g) k = Relu (c)"
        )
        kernel = RNG.integers(-50, 50, (8, 8, 3, 3)).astype(np.int8)
        weights = {"v": kernel, "s": np.float32(0.05), "t": np.float32(0.01), "o": np.int8(0)}
    text = body.replace("C (", f"{conv} (") + " p = GlobalAveragePool (k) l = Flatten (p) y = MatMul (l, last)"
    whole = graph(text, x="float[n, 8, 8, 8] x", last=(8, 4), **weights)
    for count in (2, 3, 4):
        artifact = cut(whole, count)
        for data in artifact.models.values():
            for node in onnx.load_from_string(data).graph.node:
                if node.name.endswith("_anchor"):
                    inputs = {i.name: i.type.tensor_type.elem_type for i in onnx.load_from_string(data).graph.input}
                    assert inputs[node.input[0]] == TensorProto.FLOAT


def test_nodes_in_any_order_are_taken() -> None:
    """Onnxruntime sorts them itself, and its own converter writes them so; a cycle is the checker's to refuse."""
    model = onnx.load_from_string(layers("z = Relu (h)"))
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    assert len(cut(model.SerializeToString()).models) == 2
    model.graph.node[-1].input[0] = "z"
    with pytest.raises(SplitPlaceError, match="sorted"):
        cut(model.SerializeToString())


def test_what_cannot_travel_is_said_of_answers_and_inputs() -> None:
    """A sequence answered, strings taken: the words say what it is."""
    answer = graph("a = MatMul (x, w) y = SequenceConstruct (a, x)", y="seq(float[n, 8]) y", w=(8, 8))
    with pytest.raises(SplitPlaceError, match=r"it answers a sequence .*expected \[batch"):
        cut(answer)
    taken = graph(
        "e = Equal (x, word) f = Cast <to = 1> (e) y = MatMul (f, w)",
        19,
        x="string[n, 2] x",
        word=np.array(["a", "b"], object),
        w=(2, 4),
    )
    with pytest.raises(SplitPlaceError, match=r"input 'x' is string\[batch, 2\], expected \[batch"):
        cut(taken)


def test_statistics_of_a_batch_are_no_constants() -> None:
    """A BatchNormalization left in training is not merged into the layer before: its rows depend on each other."""
    body = "c = Gemm (h, w, b) z, m, v = BatchNormalization <training_mode = 1> (c, s, b, mean, var)"
    whole = layers(body, w=(8, 8), b=(8,), s=(8,), mean=(8,), var=np.arange(1, 9, dtype=np.float32))
    with pytest.raises(IntegrityError, match="no batch of independent samples"):
        cut(whole)


def test_a_model_of_chance_is_refused_for_that() -> None:
    """It answers otherwise each time, so no error of the fragments can be told."""
    with pytest.raises(IntegrityError, match="the whole model answers otherwise each time"):
        cut(layers("r = RandomNormalLike (h) z = Add (h, r)"))


def test_chance_that_first_shows_between_a_batch_and_its_rows_is_called_chance() -> None:
    """Whole and split may draw alike at first, since they begin from the same seed."""
    artifact = cut(layers("z = Neg (h)"))
    runner, drawn = Executor(artifact.split, artifact.models.__getitem__), np.random.default_rng(5)
    asked = iter([0.0, 0.0])

    def whole(inputs: Mapping[str, Array]) -> Array:
        answer = runner.run(dict(inputs), micro_batch=64)
        return answer + drawn.normal(0, next(asked, 1.0), answer.shape).astype(np.float32)

    with pytest.raises(IntegrityError, match="the whole model answers otherwise each time"):
        recompose.check(artifact, whole, {"x": RNG.normal(size=(32, 8)).astype(np.float32)})


def test_an_operator_that_the_checker_infers_wrong_is_cut() -> None:
    """Its inference fails on MeanVarianceNormalization without axes; what matters is that onnxruntime runs it."""
    whole = graph(
        "a = Conv (x, w) r = MeanVarianceNormalization <axes = [1, 2, 3]> (a) p = GlobalMaxPool (r) l = Flatten (p) "
        "y = MatMul (l, last)",
        x="float[n, 3, 8, 8] x",
        w=(8, 3, 3, 3),
        last=(8, 4),
    )
    assert len(cut(whole).models) == 2


def test_rows_of_a_fixed_batch_laid_below_each_other_are_freed() -> None:
    """Targets [6, 8] and [1, 6, 2, -1] of a model made for one sample hold for any, and all answers are right."""
    body = (
        "f = Reshape (x, flat) a = MatMul (f, w) t = Tanh (a) r = Reshape (t, back) "
        "p = Transpose <perm = [0, 2, 1, 3]> (r) "
        "q = Reshape (p, rows) b = MatMul (q, v) y = ReduceMax <axes = [1], keepdims = 0> (b)"
    )
    sizes = {"flat": [6, 8], "back": [1, 6, 2, -1], "rows": [1, -1, 4]}
    whole = graph(body, x="float[1, 6, 8] x", y="float[1, 4] y", w=(8, 8), v=(4, 4), **sizes)
    assert len(cut(whole).models) == 2


def test_a_constant_joined_to_a_fixed_batch_is_joined_to_every_sample() -> None:
    """A class token that the exporter wrote out for the one sample it saw; a constant that differs is left alone."""
    body = (
        "a = MatMul (x, w) t = Tanh (a) c = Concat <axis = 1> (token, t) b = MatMul (c, w) "
        "y = ReduceMax <axes = [1], keepdims = 0> (b)"
    )
    for batch in (1, 2):
        token = np.repeat(RNG.normal(size=(1, 1, 8)).astype(np.float32), batch, axis=0)
        x, y = f"float[{batch}, 6, 8] x", f"float[{batch}, 8] y"
        assert len(cut(graph(body, x=x, y=y, w=(8, 8), token=token)).models) == 2
    token[1] += 1
    with pytest.raises(SplitPlaceError, match="batch is fixed at 2 and its graph depends on it"):
        cut(graph(body, x=x, y=y, w=(8, 8), token=token))


def beside(folder: Path, monkeypatch: pytest.MonkeyPatch, widths: list[int], limit: int = 40_000) -> Path:
    """Layers whose weights lie in another file, and a limit of one message that they are over."""
    for module in (detached, external, cutting, reading):
        monkeypatch.setattr(module, "MAX_MODEL_BYTES", limit)
    monkeypatch.setattr(detached, "LARGE_BYTES", 1000)
    monkeypatch.setattr(external, "LARGE_BYTES", 1000)
    monkeypatch.setattr("splitplace.splitting.layerwise.extract.MAX_MODEL_BYTES", limit)
    names, body, weights = ["x"], "", {}
    for i, width in enumerate(widths[1:]):
        body += f"m{i} = MatMul ({names[-1]}, w{i}) t{i} = Tanh (m{i}) "
        weights[f"w{i}"] = (widths[i], width)
        names.append(f"t{i}")
    body += f"y = Identity ({names[-1]})"
    model = onnx.load_from_string(graph(body, x=f"float[n, {widths[0]}] x", y=f"float[n, {widths[-1]}] y", **weights))
    file = folder / "model.onnx"
    onnx.save(model, file, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return file


def test_a_model_that_no_message_holds_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights stay in their file; every fragment is one message with its own, and together they are the model."""
    file = beside(tmp_path, monkeypatch, [64, 64, 64, 64, 16])
    found = reading.read(file)
    assert isinstance(found, detached.Detached) and len(found.message) < 3000 < 50_000 < found.nbytes
    done = sp.split(file, fragments=3, out=tmp_path / "out", slack=0.0)
    assert len(done.models) == 3 and done.recomposition.max_error < 1e-5
    assert all(len(data) < 40_000 for data in done.models.values())
    assert sum(fragment.params for fragment in done.split.fragments) == 3 * 64 * 64 + 64 * 16


def test_fragments_that_no_message_holds_are_not_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One fragment of all would be over the limit: the limit is said, whatever memory the devices have."""
    file = beside(tmp_path, monkeypatch, [64, 64, 64, 64, 16])
    with pytest.raises(InfeasibleError, match="every fragment is one ONNX file, of at most 40000"):
        sp.split(file, fragments=1)


def test_weights_beyond_the_memory_are_refused_from_their_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line that says how much there is and how much it would take."""
    file = beside(tmp_path, monkeypatch, [64, 64, 64, 64, 16])
    monkeypatch.setattr(external, "COPIES", 10**12)
    with pytest.raises(SplitPlaceError, match=r"bytes of weights: cutting it takes up to .* are free here"):
        reading.read(file)

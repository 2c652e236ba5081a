"""`export`: a run or a split into a catalog, as verified ONNX fragments."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from splitplace.api.checked import checked
from splitplace.api.examples import read_examples
from splitplace.errors import NotFoundError, UsageError, explained
from splitplace.extras import needs
from splitplace.files import check_folder
from splitplace.inference.executor import Array
from splitplace.inference.inputs import image_rule
from splitplace.progress import Progress, silent
from splitplace.records.preprocessing import ImageRule
from splitplace.records.split import Split
from splitplace.splitting.artifact import SplitArtifact

if TYPE_CHECKING:
    from splitplace.training.run import Run


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Args:
        split: The graph, with the contracts of its fragments.
        catalog: Absolute path of the catalog, or of the Triton repository.
        digest: Of the split's image index, which a deployment pins; none in a Triton repository.
        models: Folders of the models, in a Triton repository.
    """

    split: Split
    catalog: Path
    digest: str = ""
    models: tuple[Path, ...] = ()

    @property
    def reference(self) -> str:
        """APP.MODEL.STRATEGY-VARIANT."""
        return self.split.reference

    @property
    def location(self) -> str:
        """CATALOG:REF, as `profile`, `evaluate` and `infer` take it."""
        return f"{self.catalog}:{self.reference}"


@explained()
@checked()
def export(
    source: "str | Path | Run | SplitArtifact",
    catalog: str | Path,
    *,
    check_images: str | Path | Array | None = None,
    precision: Literal["float32", "float16", "int8"] = "float32",
    calibration: str | Path | Array | Mapping[str, Array] | None = None,
    format: Literal["oci", "triton"] = "oci",
    progress: Progress = silent,
) -> Exported:
    """Export a split's fragments as ONNX into a catalog, an OCI image layout.

    Args:
        source: A RUN folder (of `train`) or a SPLIT folder (of `split`). From Python, also the run or split itself.
        catalog: The catalog's folder; created if need be. An earlier split of the same reference is replaced.
        check_images: Real inputs to hold the exported run against its torch source with, at least 32: an .npy file
            (n, ...), image files, or your own images as `train` takes them. From Python, also an array.
        precision: float16 or int8 make a split of its own, `REF-int8`; evaluate it to see what it costs in accuracy.
        calibration: Real inputs that int8 is calibrated on and float16 held against float32 on, at least 32 and not
            held-out ones: an .npy file (n, ...), an .npz file of several inputs, image files, or your own as `train`
            takes them, of which no held-out one is taken. From Python, also an array, or several by name.
        format: triton writes a Triton model repository to the folder of `catalog`, in place of a catalog.
        progress: Told what is being done.

    Returns:
        The split as written, and the digest that pins it: the same source always gives the same one.

    Raises:
        MissingExtraError: A run, and the extras `train` and `export` are not both installed; or another precision, and
            `export` is not.
        UsageError: `source` is neither, `catalog` holds something else, or an option without effect.
        SplitPlaceError: A fragment that does not equal its source, or a disk that is full.
        IntegrityError: A file that is not what its digest says.
    """
    from splitplace.catalog.layout_writer import check_catalog
    from splitplace.export.catalog_writer import CatalogWriter

    if precision != "float32":
        needs(f"precision {precision}", "export", packages=("onnx", "onnx-ir", "onnxscript"))
    folder = Path(catalog)
    if format == "oci":
        check_catalog(folder)
    else:
        check_folder(folder, "--catalog")
    if calibration is not None and precision == "float32":
        raise UsageError("--calibration: for --precision float16 and int8 only, float32 is converted to nothing")
    artifact = _artifact(source, check_images, progress)
    if precision != "float32":
        from splitplace.export.convert.precision import with_precision

        progress(f"converting to {precision}", 0.6)
        split = artifact.split
        given = read_examples(calibration, lambda: image_rule(split), split.application)
        artifact = with_precision(artifact, precision, given)
    progress(f"writing {artifact.split.reference}", 0.9)
    if format == "triton":
        from splitplace.export.convert.triton import write_triton

        models = tuple(model.absolute() for model in write_triton(artifact, folder))
        return Exported(artifact.split, folder.absolute(), models=models)
    digest = CatalogWriter(folder).write(artifact)
    return Exported(artifact.split, folder.absolute(), digest)


def _artifact(
    source: "str | Path | Run | SplitArtifact", check_images: str | Path | Array | None, progress: Progress
) -> SplitArtifact:
    from splitplace.records.split_document import SPLIT_FILE
    from splitplace.splitting.split_folder import read_split

    if isinstance(source, SplitArtifact):
        return source
    if isinstance(source, str | Path) and (Path(source) / SPLIT_FILE).exists():
        if check_images is not None:
            raise UsageError("--check-images: a SPLIT was held against its whole when it was made; for a RUN only")
        return read_split(Path(source))
    if isinstance(source, str | Path) and not Path(source).is_dir():
        if Path(source).is_file():
            raise UsageError(
                f"{source} is a file: cut it first, by `splitplace split {source} --fragments K --out DIR`"
            )
        raise NotFoundError(f"no folder {source}: expected a RUN or SPLIT folder")
    needs("exporting a RUN", "train", "export")
    from splitplace.export.convert.onnx_export import to_onnx
    from splitplace.training.run import Run

    if not isinstance(source, str | Path | Run):
        raise UsageError(f"source of {type(source).__name__}: expected a run or a split, or the folder of one")
    run = Run.open(Path(source)) if isinstance(source, str | Path) else source
    progress(f"exporting {run.path}", 0.0)
    loaded = run.load()
    given = read_examples(check_images, lambda: _image_rule(run), loaded.application)
    if isinstance(given, Mapping):
        raise UsageError("--check-images: got several by name, a RUN takes one input: give one array (.npy)")
    if not isinstance(given, np.ndarray | None):
        raise UsageError(f"--check-images of {type(given).__name__}: expected a numpy array (n, ...)")
    return to_onnx(loaded, given)


def _image_rule(run: "Run") -> ImageRule:
    rule = run.config.image_rule
    if rule is None:
        raise UsageError(
            f"{run.path} takes {run.config.input_spec.shape[1]} channels, no image file has: give an .npy file"
        )
    return rule

"""Writes and calls exported policies: ONNX, and programs of `torch.export`."""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.export import Dim, ExportedProgram

from gala_rl.app.exported_policy import ExportedPolicy
from gala_rl.app.preflight import ExportFormat
from gala_rl.errors import UserError
from gala_rl.imports import describe

Call = Callable[[Sequence[NDArray[Any]]], list[NDArray[Any]]]
"""From the inputs of an exported policy to its outputs."""


def write(
    policy: ExportedPolicy,
    examples: tuple[Tensor, ...],
    format: ExportFormat,
    about: Mapping[str, Any],
    file: Path,
) -> None:
    """Export a policy for any number of observations.

    Args:
        policy: in eval mode.
        examples: inputs, at least two rows.
        format: of the file.
        about: what was exported, for the file's metadata.
        file: file to write.

    Raises:
        UserError: when the exporter cannot take the policy.
        OSError: when the file cannot be written.
    """
    rows = Dim("N", min=1)
    shapes = tuple({0: rows} for _ in examples)
    try:
        with _quiet():
            program = torch.export.export(policy, examples, dynamic_shapes=shapes)
            if format == "torch":
                metadata = {"about.json": json.dumps(about)}
                torch.export.save(program, file, extra_files=metadata)
            else:
                _write_onnx(policy, program, about, file)
    except (OSError, KeyboardInterrupt):
        raise
    except Exception as error:  # An exporter may raise anything.
        raise UserError(
            f"observations {[*examples[0].shape[1:]]} of {about['env']!r} cannot be exported as "
            f"{format}: {describe(error)}"
        ) from error


def _write_onnx(
    policy: ExportedPolicy, program: ExportedProgram, about: Mapping[str, Any], file: Path
) -> None:
    exported = torch.onnx.export(
        program,
        input_names=policy.input_names,
        output_names=policy.output_names,
        dynamo=True,
        verbose=False,
    )
    assert exported is not None
    exported.model.metadata_props.update({name: str(value) for name, value in about.items()})
    exported.save(file)


def load(file: Path, format: ExportFormat) -> Call:
    """Return the function that an exported policy is."""
    if format == "torch":
        with _quiet():
            module = torch.export.load(file).module()

        @torch.no_grad()
        def call(inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
            return [tensor.numpy() for tensor in module(*map(torch.from_numpy, inputs))]

        return call
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]

    def run(inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        outputs = session.run(None, dict(zip(names, inputs, strict=True)))
        return [np.asarray(output) for output in outputs]

    return run


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop what exporters print and warn of."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            with redirect_stderr(io.StringIO()):
                yield
    finally:
        logging.disable(level)

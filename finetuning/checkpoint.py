"""Fine-tune a checkpoint into a checkpoint."""

from __future__ import annotations

from pathlib import Path

from lightning_fabric import Fabric

from daq_deploy.config import DaqConfig
from daq_deploy.errors import CheckFailed, CheckpointError, OptionError
from daq_deploy.exporters.architectures.base import Undetectable
from daq_deploy.exporters.checkpoint import SUFFIXES, save_fine_tuned
from daq_deploy.exporters.registry import load_network
from daq_deploy.files import atomic_write, check_output

from .finetune import FineTuned, Listener, NotFinite, finetune
from .options import TrainingOptions


def state_path_of(output: Path) -> Path:
    """Return where the state of a run that writes `output` is saved."""
    return output.with_name(f"{output.stem}.state.pt")


def finetune_checkpoint(
    checkpoint: Path,
    config: DaqConfig,
    data: Path,
    output: Path,
    *,
    res_scale: float = 1.0,
    value_range: float | None = None,
    options: TrainingOptions | None = None,
    validation: Path | None = None,
    resume: bool = False,
    force: bool = False,
    log: Path | None = None,
    fabric: Fabric | None = None,
    listener: Listener | None = None,
) -> FineTuned:
    """Fine-tune the network of a checkpoint, and write one that `export` makes a DAQ file of.

    Args:
        checkpoint: .pt, .pth or .safetensors, of an architecture that `export` knows.
        config: as for `finetune`, like the arguments that are not explained here.
        data: folder of high-resolution pictures.
        output: .pt, .pth or .safetensors; the state of the run is `<stem>.state.pt` beside it until the run is done.
        res_scale: residual scaling of EDSR, which no checkpoint shows.
        value_range: largest pixel value of input and output; None takes what the architecture's code uses.
        options: of the training.
        validation: pictures as for `evaluate`.
        resume: go on from the state of a run that was stopped.
        force: overwrite the output, and the state of a run that was stopped.
        log: folder for TensorBoard's curves.
        fabric: launched; None is one process on the CPU.
        listener: told how it goes.

    Raises:
        OutputExistsError, CheckpointError, OptionError: as they say.
        CheckFailed: the loss was not finite; the output holds the best weights before that.
    """
    if output.suffix not in SUFFIXES:
        raise OptionError(f"--output {output}: name a file ending in {', '.join(SUFFIXES)}")
    check_output(output, force)
    state_path = state_path_of(output)
    if state_path.exists() and not (resume or force):
        raise OptionError(f"{state_path}: a run to {output} was stopped; --resume goes on with it, --force starts anew")
    network = load_network(checkpoint, Undetectable(res_scale, value_range))
    failure: CheckFailed | None = None
    try:
        result = finetune(
            network.module,
            config,
            data,
            state_path,
            value_range=network.description.value_range,
            res_scale=float(network.description.parameters.get("res_scale", 1.0)),
            options=options,
            validation=validation,
            resume=resume,
            log=log,
            fabric=fabric,
            listener=listener,
        )
    except CheckpointError as error:
        raise CheckpointError(f"{checkpoint}: {error}") from error
    except NotFinite as error:
        result, failure = error.best, CheckFailed(f"{error}; {output} holds the best weights before")
    if fabric is None or fabric.is_global_zero:
        with atomic_write(output, force) as temporary:
            save_fine_tuned(temporary, result.module.state_dict(), result.trained)
    if failure is not None:
        raise failure
    return result


__all__ = ["finetune_checkpoint", "state_path_of"]

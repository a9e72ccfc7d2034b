"""What the network tells about its weights and ranges when it is run on a few pictures, without any training."""

from .calibrate import calibrate
from .calibration import CalibratedLayer, Calibration, Progress
from .feedback import choose_feedback
from .felt_errors import FeltErrors
from .images import (
    calibration_mosaics,
    drawn_picture,
    held_out_pictures,
    mosaics_of_weights,
    synthetic_mosaics,
)
from .mixed_channels import mix_channel_bits
from .mixed_weights import mix_weight_bits
from .outliers import without_outliers
from .sensitivity import PICTURES, OutputSensitivity
from .tails import choose_tails, choose_tails_with_feedback

__all__ = [
    "PICTURES",
    "CalibratedLayer",
    "Calibration",
    "FeltErrors",
    "OutputSensitivity",
    "Progress",
    "calibrate",
    "calibration_mosaics",
    "choose_feedback",
    "choose_tails",
    "choose_tails_with_feedback",
    "drawn_picture",
    "held_out_pictures",
    "mix_channel_bits",
    "mix_weight_bits",
    "mosaics_of_weights",
    "synthetic_mosaics",
    "without_outliers",
]

"""The settings of a training, and the sizes that follow from the model."""

from dataclasses import dataclass

from samfleet.sam.model import TINY_INPUT_SIZE, TINY_PATCH_SIZE

GRID = TINY_INPUT_SIZE // TINY_PATCH_SIZE
MASK_SCALE = 4  # mask pixels along one side of a patch, as in the decoder of SAM
MASK_STRIDE = TINY_PATCH_SIZE // MASK_SCALE


@dataclass(frozen=True)
class TrainingSettings:
    """How long to train, and on what.

    Args:
        small_steps: Steps on crops of 16 × 16 patches.
        steps: Steps on crops of 32 × 32 patches after these.
        full_steps: Steps on whole frames after these.
        rounds: How often all of these steps are repeated.
        crops: Small crops per step; there are half as many larger ones, a quarter of whole frames.
        prompts: Prompts per crop; a whole frame has twice as many.
        synthetic: Fraction of synthetic images, 0 to 1.
        learning_rate: Peak of the schedule (see `learning_rate`).
        sam_rate: That of SAM's own layers, as a part of the map decoder's.
        weight_decay: Weight decay of AdamW.
        freeze_encoder: Leave the image encoder as it is.
        average: Decay of the moving average of the weights, which is what is written.
        seed: Seed of all random numbers.

    Raises:
        ValueError: if a value is out of range.
    """

    small_steps: int = 6000
    steps: int = 2800
    full_steps: int = 300
    rounds: int = 2
    crops: int = 4
    prompts: int = 24
    synthetic: float = 0.35
    learning_rate: float = 1e-3
    sam_rate: float = 1.0
    weight_decay: float = 0.02
    freeze_encoder: bool = False
    average: float = 0.995
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.small_steps, self.steps, self.full_steps, self.rounds) < 0 or self.total < 1:
            raise ValueError(
                "there must be at least one step, and no number of steps may be negative"
            )
        if self.crops < 1 or self.prompts < 2:
            raise ValueError("a step needs at least one crop with two prompts")
        if not 0 <= self.synthetic <= 1 or not 0 <= self.average < 1:
            raise ValueError("synthetic must be in 0 to 1, and average at least 0 and below 1")
        if self.learning_rate <= 0 or min(self.sam_rate, self.weight_decay) < 0:
            raise ValueError(
                "learning_rate must be positive, and sam_rate and weight_decay must not be negative"
            )

    @property
    def total(self) -> int:
        """Number of all steps."""
        return self.rounds * self.round_steps

    @property
    def round_steps(self) -> int:
        """Number of steps of one round."""
        return self.small_steps + self.steps + self.full_steps

    def size(self, step: int) -> tuple[int, int]:
        """The number of crops in a step, and of patches along one side of a crop."""
        step %= self.round_steps
        if step < self.small_steps:
            return self.crops, GRID // 4
        if step < self.small_steps + self.steps:
            return max(1, self.crops // 2), GRID // 2
        return max(1, self.crops // 4), GRID

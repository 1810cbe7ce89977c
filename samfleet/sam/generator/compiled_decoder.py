"""The fast decoder as compiled code, whose kernels are fewer and larger.

What is compiled is the transformer and the upscaling, for any number of prompts. Compiling takes seconds to a minute,
once for each device, version of torch and precision: the code is kept in a folder.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from segment_anything.modeling import Sam
from torch._dynamo.exc import TorchDynamoException

from samfleet.sam.generator.fast_decoder import FastDecoder

Result = TypeVar("Result")

logger = logging.getLogger(__name__)


class CompiledDecoder(FastDecoder):
    """Like ``FastDecoder``, except for rounding. Where nothing can be compiled, it is one, with a warning.

    Args:
        sam, multimask: as for ``Decoder``.
        backend: of ``torch.compile``.
    """

    def __init__(self, sam: Sam, multimask: bool = True, backend: str = "inductor"):
        super().__init__(sam, multimask)
        self._works = True
        # one graph each: what falls into pieces gains little
        compiled = partial(torch.compile, fullgraph=True, backend=backend)
        self._compiled: dict[Callable, Callable] = {each: compiled(each) for each in _COMPILED}

    def _transform(self, embedded: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self._run(FastDecoder._transform, embedded)

    def _masks(self, tokens: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        return self._run(FastDecoder._masks, tokens, image)

    def _run(self, function: Callable[..., Result], *values: torch.Tensor) -> Result:
        # none and one would each have code of their own
        if not self._works or len(values[0]) < 2:
            return function(self, *values)
        # one code for all: of any number of prompts, whatever they were cut from
        given = [each.contiguous() for each in values]
        for each in given:
            torch._dynamo.maybe_mark_dynamic(each, 0)
        try:
            result: Result = self._compiled[function](self, *given)
            return result
        except TorchDynamoException as error:
            logger.warning(
                "the decoder runs as it is, since it cannot be compiled: %s", _why(error)
            )
            self._works = False
        return function(self, *values)


_COMPILED = (FastDecoder._transform, FastDecoder._masks)


def _why(error: Exception) -> str:
    """What torch says first; advice to its developers follows."""
    return " ".join(str(error).split("\n\n")[0].split())

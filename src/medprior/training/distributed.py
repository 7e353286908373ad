"""Several processes as one run: a no-op when alone, so that nothing else knows of ranks.

``torchrun`` and ``accelerate launch`` set WORLD_SIZE, RANK and LOCAL_RANK; without them this process is alone
and accelerate is never imported.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import MedpriorError, optional
from ..io.disk.files import locked

__all__ = ["ManyProcesses", "OneProcess", "Ranks", "is_distributed", "ranks_for"]


class Ranks(ABC):
    """rank: of this process, 0 is the one that writes. count: of processes. device: where this one
    computes.
    """

    rank: int
    count: int
    device: str

    @abstractmethod
    def wrap(self, net: nn.Module) -> nn.Module:
        """The network whose backward pass averages gradients over all ranks."""

    @abstractmethod
    def backward(self, loss: Tensor) -> None:
        """Gradients, averaged over all ranks."""

    @abstractmethod
    def mean(self, values: list[float]) -> list[float]:
        """Each value's mean over the ranks, the same numbers on each of them."""

    @abstractmethod
    def wait(self) -> None:
        """Until all are here."""

    @abstractmethod
    def leave(self) -> None:
        """The end of the run: all are done, and the processes part."""

    def lock(self, folder: Path) -> AbstractContextManager[None]:
        """The folder's lock, held by the rank that writes."""
        return locked(folder) if self.rank == 0 else nullcontext()


class OneProcess(Ranks):
    """One process."""

    def __init__(self, device: str) -> None:
        self.rank, self.count, self.device = 0, 1, device

    def wrap(self, net: nn.Module) -> nn.Module:
        return net

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def mean(self, values: list[float]) -> list[float]:
        return values

    def wait(self) -> None:
        pass

    def leave(self) -> None:
        pass


class ManyProcesses(Ranks):
    """Data-parallel processes through Accelerate: gloo on CPUs, NCCL on GPUs."""

    def __init__(self, device: str) -> None:
        optional("accelerate", "distributed", "training in several processes")
        from accelerate import Accelerator

        self.accelerator = Accelerator(cpu=device == "cpu")
        self.rank, self.count = self.accelerator.process_index, self.accelerator.num_processes
        # Accelerate numbers CPUs, too ("cpu:0"); to the loop any of them is the CPU, whose batches are those
        # of a process alone
        self.device = "cpu" if self.accelerator.device.type == "cpu" else str(self.accelerator.device)

    def wrap(self, net: nn.Module) -> nn.Module:
        return self.accelerator.prepare_model(net)

    def backward(self, loss: Tensor) -> None:
        with _together(self.rank):
            loss.backward()

    def mean(self, values: list[float]) -> list[float]:
        with _together(self.rank):
            found = self.accelerator.reduce(
                torch.tensor(values, dtype=torch.float32, device=self.device), "mean"
            )
        return torch.as_tensor(found).tolist()

    def wait(self) -> None:
        with _together(self.rank):
            self.accelerator.wait_for_everyone()

    def leave(self) -> None:
        self.wait()
        self.accelerator.end_training()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


@contextmanager
def _together(rank: int) -> Iterator[None]:
    """Says in our words that another rank is gone; any other error passes as it is."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.distributed.DistError) or "gloo" in str(error).lower():
            remedy = "see its own message; the same command continues from the last checkpoint"
            raise MedpriorError(
                f"rank {rank}: another process of this run has died or hangs", remedy
            ) from error
        raise


def ranks_for(device: str) -> Ranks:
    """What the environment asks for."""
    return ManyProcesses(device) if is_distributed() else OneProcess(device)


def is_distributed() -> bool:
    """This process is one of many, by what torchrun or ``accelerate launch`` has set."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1

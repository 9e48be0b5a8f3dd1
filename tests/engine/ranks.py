"""Several processes that are one gloo group, for tests of what happens on many devices."""

import os
import time

import torch
import torch.distributed as dist
from torch.multiprocessing import start_processes


def run_ranks(work, folder, world=2, seconds=120):
    """Run ``work(rank)`` in forked processes and return what each gives.

    Forked, not spawned: importing the libraries anew takes longer than all that is tested.
    """
    folder.mkdir(parents=True, exist_ok=True)
    context = start_processes(_rank, (work, folder, world), nprocs=world, join=False, start_method='fork')
    deadline = time.monotonic() + seconds
    while not context.join(timeout=5):
        if time.monotonic() > deadline:
            for process in context.processes:
                process.kill()
            raise TimeoutError(f'{world} processes did not end within {seconds} s: do they wait for each other?')
    return [torch.load(folder / f'{rank}.pth', weights_only=False) for rank in range(world)]


def _rank(rank, work, folder, world):
    torch.set_num_threads(1)
    # What torch.distributed.run gives its processes, for what is launched in them.
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world))
    dist.init_process_group('gloo', init_method=f'file://{folder}/group', rank=rank, world_size=world)
    torch.save(work(rank), folder / f'{rank}.pth')
    dist.barrier()
    dist.destroy_process_group()

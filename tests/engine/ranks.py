"""Several processes that are one gloo group, for tests of what happens on many devices."""

import os
import signal
import time
import traceback
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.multiprocessing import start_processes

from ..soak.killing import output_to

# What never comes is ended by the limit of every test, and not before by a collective's.
NEVER = timedelta(hours=1)

# Of an expansion on a CPU: its backward pass by branch, or joint.
WRAPPERS = [
    dict(type='BranchDataParallel'),
    dict(type='MMDistributedDataParallel', broadcast_buffers=False, device_ids=None),
]


def run_ranks(work, folder, world=2):
    """Run ``work(rank)`` in forked processes and return what each gives.

    Forked, not spawned: importing the libraries anew takes longer than all that is tested.
    """
    folder.mkdir(parents=True, exist_ok=True)
    context = start_processes(_rank, (work, folder, world), nprocs=world, join=False, start_method='fork')
    try:
        while not context.join():
            pass
    finally:
        for process in context.processes:
            process.kill()
    return [torch.load(folder / f'{rank}.pth', weights_only=False) for rank in range(world)]


def _rank(rank, work, folder, world):
    torch.set_num_threads(1)
    join_group(rank, folder, world)
    torch.save(work(rank), folder / f'{rank}.pth')
    dist.barrier()
    dist.destroy_process_group()


def join_group(rank, folder, world):
    # What torch.distributed.run gives its processes, for what is launched in them.
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world))
    dist.init_process_group('gloo', timeout=NEVER, init_method=f'file://{folder}/group', rank=rank, world_size=world)


def exit_statuses(work, folder, world=2):
    """Run ``work(rank)`` in forked processes, some of which may die; return the exit status of each.

    What a rank says is in ``<folder>/<rank>.txt``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    children = {rank: os.fork() or _exit_with(work, rank, folder, world) for rank in range(world)}
    statuses = {}
    try:
        while children:
            # Whichever ends first is gone at once: others may wait for that.
            for rank, child in list(children.items()):
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:
                    statuses[rank] = os.waitstatus_to_exitcode(status)
                    del children[rank]
            time.sleep(0.01)
    finally:
        for child in children.values():
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return [statuses[rank] for rank in range(world)]


def _exit_with(work, rank, folder, world):
    status = 99
    try:
        output_to(folder / f'{rank}.txt')
        torch.set_num_threads(1)
        join_group(rank, folder, world)
        status = work(rank)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)

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
    join_group(rank, folder, world)
    torch.save(work(rank), folder / f'{rank}.pth')
    dist.barrier()
    dist.destroy_process_group()


def join_group(rank, folder, world, seconds=120):
    # What torch.distributed.run gives its processes, for what is launched in them.
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world))
    group = dict(init_method=f'file://{folder}/group', rank=rank, world_size=world)
    dist.init_process_group('gloo', timeout=timedelta(seconds=seconds), **group)


def exit_statuses(work, folder, world=2, seconds=120):
    """Run ``work(rank)`` in forked processes, some of which may die; return the exit status of each.

    What a rank says is in ``<folder>/<rank>.txt``. A rank that does not end by itself has status ``None``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    children = [os.fork() or _exit_with(work, rank, folder, world) for rank in range(world)]
    statuses, deadline = {}, time.monotonic() + seconds
    while len(statuses) < world and time.monotonic() < deadline:
        for rank, child in enumerate(children):
            if rank not in statuses and (ended := os.waitpid(child, os.WNOHANG))[0]:
                statuses[rank] = os.waitstatus_to_exitcode(ended[1])
        time.sleep(0.01)
    for rank in range(world):
        if rank not in statuses:
            os.kill(children[rank], signal.SIGKILL)
            os.waitpid(children[rank], 0)
    return [statuses.get(rank) for rank in range(world)]


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

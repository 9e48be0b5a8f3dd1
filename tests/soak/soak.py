"""Kill trainings at random, resume them, and compare their ends with that of a training that was never stopped."""

import random
import shutil
import time

from .killing import Kill, in_process
from .trainings import differences, outcome, train, write_teacher

# Of a training of 8 steps with 4 checkpoints and 4 best ones, as counted.
OPERATIONS = 110
MOST_IN_A_ROW = 4


class Soak:
    """Trainings of one stage under kill.

    Args:
        stage: ``'expansion'`` or ``'squeeze'``.
        folder: where they are; what survives is deleted.
        seed: of the moments. Defaults to 0.
    """

    def __init__(self, stage, folder, seed=0):
        self.stage, self.folder, self.random = stage, folder, random.Random(seed)
        write_teacher(folder)
        start = time.monotonic()
        assert in_process(lambda: train(stage, folder / 'straight'), errors=folder / 'straight.txt')
        self.seconds = time.monotonic() - start
        self.straight = outcome(folder / 'straight')
        self.tried, self.survived, self.failures = 0, 0, []

    def run(self, kills, report=print):
        """Kill so many times, and report after every training that was brought to its end."""
        trial = 0
        while self.tried < kills:
            trial += 1
            dealt, found = self.one_training(f'trial_{trial}', min(kills - self.tried, MOST_IN_A_ROW))
            self.tried += len(dealt)
            self.survived += 0 if found else len(dealt)
            if found:
                self.failures.append((dealt, found))
            report(
                f'{self.stage}: survived {self.survived} / tried {self.tried} of {kills}: {self._story(dealt, found)}'
            )
        return not self.failures

    def one_training(self, name, most):
        """Kill one training up to ``most`` times, let it end, and name what differs from the one never stopped."""
        folder, dealt = self.folder / name, []
        for _ in range(self.random.randint(1, most)):
            kill = self._kill()
            if in_process(self._resumed(folder), kill, errors=self.folder / f'{name}.txt'):
                break
            dealt.append(str(kill))
        try:
            in_process(self._resumed(folder), errors=self.folder / f'{name}.txt')
            found = differences(self.straight, outcome(folder)) + _left_over(folder)
        except AssertionError as error:
            found = [str(error)]
        if not found:
            shutil.rmtree(folder)
        return dealt, found

    def _resumed(self, folder):
        return lambda: train(self.stage, folder, resume=True)

    def _kill(self):
        if self.random.random() < 0.5:
            return Kill(seconds=self.random.uniform(0.05, self.seconds))
        return Kill(operation=self.random.randint(1, OPERATIONS))

    @staticmethod
    def _story(dealt, found):
        how = 'killed ' + ', then '.join(dealt) if dealt else 'ended before it was killed'
        return f'{how}; differs: {"; ".join(found)[:500]}' if found else how


def _left_over(folder):
    """Name the checkpoints that should not be there any more, or are missing."""
    names = {path.name for path in folder.iterdir() if path.is_file() and path.suffix != '.py'}
    expected = {'iter_6.pth', 'iter_8.pth', 'best_sources_mean_iter_8.pth', 'last_checkpoint', 'run.json'}
    return [f'files {sorted(names)}, expected {sorted(expected)}'] if names != expected else []

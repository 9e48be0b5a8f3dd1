"""No line of the package or its tools executes the content of files, except those listed with a reason."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted([*(ROOT / 'xlearner_mm').rglob('*.py'), *(ROOT / 'tools').rglob('*.py')])

UNSAFE = {
    'torch.load', 'torch.jit.load', 'torch.hub.load', 'torch.package.PackageImporter', 'pickle.load', 'pickle.loads',
    'pickle.Unpickler', 'np.load', 'numpy.load', 'joblib.load', 'yaml.load', 'yaml.unsafe_load', 'marshal.load',
    'marshal.loads', 'shelve.open', 'eval', 'exec', 'compile', 'os.system', 'load_checkpoint', '_load_checkpoint',
    '_load_checkpoint_with_prefix', 'CheckpointLoader.load_checkpoint', 'mmengine.load',
    'load_state_dict_from_url', 'torch.hub.load_state_dict_from_url', 'model_zoo.load_url',
}  # fmt: skip
"""Calls that execute what they read, or that do unless they are told not to."""
TOLD_NOT_TO = {'torch.load': ('weights_only', True), 'np.load': ('allow_pickle', False)}
ALLOWED = {
    ('xlearner_mm/datasets/annotation_cache.py', 'pickle.loads'): 'what MMEngine has serialized in this process',
    ('xlearner_mm/datasets/shared_annotations.py', 'pickle.loads'): 'memory of another process of the same training',
    ('xlearner_mm/mini/material.py', 'np.load'): 'an array that scikit-image carries; not pickled by default',
}
"""``(file, call)`` -> why it may."""


def unsafe_calls(text):
    """Return name and line of every call in a module that may execute what it reads."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and (name := ast.unparse(node.func)) in UNSAFE:
            told = TOLD_NOT_TO.get(name)
            keywords = {k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)}
            if told is None or keywords.get(told[0]) is not told[1]:
                yield name, node.lineno
        if isinstance(node, ast.Call) and any(
            k.arg == 'shell' and getattr(k.value, 'value', None) is not False for k in node.keywords
        ):
            yield f'{ast.unparse(node.func)} with a shell', node.lineno


def test_no_call_executes_file_content():
    found = [
        f'{file.relative_to(ROOT)}:{line}: {name}'
        for file in FILES
        for name, line in unsafe_calls(file.read_text(encoding='utf-8'))
        if (str(file.relative_to(ROOT)), name) not in ALLOWED
    ]
    assert found == []


def test_every_exception_is_still_there():
    for file, name in ALLOWED:
        assert name in {found for found, _ in unsafe_calls((ROOT / file).read_text(encoding='utf-8'))}


@pytest.mark.parametrize(
    'line',
    [
        'torch.load(path)',
        'torch.load(path, weights_only=False)',
        'torch.load(path, weights_only=trusted)',
        'np.load(path)',
        'np.load(path, allow_pickle=True)',
        'pickle.loads(data)',
        'eval(text)',
        'load_checkpoint(model, path)',
        "subprocess.run('ls', shell=True)",
    ],
)
def test_each_executing_call_is_detected(line):
    assert list(unsafe_calls(line))


@pytest.mark.parametrize(
    'line',
    ['torch.load(path, weights_only=True)', 'np.load(path, allow_pickle=False)', 'model.eval()', 're.compile(x)'],
)
def test_calls_that_execute_nothing_are_accepted(line):
    assert not list(unsafe_calls(line))

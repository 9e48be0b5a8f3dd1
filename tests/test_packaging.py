"""Wheels and editable installations carry configs and tools where OpenMMLab looks for them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COPIED = ('LICENSE', 'MANIFEST.in', 'README.md', 'model-index.yml', 'pyproject.toml', 'setup.py')
TREES = ('configs', 'tools', 'xlearner_mm')


@pytest.fixture(scope='module')
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository to build in."""
    copy = tmp_path_factory.mktemp('tree')
    for name in COPIED:
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, copy)
    for name in TREES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns('.mim', '__pycache__'))
    return copy


def build(tree: Path, hook: str, target: Path) -> Path:
    """Builds a distribution as pip would, without its isolated environment."""
    code = f'import setuptools.build_meta as b; print("\\n" + b.{hook}({str(target)!r}))'
    result = subprocess.run([sys.executable, '-c', code], cwd=tree, check=True, capture_output=True, text=True)
    return target / result.stdout.split()[-1]


@pytest.fixture(scope='module')
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tree, 'build_wheel', tmp_path_factory.mktemp('wheel'))


def files_below(folder: Path) -> set[str]:
    files = (path for path in folder.rglob('*') if path.is_file())
    return {str(path.relative_to(folder.parent)) for path in files}


def test_a_wheel_carries_package_configs_and_tools_and_nothing_else(tree, wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if '.dist-info/' not in name}
    extras = {
        f'xlearner_mm/.mim/{name}'
        for name in files_below(tree / 'configs') | files_below(tree / 'tools') | {'model-index.yml'}
    }
    assert names == files_below(tree / 'xlearner_mm') - {'xlearner_mm/.mim'} | extras


def test_a_wheel_can_be_built_from_the_source_distribution(tree, tmp_path):
    with tarfile.open(build(tree, 'build_sdist', tmp_path)) as archive:
        archive.extractall(tmp_path / 'unpacked', filter='data')
    (source,) = (tmp_path / 'unpacked').iterdir()
    from_source = build(source, 'build_wheel', tmp_path)
    with zipfile.ZipFile(from_source) as archive:
        names = set(archive.namelist())
    assert {
        'xlearner_mm/.mim/tools/train.py',
        'xlearner_mm/py.typed',
        'xlearner_mm/report/paper_tables.yml',
    } <= names


def test_an_editable_installation_links_to_the_working_tree(tree, tmp_path):
    build(tree, 'build_editable', tmp_path)
    mim = tree / 'xlearner_mm' / '.mim'
    assert {path.name for path in mim.iterdir()} == {'configs', 'model-index.yml', 'tools'}
    assert (mim / 'configs').resolve() == (tree / 'configs').resolve()
    assert not (mim / 'configs').readlink().is_absolute()


def test_mm_packages_are_not_requirements(wheel):
    # pip would install them over the ones of another name that a user has.
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith('/METADATA'))
        text = archive.read(metadata).decode()
    required = [line for line in text.splitlines() if line.startswith('Requires-Dist: ')]
    assert required
    assert not any(line.split()[1].startswith(('mm', 'onedl')) for line in required)


def test_the_installed_package_is_imported_without_what_only_pruning_needs_and_its_configs_are_found(tmp_path):
    config = tmp_path / 'config.py'
    config.write_text("_base_ = 'xlearner_mm::_base_/default_runtime.py'\n")
    code = (
        "import sys; sys.modules['torch_pruning'] = None; import xlearner_mm\n"
        f'from mmengine.config import Config; print(Config.fromfile({str(config)!r}).default_scope)'
    )
    result = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr

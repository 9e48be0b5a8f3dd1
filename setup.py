"""Installs the package; editable installs and wheels carry configs and tools, as mim wants."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PACKAGE = 'xlearner_mm'
# OpenMMLab's habit: these lie in `<package>/.mim`, so that mim's commands find the tools and
# `_base_ = 'xlearner_mm::...'` finds the configs of an installed package.
MIM_CONTENT = ('configs', 'tools', 'model-index.yml')


class BuildWithMim(build_py):
    """Adds `.mim`: links to the working tree for an editable installation, copies for a wheel."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            link_mim(ROOT / PACKAGE / '.mim')
        else:
            for source, target in self.mim_files().items():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)

    def mim_files(self) -> dict[Path, Path]:
        """Maps each file of `.mim` to its place under the build directory."""
        target_root = Path(self.build_lib, PACKAGE, '.mim')
        return {ROOT / name: target_root / name for name in list_mim_files()}

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs = super().get_outputs(include_bytecode)
        if self.editable_mode:
            return outputs
        return outputs + [str(target) for target in self.mim_files().values()]

    def get_source_files(self) -> list[str]:
        return super().get_source_files() + list_mim_files()


def list_mim_files() -> list[str]:
    """Paths, relative to the root, of the files that `.mim` carries."""
    found = []
    for name in MIM_CONTENT:
        path = ROOT / name
        files = [path] if path.is_file() else sorted(p for p in path.rglob('*') if p.is_file())
        paths = (p.relative_to(ROOT) for p in files)
        found += [str(p) for p in paths if not any(part.startswith(('.', '__pycache__')) for part in p.parts)]
    return found


def link_mim(mim: Path) -> None:
    """Fills `.mim` with relative links, so that edited configs and tools are the installed ones."""
    if mim.is_symlink() or mim.is_file():
        mim.unlink()
    elif mim.exists():
        shutil.rmtree(mim)
    mim.mkdir()
    for name in MIM_CONTENT:
        (mim / name).symlink_to(os.path.relpath(ROOT / name, mim))


def read_version() -> str:
    """Reads `__version__` without importing the package, which needs torch."""
    scope: dict[str, str] = {}
    exec((ROOT / PACKAGE / 'version.py').read_text(encoding='utf-8'), scope)
    return scope['__version__']


def read_readme() -> str:
    readme = ROOT / 'README.md'
    return readme.read_text(encoding='utf-8') if readme.exists() else ''


setup(
    name=PACKAGE,
    version=read_version(),
    description='X-Learner for OpenMMLab: one plain backbone from many labeled sources',
    long_description=read_readme(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    keywords=['computer vision', 'pre-training', 'multi-task learning', 'OpenMMLab'],
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    # An explicit directory makes an editable installation a plain path entry, which tools can read.
    package_dir={'': '.'},
    include_package_data=True,
    package_data={f'{PACKAGE}.report': ['*.yml']},  # under such a directory, MANIFEST.in adds to the sdist only
    python_requires='>=3.10,<3.13',
    # The mm packages are not named: a user has either OpenMMLab's own or their onedl continuation,
    # and pip would install one over the other. `python -m xlearner_mm.doctor` checks what is there.
    install_requires=['numpy', 'torch>=2.4', 'torchvision'],
    extras_require={
        'mini': ['scikit-image', 'scikit-learn'],
        'photos': ['pillow', 'scipy'],
        'report': ['filelock', 'matplotlib', 'scikit-learn'],
        'export': ['onnx', 'onnxruntime', 'onnxscript', 'safetensors', 'timm'],
        'prune': ['torch-pruning'],
        'mlflow': ['mlflow'],
        'wandb': ['wandb'],
        'docs': ['mkdocs', 'mkdocs-gen-files', 'mkdocs-literate-nav', 'mkdocs-material', 'mkdocstrings-python'],
    },
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    cmdclass={'build_py': BuildWithMim},
    zip_safe=False,
)

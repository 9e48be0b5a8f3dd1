"""Downloads that continue, are checked, and appear in their folders as a whole."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import zipfile
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tqdm import tqdm

from xlearner_mm.errors import ConfigError, print_error
from xlearner_mm.nearest_name import nearest
from xlearner_mm.public_data.catalog import PUBLIC, Archive, PublicSet

KEPT = '.downloads'
"""Folder below the data folder for archives until they are unpacked; may be deleted at any time."""
_CHUNK = 1 << 20
_TIMEOUT = 60  # seconds without a byte


def list_sets(root: Path) -> str:
    """Return a table of all public datasets: name, state below ``root``, title."""

    def state(own: PublicSet) -> str:
        if is_ready(own, root):
            return 'ready' if _are_there(own.by_hand, own, root) else 'steps left'
        return 'download' if own.archives else 'by hand'

    return '\n'.join(f'{name:14} {state(own):10} {own.title}' for name, own in PUBLIC.items())


def is_ready(public: PublicSet, root: Path) -> bool:
    """Return whether everything that can be downloaded of a dataset is there."""
    return _are_there((*public.parts, *public.whole_with), public, root)


def _are_there(paths: Sequence[str], public: PublicSet, root: Path) -> bool:
    return all((root / public.folder / path).exists() for path in paths)


def download_sets(names: Sequence[str], root: Path) -> int:
    """Download datasets, or print the official instructions of those that cannot be downloaded.

    A repeated call continues: finished archives and datasets are kept.

    Args:
        names: of :data:`~xlearner_mm.public_data.catalog.PUBLIC`.
        root: the data folder.

    Returns:
        The exit status: 0; 1 if a dataset is unknown, or one could not be downloaded.
    """
    for name in names:
        if name not in PUBLIC:
            return print_error(f"unknown dataset '{name}'{nearest(name, PUBLIC)}; --list shows all {len(PUBLIC)}")
    status = 0
    for name in names:
        own = PUBLIC[name]
        folder = root / own.folder
        try:
            if is_ready(own, root):
                print(f'{name}: ready in {folder}', flush=True)
            elif own.archives:
                _download(name, own, root)
                print(f'{name}: written to {folder}', flush=True)
            else:
                print(f'{name}: {own.title} is not downloaded by this tool: {own.home}')
        except (ConfigError, OSError) as error:
            status = print_error(f'{name}: {error}')
            continue
        if own.archives is None and not is_ready(own, root):
            print(f'  configs read {", ".join(own.parts)} in {folder}')
        if own.archives or not is_ready(own, root):
            print(*(f'  {step}\n' for step in own.steps), sep='', end='', flush=True)
    return status


def _download(name: str, public: PublicSet, root: Path) -> None:
    """Download and unpack all archives aside, then move what configs read to its place."""
    assert public.archives is not None
    kept = root / KEPT / name
    aside = kept / 'unpacked'
    shutil.rmtree(aside, ignore_errors=True)  # of an interrupted call
    aside.mkdir(parents=True)
    for archive in public.archives():
        unpack(fetch(archive, kept), aside)
    if public.nested:
        for inner in [path for path in aside.rglob('*') if path.is_file() and tarfile.is_tarfile(path)]:
            unpack(inner, aside)
    holder = aside if (aside / public.parts[0]).exists() else aside / Path(public.folder).name
    missing = [part for part in public.parts if not (holder / part).exists()]
    if missing:
        raise ConfigError(f'its archives hold no {missing}, but {sorted(p.name for p in holder.glob("*"))[:8]}')
    (root / public.folder).mkdir(parents=True, exist_ok=True)
    for part in public.parts:
        target = root / public.folder / part
        if target.exists():
            raise ConfigError(f'{target} exists already, without the other parts: move it away')
        os.replace(holder / part, target)
    shutil.rmtree(kept)


def fetch(archive: Archive, folder: Path) -> Path:
    """Download a file, unless it is there; an interrupted download continues where it stopped.

    Args:
        archive: the file.
        folder: where it is kept.

    Raises:
        ConfigError: the server does not give it, the disk is too small for it and its content, or it has another
            checksum, after which it is downloaded anew.
    """
    path = folder / archive.url.rsplit('/', 1)[-1]
    if path.is_file() and (archive.md5 is None or _md5(path) == archive.md5):
        return path
    path.unlink(missing_ok=True)
    partial = path.with_name(path.name + '.part')
    try:
        _continue(archive.url, partial)
    except (OSError, HTTPException) as error:
        raise ConfigError(f'{archive.url} cannot be downloaded: {error}; repeat the command to continue') from error
    if archive.md5 is not None and (found := _md5(partial)) != archive.md5:
        partial.unlink()
        raise ConfigError(
            f'{archive.url} has the MD5 sum {found}, expected {archive.md5}: it is damaged, or has changed; repeat the '
            'command to download it anew'
        )
    os.replace(partial, path)
    return path


def _continue(url: str, partial: Path) -> None:
    """Append the rest of a file to what is there of it."""
    begun = partial.stat().st_size if partial.is_file() else 0
    request = Request(url, headers={'Range': f'bytes={begun}-', 'User-Agent': 'xlearner_mm'})
    try:
        answer = urlopen(request, timeout=_TIMEOUT)
    except HTTPError as error:
        if error.code == 416 and begun:  # nothing is left
            return
        raise
    with answer:
        continued = answer.status == 206
        left = int(answer.headers.get('Content-Length') or 0)
        free = shutil.disk_usage(partial.parent).free
        if free < 2 * left:
            raise ConfigError(
                f'{url} needs about {2 * left / 1e9:.1f} GB unpacked, and {partial.parent} has {free / 1e9:.1f} GB free'
            )
        done = begun if continued else 0
        bar = tqdm(total=done + left or None, initial=done, unit='B', unit_scale=True, desc=partial.stem)
        with bar, partial.open('ab' if continued else 'wb') as file:
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
        if left and partial.stat().st_size != done + left:
            raise OSError(f'the connection ended after {partial.stat().st_size:,} of {done + left:,} bytes')


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open('rb') as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def unpack(path: Path, folder: Path) -> None:
    """Unpack an archive, never outside the folder; copy any other file.

    Raises:
        ConfigError: it is damaged; it is deleted, so that the next call downloads it anew.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder)
        elif path.name.endswith(('.tar', '.tgz', '.tar.gz')):
            with tarfile.open(path) as tar:
                tar.extractall(folder, filter='data')
        else:
            shutil.copy(path, folder)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        if getattr(error, 'errno', None) is not None:  # of the disk, not of the archive
            raise
        path.unlink()
        raise ConfigError(f'{path} is damaged: {error}; repeat the command to download it anew') from error
